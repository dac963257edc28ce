CREATE STREAM shown (ad TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
LIVE FROM KAFKA 'shown' FORMAT JSON;

CREATE STREAM clicked (ad TEXT, who TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at)
LIVE FROM KAFKA 'clicked' FORMAT JSON;

INSERT INTO ICEBERG 'marts.rates'
SELECT window_start, window_end, count(*) FROM TUMBLE(shown, t, INTERVAL '1 minute') GROUP BY window_start, window_end
UNION ALL
SELECT window_start, window_end, count(*) FROM TUMBLE(clicked, at, INTERVAL '1 minute') GROUP BY window_start, window_end;
