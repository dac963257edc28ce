CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits'
WITH a AS (SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(requests, event_time, INTERVAL '1 minute')
           GROUP BY window_start, window_end, host),
     b AS (SELECT window_start, window_end, host, sum(bytes) AS sent FROM TUMBLE(requests, event_time, INTERVAL '1 minute')
           WHERE bytes > 0 GROUP BY window_start, window_end, host)
SELECT window_start, window_end, count(*) AS hosts
FROM   (SELECT coalesce(a.window_start, a.window_start) AS window_start, coalesce(a.window_end, b.window_end) AS window_end
        FROM a FULL JOIN b ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.host = b.host)
GROUP  BY window_start, window_end;
