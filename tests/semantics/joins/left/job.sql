-- The windows of the left side; what the right one lacks is null.
CREATE STREAM shown (
  ad TEXT, place INT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE FROM KAFKA 'shown' FORMAT JSON;

CREATE STREAM clicked (
  ad TEXT, who TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'clicked' FORMAT JSON;

INSERT INTO ICEBERG 'marts.rates'
WITH views AS (
  SELECT window_start, window_end, ad, count(*) AS views
  FROM TUMBLE(shown, t, INTERVAL '1 minute') GROUP BY window_start, window_end, ad
), clicks AS (
  SELECT window_start, window_end, ad, count(*) AS clicks, count(DISTINCT who) AS people
  FROM TUMBLE(clicked, t, INTERVAL '1 minute') GROUP BY window_start, window_end, ad
)
SELECT v.window_start, v.window_end, v.ad, views, coalesce(clicks, 0) AS clicks
FROM views AS v LEFT JOIN clicks AS c
  ON v.window_start = c.window_start AND v.window_end = c.window_end AND v.ad = c.ad
WHERE v.ad IS NOT NULL;
