CREATE STREAM shown (ad TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
LIVE FROM KAFKA 'shown' FORMAT JSON;

CREATE STREAM clicked (ad TEXT, who TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at)
LIVE FROM KAFKA 'clicked' FORMAT JSON;

INSERT INTO ICEBERG 'marts.rates'
SELECT window_start, window_end, ad FROM TUMBLE(shown, t, INTERVAL '1 minute')
UNION ALL
SELECT window_start, window_end, ad FROM TUMBLE(clicked, at, INTERVAL '2 minutes');
