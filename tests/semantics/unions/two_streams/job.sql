-- One window over two streams, each with lateness and a late table of its own.
CREATE STREAM web (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE FROM KAFKA 'web' FORMAT JSON;

CREATE STREAM app (
  server TEXT, size INT, extra TEXT, at TIMESTAMP NOT NULL,
  WATERMARK FOR at AS at - INTERVAL '30 seconds'
)
LIVE FROM KAFKA 'app' FORMAT JSON;

INSERT INTO ICEBERG 'marts.traffic'
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM TUMBLE((
  SELECT host, bytes, t FROM web
  UNION ALL
  SELECT server, size, at FROM app WHERE size > 0
), t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
