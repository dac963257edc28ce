-- Windows of which the other stream has the key too.
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
SELECT window_start, window_end, ad, count(*) AS views
FROM TUMBLE(shown, t, INTERVAL '1 minute') AS s
WHERE EXISTS (
  SELECT 1 FROM TUMBLE(clicked, t, INTERVAL '1 minute') AS c
  WHERE c.window_start = s.window_start AND c.ad = s.ad
)
GROUP BY window_start, window_end, ad;
