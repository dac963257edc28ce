-- The busiest minute of each five, from what minutes have: a late record of a minute is late though its five minutes are open.
CREATE STREAM visits (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'visits' FORMAT JSON;

INSERT INTO ICEBERG 'marts.peaks'
SELECT window_start, window_end, host, max(hits) AS peak, count(*) AS minutes, sum(bytes) AS bytes
FROM TUMBLE((
  SELECT window_time, host, count(*) AS hits, sum(bytes) AS bytes
  FROM TUMBLE(visits, t, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time, host
), window_time, INTERVAL '5 minutes')
GROUP BY window_start, window_end, host;
