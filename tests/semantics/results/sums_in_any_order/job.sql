-- Sums of doubles don't depend on the order in which records come: a plain loop gives 0, 1 or 2 here, by the order.

CREATE STREAM amounts (
  x DOUBLE, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour'
)
LIVE FROM KAFKA 'amounts' FORMAT JSON;

INSERT INTO ICEBERG 'marts.amounts' PARTITIONED BY (hour(window_start))
SELECT window_start, sum(x) AS total, avg(x) AS mean
FROM   TUMBLE(amounts, t, INTERVAL '1 hour')
GROUP  BY window_start, window_end;
