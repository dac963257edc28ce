-- Hours of windows that the data makes: each is in the hour in which it ends, though it began before it.
CREATE STREAM visits (person TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'visits' FORMAT JSON HISTORY FROM ICEBERG 'raw.visits';

INSERT INTO ICEBERG 'marts.sessions'
SELECT window_start, window_end, count(*) AS sessions, sum(clicks) AS clicks, min(began) AS first
FROM   TUMBLE((
  SELECT window_time, window_start AS began, person, count(*) AS clicks
  FROM   SESSION(visits PARTITION BY person, t, INTERVAL '30 minutes')
  GROUP  BY window_start, window_end, window_time, person
), window_time, INTERVAL '1 hour')
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.busiest'
SELECT window_start, window_end, count(*) AS instants, max(clicks) AS most
FROM   TUMBLE((
  SELECT window_time, person, count(*) AS clicks
  FROM   SLIDING(visits PARTITION BY person, t, INTERVAL '30 minutes')
  GROUP  BY window_start, window_end, window_time, person
), window_time, INTERVAL '1 hour')
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.pairs'
SELECT window_start, window_end, reason, count(*) AS windows
FROM   TUMBLE((
  SELECT window_time, window_reason AS reason, person, count(*) AS clicks
  FROM   COUNT_WINDOW(visits PARTITION BY person, t, 2, TIMEOUT INTERVAL '30 minutes')
  GROUP  BY window_start, window_end, window_time, window_reason, person
), window_time, INTERVAL '1 hour')
GROUP  BY window_start, window_end, reason;
