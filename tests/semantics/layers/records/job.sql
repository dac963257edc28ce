-- Records by themselves, when their window closes: equal ones stay as many as they are, a late one isn't among them.
CREATE STREAM hits (host TEXT, ms INT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'hits' FORMAT JSON HISTORY FROM ICEBERG 'raw.hits';

INSERT INTO ICEBERG 'marts.slow'
SELECT *, window_start, window_end
FROM   TUMBLE(hits, t, INTERVAL '1 minute')
WHERE  ms >= 100;
