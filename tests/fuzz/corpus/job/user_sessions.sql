-- Visits of the shop's users: a visit ends after half an hour without a click.

CREATE STREAM clicks (
  user_id BIGINT, page TEXT, referrer TEXT, cart_value DECIMAL(12, 2),
  clicked_at TIMESTAMP NOT NULL,
  WATERMARK FOR clicked_at AS clicked_at - INTERVAL '15 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'clicks' FORMAT JSON
HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.user_sessions' PARTITIONED BY (day(window_end))
SELECT user_id, window_start, window_end,
       count(*) AS clicks, count(DISTINCT page) AS pages,
       first_value(page ORDER BY clicked_at) AS landing_page, last_value(page ORDER BY clicked_at) AS exit_page,
       max(cart_value) AS cart_value
FROM   SESSION(clicks PARTITION BY user_id, clicked_at, INTERVAL '30 minutes')
WHERE  user_id IS NOT NULL
GROUP  BY user_id, window_start, window_end;
