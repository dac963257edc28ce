-- A query as the input of a window: what it computes is what the window sees.
CREATE STREAM visits (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'visits' FORMAT JSON;

INSERT INTO ICEBERG 'marts.big'
SELECT window_start, window_end, kind, count(*) AS hits, sum(kilobytes) AS kilobytes
FROM TUMBLE((SELECT upper(host) AS kind, bytes / 2.0 AS kilobytes, t FROM visits WHERE bytes > 1), t, INTERVAL '1 minute') AS big
WHERE big.kind <> 'LATE'
GROUP BY window_start, window_end, kind;
