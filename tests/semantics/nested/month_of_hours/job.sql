-- A calendar window over hops.
CREATE STREAM visits (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'visits' FORMAT JSON;

INSERT INTO ICEBERG 'marts.by_day' PARTITIONED BY (month(window_start))
SELECT window_start, window_end, count(*) AS hops, max(hits) AS most
FROM TUMBLE((
  SELECT window_time, count(*) AS hits
  FROM HOP(visits, t, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY window_start, window_end, window_time
), window_time, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')
GROUP BY window_start, window_end;
