-- UNION ALL of windows, as the result and below a second aggregate; and what EXCEPT leaves of a window.
CREATE STREAM shown (ad TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM KAFKA 'shown' FORMAT JSON HISTORY FROM ICEBERG 'raw.shown';

CREATE STREAM clicked (ad TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at - INTERVAL '5 seconds')
LIVE FROM KAFKA 'clicked' FORMAT JSON HISTORY FROM ICEBERG 'raw.clicked';

INSERT INTO ICEBERG 'marts.events'
SELECT window_start, window_end, ad, 'shown' AS what, count(*) AS times
FROM   TUMBLE(shown, t, INTERVAL '1 minute') GROUP BY window_start, window_end, ad
UNION  ALL
SELECT window_start, window_end, ad, 'clicked', count(*)
FROM   TUMBLE(clicked, at, INTERVAL '1 minute') GROUP BY window_start, window_end, ad;

INSERT INTO ICEBERG 'marts.minutes'
SELECT window_start, window_end, count(*) AS kinds, sum(times) AS times
FROM   (SELECT window_start, window_end, ad, count(*) AS times
        FROM   TUMBLE(shown, t, INTERVAL '1 minute') GROUP BY window_start, window_end, ad
        UNION  ALL
        SELECT window_start, window_end, ad, count(*) AS times
        FROM   TUMBLE(clicked, at, INTERVAL '1 minute') GROUP BY window_start, window_end, ad)
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.unclicked'
SELECT window_start, window_end, ad FROM TUMBLE(shown, t, INTERVAL '1 minute')
EXCEPT
SELECT window_start, window_end, ad FROM TUMBLE(clicked, at, INTERVAL '1 minute');
