CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, upper(host) AS host, count(*) AS hits
FROM   SLIDING(requests PARTITION BY host, event_time, INTERVAL '10 minutes')
GROUP  BY window_start, window_end, host
ALLOW LATENESS INTERVAL '5 minutes';
