-- Sets of keys over one window: each record counts once in each. A host that is null isn't a host that is left out, which
-- grouping() tells. Medians and distinct counts of a coarse set aren't made of those of finer ones.
CREATE STREAM hits (host TEXT, page TEXT, ms INT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'hits' FORMAT JSON HISTORY FROM ICEBERG 'raw.hits';

INSERT INTO ICEBERG 'marts.rollup'
SELECT window_start, window_end, host, page, grouping(host, page) AS level,
       count(*) AS hits, median(ms) AS median, count(DISTINCT page) AS pages
FROM   TUMBLE(hits, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, ROLLUP (host, page)
HAVING count(*) > 1 OR grouping(page) = 1;

INSERT INTO ICEBERG 'marts.overlapping'
SELECT window_start, window_end, host, sum(ms) AS ms
FROM   HOP(hits, t, INTERVAL '1 minute', INTERVAL '2 minutes')
GROUP  BY GROUPING SETS ((window_start, window_end, host), (window_start, window_end));

INSERT INTO ICEBERG 'marts.slowest'
WITH slowest AS (
  SELECT window_start, window_end, host, page, max(ms) AS ms
  FROM   TUMBLE(hits, t, INTERVAL '1 minute')
  GROUP  BY window_start, window_end, host, page
)
SELECT window_start, window_end, host, page, max(ms) AS ms
FROM   slowest
GROUP  BY window_start, window_end, CUBE (host, page);
