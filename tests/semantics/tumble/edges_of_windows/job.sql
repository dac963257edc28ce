-- Windows are half-open, aligned to the epoch plus their offset, before 1970 too. Between sums and counts WHERE goes first:
-- what it drops is accepted, never late.

CREATE STREAM steps (
  n BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 minute'
)
LIVE FROM KAFKA 'steps' FORMAT JSON;

INSERT INTO ICEBERG 'marts.steps' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, window_time, count(*) AS records, sum(n) AS total
FROM   TUMBLE(steps, t, INTERVAL '7 minutes', INTERVAL '-2 minutes')
WHERE  n > 0
GROUP  BY window_start, window_end, window_time;
