-- Windows of which the other stream lacks the key.
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
SELECT s.window_start, s.window_end, s.ad, s.place
FROM TUMBLE(shown, t, INTERVAL '1 minute') AS s
LEFT ANTI JOIN TUMBLE(clicked, t, INTERVAL '1 minute') AS c
  ON c.window_start = s.window_start AND c.ad = s.ad;
