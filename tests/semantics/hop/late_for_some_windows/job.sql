-- A record that is late for its first window counts in the others, and is accepted; the late table has a row of it.

CREATE STREAM bids (
  price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '2 minutes'
)
LIVE    FROM KAFKA   'bids' FORMAT JSON
HISTORY FROM ICEBERG 'raw.bids';

INSERT INTO ICEBERG 'marts.bids' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, sum(price) AS total
FROM   HOP(bids, t, INTERVAL '5 minutes', INTERVAL '10 minutes')
GROUP  BY window_start, window_end;
