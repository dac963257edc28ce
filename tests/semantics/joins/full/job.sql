-- Windows of two streams, with those that only one of them has. NULL equals nothing.
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
SELECT coalesce(v.window_start, c.window_start) AS window_start, coalesce(v.window_end, c.window_end) AS window_end,
       coalesce(v.ad, c.ad) AS ad, views, clicks, people
FROM views AS v FULL JOIN clicks AS c
  ON v.window_start = c.window_start AND v.window_end = c.window_end AND v.ad = c.ad;
