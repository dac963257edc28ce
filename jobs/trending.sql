-- The three pages with the most views of the last hour, every ten minutes. Pages with as many views fall by their address, so a
-- backfill finds the same three.
CREATE STREAM page_views (
  url TEXT NOT NULL, viewer TEXT,
  viewed_at TIMESTAMP NOT NULL,
  WATERMARK FOR viewed_at AS viewed_at - INTERVAL '30 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'page-views' FORMAT JSON
HISTORY FROM ICEBERG 'raw.page_views';

CREATE VIEW views AS
SELECT window_start, window_end, url, count(*) AS views, approx_distinct(viewer) AS viewers
FROM   HOP(page_views, viewed_at, INTERVAL '10 minutes', INTERVAL '1 hour')
GROUP  BY window_start, window_end, url;

INSERT INTO ICEBERG 'marts.trending' PARTITIONED BY (day(window_end))
SELECT window_start, window_end, place, url, views, viewers
FROM   (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY views DESC) AS place FROM views)
WHERE  place <= 3;
