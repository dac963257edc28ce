-- What a person does on the web and in the app is one session; sessions of each are joined where they begin and end together.
CREATE STREAM web (person TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM KAFKA 'web' FORMAT JSON HISTORY FROM ICEBERG 'raw.web';

CREATE STREAM app (person TEXT, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at - INTERVAL '30 seconds')
LIVE FROM KAFKA 'app' FORMAT JSON HISTORY FROM ICEBERG 'raw.app';

INSERT INTO ICEBERG 'marts.visits'
SELECT window_start, window_end, person, count(*) AS events, first_value(place) AS entered
FROM   SESSION((SELECT person, 'web' AS place, t FROM web UNION ALL SELECT person, 'app', at FROM app) PARTITION BY person, t,
               INTERVAL '1 minute')
GROUP  BY window_start, window_end, person;

INSERT INTO ICEBERG 'marts.both'
WITH w AS (SELECT window_start, window_end, person, count(*) AS clicks
           FROM SESSION(web PARTITION BY person, t, INTERVAL '1 minute') GROUP BY window_start, window_end, person),
     p AS (SELECT window_start, window_end, person, count(*) AS taps
           FROM SESSION(app PARTITION BY person, at, INTERVAL '1 minute') GROUP BY window_start, window_end, person)
SELECT w.window_start, w.window_end, w.person, clicks, taps
FROM   w JOIN p ON w.window_start = p.window_start AND w.window_end = p.window_end AND w.person = p.person;
