CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

CREATE STREAM clicks (
  host TEXT, at TIMESTAMP NOT NULL,
  WATERMARK FOR at AS at - INTERVAL '15 seconds'
)
LIVE FROM KAFKA 'clicks' FORMAT JSON;

INSERT INTO ICEBERG 'marts.hits'
SELECT window_start, window_end, host, count(*) AS hits
FROM   SESSION((SELECT host, event_time FROM requests UNION ALL SELECT host, at FROM clicks) PARTITION BY host, event_time,
               INTERVAL '5 minutes')
GROUP  BY window_start, window_end, host;
