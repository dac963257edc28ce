-- A second aggregate over the hosts of each minute, and the running sum over them by name.
CREATE STREAM hits (host TEXT, ms INT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'hits' FORMAT JSON HISTORY FROM ICEBERG 'raw.hits';

INSERT INTO ICEBERG 'marts.minutes'
WITH counts AS (
  SELECT window_start, window_end, host, count(*) AS hits
  FROM   TUMBLE(hits, t, INTERVAL '1 minute')
  GROUP  BY window_start, window_end, host
)
SELECT window_start, window_end, count(*) AS hosts, sum(hits) AS hits, max(hits) AS most,
       last_value(host ORDER BY hits) AS top
FROM   counts
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.so_far'
SELECT window_start, window_end, host,
       sum(hits) OVER (PARTITION BY window_start, window_end ORDER BY host) AS so_far
FROM   (SELECT window_start, window_end, host, count(*) AS hits
        FROM   TUMBLE(hits, t, INTERVAL '1 minute')
        GROUP  BY window_start, window_end, host)
WHERE  host IS NOT NULL;
