CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits'
WITH a AS (SELECT window_start, window_end, host, url FROM COUNT_WINDOW(requests PARTITION BY host, event_time, 10, TIMEOUT INTERVAL '5 minutes')),
     b AS (SELECT window_start, window_end, host, count(*) AS hits
           FROM COUNT_WINDOW(requests PARTITION BY host, event_time, 10, TIMEOUT INTERVAL '5 minutes')
           GROUP BY window_start, window_end, host)
SELECT a.window_start, a.window_end, a.host, url, hits
FROM   a JOIN b ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.host = b.host;
