-- Hits and visitors of each host by minute.

CREATE STREAM web_requests (
  url TEXT, referrer TEXT, user_agent TEXT, host TEXT, ip TEXT,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'web-requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.web_requests';

INSERT INTO ICEBERG 'marts.page_hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits, count(DISTINCT ip) AS visitors
FROM   TUMBLE(web_requests, event_time, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host
LATE INTO ICEBERG 'late.web_requests';
