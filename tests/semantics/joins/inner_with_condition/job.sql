-- Records of two streams, pair by pair, those less than 30 seconds apart.
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
SELECT s.window_start, s.window_end, s.ad, place, who, s.t AS shown_at, c.t AS clicked_at
FROM TUMBLE(shown, t, INTERVAL '1 minute') AS s
JOIN TUMBLE(clicked, t, INTERVAL '1 minute') AS c
  ON s.window_start = c.window_start AND s.ad = c.ad AND s.t < c.t AND c.t < s.t + INTERVAL '30 seconds';
