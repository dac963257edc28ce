CREATE STREAM shown (ad TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
LIVE FROM KAFKA 'shown' FORMAT JSON;

CREATE STREAM clicked (ad TEXT, who TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at)
LIVE FROM KAFKA 'clicked' FORMAT JSON;

INSERT INTO ICEBERG 'marts.rates'
SELECT window_start, window_end, sum(n) AS n
FROM TUMBLE((SELECT window_time, count(*) AS n FROM TUMBLE(shown, t, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time), window_time, INTERVAL '1 hour')
GROUP BY window_start, window_end
ALLOW LATENESS INTERVAL '1 minute';
