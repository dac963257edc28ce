CREATE STREAM requests (
  url TEXT, host TEXT, ip TEXT, bytes BIGINT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE    FROM KAFKA   'requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

CREATE VIEW hits AS
SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start, window_end, host;

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT h.window_start, h.window_end, h.host, b.bytes
FROM   hits AS h
JOIN   (SELECT window_start, window_end, host, sum(bytes) AS bytes FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start, window_end, host) AS b
ON     h.host = b.host AND h.window_start = b.window_start AND h.window_end = b.window_end;
