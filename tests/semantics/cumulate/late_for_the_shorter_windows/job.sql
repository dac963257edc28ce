-- A record that is late for the shorter windows counts in the longer ones; the late table names windows by their ends.

CREATE STREAM bids (
  price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '0 seconds'
)
LIVE    FROM KAFKA   'bids' FORMAT JSON
HISTORY FROM ICEBERG 'raw.bids';

INSERT INTO ICEBERG 'marts.bids' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, sum(price) AS total
FROM   CUMULATE(bids, t, INTERVAL '10 minutes', INTERVAL '30 minutes')
GROUP  BY window_start, window_end;
