-- The bids of Flink's page on window functions, by CUMULATE: its rows.

CREATE STREAM bids (
  price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'bids' FORMAT JSON
HISTORY FROM ICEBERG 'raw.bids';

INSERT INTO ICEBERG 'marts.bids' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, sum(price) AS total
FROM   CUMULATE(bids, t, INTERVAL '2 minutes', INTERVAL '10 minutes')
GROUP  BY window_start, window_end;
