-- What stands above sessions and needs no more than each row takes late records: one of them joins two sessions, and only then is
-- there one of more than one click.
CREATE STREAM clicks (person TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
LIVE FROM KAFKA 'clicks' FORMAT JSON HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.visits'
WITH visits AS (
  SELECT window_start, window_end, person, count(*) AS clicks
  FROM   SESSION(clicks PARTITION BY person, t, INTERVAL '30 minutes')
  GROUP  BY window_start, window_end, person
)
SELECT window_start, window_end, person, clicks, CASE WHEN clicks > 2 THEN 'long' ELSE 'short' END AS visit
FROM   visits
WHERE  clicks > 1
ALLOW LATENESS INTERVAL '1 hour';
