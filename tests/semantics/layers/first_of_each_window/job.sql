-- The two hosts with the most hits of each minute; equal ones fall by name. The third host of a minute is nowhere.
CREATE STREAM hits (host TEXT, ms INT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'hits' FORMAT JSON HISTORY FROM ICEBERG 'raw.hits';

CREATE VIEW counts AS
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(hits, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;

INSERT INTO ICEBERG 'marts.top'
SELECT window_start, window_end, host, hits, place
FROM   (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY hits DESC) AS place FROM counts)
WHERE  place <= 2;
