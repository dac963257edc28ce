CREATE STREAM requests (
  url VARCHAR(255), host JSONB, at TIMESTAMPTZ, day TIMESTAMP(3), tags MAP<TEXT, TEXT>, bytes SMALLINT,
  zoned TIMESTAMP WITH TIME ZONE, price DECIMAL, total DECIMAL(40, 2),
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(requests, event_time, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
