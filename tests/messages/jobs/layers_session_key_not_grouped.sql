CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits'
SELECT window_start, window_end, max(hits) AS most
FROM   (SELECT window_start, window_end, url, count(*) AS hits
        FROM   SESSION(requests PARTITION BY host, event_time, INTERVAL '5 minutes')
        GROUP  BY window_start, window_end, url)
GROUP  BY window_start, window_end;
