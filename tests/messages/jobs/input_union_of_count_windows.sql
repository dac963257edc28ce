CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits'
SELECT window_start, window_end, window_reason, count(*) AS hits
FROM   COUNT_WINDOW((SELECT * FROM requests UNION ALL SELECT * FROM requests), event_time, 10, TIMEOUT INTERVAL '5 minutes')
GROUP  BY window_start, window_end, window_reason;
