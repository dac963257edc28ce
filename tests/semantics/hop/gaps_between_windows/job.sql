-- With a slide above the size, records between windows are accepted and count nowhere.

CREATE STREAM bids (
  price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour'
)
LIVE    FROM KAFKA   'bids' FORMAT JSON
HISTORY FROM ICEBERG 'raw.bids';

INSERT INTO ICEBERG 'marts.bids' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, sum(price) AS total
FROM   HOP(bids, t, INTERVAL '10 minutes', INTERVAL '4 minutes')
GROUP  BY window_start, window_end;
