-- Columns from beside the message, from paths in it, and computed on reading are the same from history.

CREATE STREAM events (
  id       TEXT FROM METADATA 'key',
  part     INT FROM METADATA 'partition',
  place    BIGINT FROM METADATA 'offset',
  logged   TIMESTAMP FROM METADATA 'timestamp',
  trace    TEXT FROM METADATA 'header:trace',
  city     TEXT FROM 'user.address.city',
  big_city TEXT AS upper(city),
  t        TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour' MAX FUTURE INTERVAL '1 minute'
)
LIVE FROM KAFKA 'events' FORMAT JSON;

INSERT INTO ICEBERG 'marts.events' PARTITIONED BY (hour(window_start))
SELECT window_start, part, id, count(*) AS events, max(place) AS last_place, max(logged) AS last_logged,
       max(trace) AS trace, max(big_city) AS city
FROM   TUMBLE(events, t, INTERVAL '1 hour')
GROUP  BY window_start, window_end, part, id;
