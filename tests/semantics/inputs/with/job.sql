-- Queries of WITH, one above the other, as the input of a window.
CREATE STREAM visits (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'visits' FORMAT JSON;

INSERT INTO ICEBERG 'marts.chosen'
WITH big AS (SELECT host, bytes, t FROM visits WHERE bytes > 1), named AS (SELECT host AS who, bytes, t FROM big)
SELECT window_start, window_end, named.who, sum(bytes) AS bytes
FROM TUMBLE(named, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, named.who;
