-- Canonical order over branches: event time, stream, partition, offset, branch.
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

INSERT INTO ICEBERG 'marts.firsts'
SELECT window_start, window_end, first_value(who) AS first, array_agg(who) AS in_order, count(*) AS n
FROM TUMBLE((
  SELECT host || ' of web' AS who, t FROM web
  UNION ALL
  SELECT server || ' of app' AS who, at FROM app
  UNION ALL
  SELECT host || ' again' AS who, t FROM web WHERE bytes > 0
) , t, INTERVAL '1 minute')
GROUP BY window_start, window_end;
