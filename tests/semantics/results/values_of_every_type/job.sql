-- What a result can hold, as expectations write it: DECIMALs with all their digits, doubles as the shortest number that
-- is read as the same one, instants in UTC, BYTES as base64.

CREATE STREAM samples (
  k INT NOT NULL, yes BOOLEAN, big BIGINT, single FLOAT, double DOUBLE, exact DECIMAL(20, 4), words TEXT, raw BYTES,
  on_day DATE, id UUID, items INT[], nested STRUCT<a TEXT, b DOUBLE>, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour'
)
LIVE FROM KAFKA 'samples' FORMAT JSON;

INSERT INTO ICEBERG 'marts.samples' PARTITIONED BY (hour(window_start))
SELECT window_start, k, bool_or(yes) AS yes, max(big) AS big, max(single) AS single, sum(double) AS double,
       sum(exact) AS exact, max(words) AS words, last_value(raw) AS raw, max(on_day) AS on_day, last_value(id) AS id,
       last_value(items) AS items, last_value(nested) AS nested, max(t) AS newest
FROM   TUMBLE(samples, t, INTERVAL '1 hour')
GROUP  BY window_start, window_end, k;
