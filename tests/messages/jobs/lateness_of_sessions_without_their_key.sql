CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_end))
SELECT window_start, window_end, ip, count(*) AS hits
FROM   SESSION(requests PARTITION BY ip, host, event_time, INTERVAL '10 minutes')
GROUP  BY window_start, window_end, ip, host
ALLOW LATENESS INTERVAL '5 minutes';
