-- One job over two streams: each INSERT has its rows, and says for itself what is late.

CREATE STREAM clicks (
  page TEXT NOT NULL, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE FROM KAFKA 'clicks' FORMAT JSON;

CREATE STREAM orders (
  amount DECIMAL(10, 2), t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t
)
LIVE FROM KAFKA 'orders' FORMAT JSON;

INSERT INTO ICEBERG 'marts.clicks' PARTITIONED BY (hour(window_start))
SELECT window_start, page, count(*) AS clicks
FROM   TUMBLE(clicks, t, INTERVAL '10 seconds')
GROUP  BY window_start, window_end, page;

INSERT INTO ICEBERG 'marts.clicks_by_minute' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS clicks
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.sales' PARTITIONED BY (day(window_start))
SELECT window_start, sum(amount) AS sales
FROM   TUMBLE(orders, t, INTERVAL '1 hour')
GROUP  BY window_start, window_end;
