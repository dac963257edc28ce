CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time WHEN bytes
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(requests, event_time, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
