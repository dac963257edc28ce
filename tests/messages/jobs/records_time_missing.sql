CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT, tags TEXT[],
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'staging.requests'
SELECT host, url
FROM   requests;
