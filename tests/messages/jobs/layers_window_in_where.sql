CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, count(*) AS hits
FROM   (SELECT * FROM (SELECT *, window_start, window_end FROM TUMBLE(requests, event_time, INTERVAL '1 minute')) WHERE window_start > '2026-01-01')
GROUP  BY window_start, window_end;
