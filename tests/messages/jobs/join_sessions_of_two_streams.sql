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
WITH r AS (SELECT window_start, window_end, host, count(*) AS hits FROM SESSION(requests PARTITION BY host, event_time, INTERVAL '5 minutes')
           GROUP BY window_start, window_end, host),
     c AS (SELECT window_start, window_end, host, count(*) AS clicks
           FROM SESSION(clicks PARTITION BY host, at, INTERVAL '5 minutes') GROUP BY window_start, window_end, host)
SELECT r.window_start, r.window_end, r.host, hits, clicks
FROM   r JOIN c ON r.window_start = c.window_start AND r.window_end = c.window_end AND r.host = c.host;
