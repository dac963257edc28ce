CREATE STREAM shown (ad TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
LIVE FROM KAFKA 'shown' FORMAT JSON;

CREATE STREAM clicked (ad TEXT, who TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at)
LIVE FROM KAFKA 'clicked' FORMAT JSON;

INSERT INTO ICEBERG 'marts.rates'
SELECT c.window_start, c.window_end, s.ad
FROM TUMBLE(shown, t, INTERVAL '1 minute') AS s
LEFT JOIN TUMBLE(clicked, at, INTERVAL '1 minute') AS c ON s.window_start = c.window_start AND s.ad = c.ad;
