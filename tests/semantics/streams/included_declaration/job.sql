-- A declaration that jobs share stands in a file of its own; HAVING drops rows of a closed window, not records.

INCLUDE 'taps.sql';

INSERT INTO ICEBERG 'marts.taps' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS taps, count(DISTINCT user_id) AS users
FROM   TUMBLE(taps, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end
HAVING count(*) > 1;
