-- Above sessions: the page with the most clicks of each; how many began and ended together, whoever's they are; their clicks by
-- themselves; and how many there are of each page, and of all.
CREATE STREAM clicks (person TEXT, page TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'clicks' FORMAT JSON HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.pages'
SELECT window_start, window_end, person, page, clicks
FROM   (SELECT window_start, window_end, person, page, count(*) AS clicks,
               ROW_NUMBER() OVER (PARTITION BY window_start, window_end, person ORDER BY count(*) DESC) AS place
        FROM   SESSION(clicks PARTITION BY person, t, INTERVAL '1 minute')
        GROUP  BY window_start, window_end, person, page)
WHERE  place = 1;

INSERT INTO ICEBERG 'marts.alike'
SELECT window_start, window_end, count(*) AS persons, sum(clicks) AS clicks
FROM   (SELECT window_start, window_end, person, count(*) AS clicks
        FROM   SESSION(clicks PARTITION BY person, t, INTERVAL '1 minute')
        GROUP  BY window_start, window_end, person)
GROUP  BY window_start, window_end;

INSERT INTO ICEBERG 'marts.clicks'
SELECT window_start, window_end, person, page, CASE WHEN t = window_start THEN 'first' ELSE 'later' END AS place
FROM   SESSION(clicks PARTITION BY person, t, INTERVAL '1 minute')
WHERE  page <> '/z';

INSERT INTO ICEBERG 'marts.sums'
SELECT window_start, window_end, person, page, count(*) AS clicks
FROM   SESSION(clicks PARTITION BY person, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, person, ROLLUP (page);
