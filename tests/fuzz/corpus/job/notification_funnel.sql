-- How far each notification gets: sent, delivered, shown, opened, clicked, … in seven stages, or as many as come in two hours.

CREATE STREAM notification_events (
  notification_id TEXT, user_id BIGINT, stage TEXT, event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'notification-events' FORMAT JSON
HISTORY FROM ICEBERG 'raw.notification_events';

INSERT INTO ICEBERG 'marts.notification_funnel' PARTITIONED BY (day(window_start))
SELECT notification_id, window_start, window_end, window_reason,
       count(*) AS steps, last_value(stage ORDER BY event_time) AS reached,
       bool_or(stage = 'clicked') AS clicked
FROM   COUNT_WINDOW(notification_events PARTITION BY notification_id, event_time, 7, TIMEOUT INTERVAL '2 hours')
GROUP  BY notification_id, window_start, window_end, window_reason;
