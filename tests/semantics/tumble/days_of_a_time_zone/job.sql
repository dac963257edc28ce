-- Days of a time zone begin at its midnight; those on which clocks are set have 23 and 25 hours.

CREATE STREAM bids (
  price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour'
)
LIVE    FROM KAFKA   'bids' FORMAT JSON
HISTORY FROM ICEBERG 'raw.bids';

INSERT INTO ICEBERG 'marts.bids' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, sum(price) AS total
FROM   TUMBLE(bids, t, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')
GROUP  BY window_start, window_end;
