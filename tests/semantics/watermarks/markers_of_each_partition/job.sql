-- Markers are told by any expression over the record, computed columns too. Where it is null, or fails (2^62 times 4 doesn't fit),
-- the record is no marker and counts all the same. Each partition goes by its own; the bound is from them; a reject is none.

CREATE STREAM parts (
  n BIGINT, occurred TIMESTAMP, sent TIMESTAMP, received TIMESTAMP,
  t TIMESTAMP NOT NULL AS CORRECT_CLOCK(occurred, sent, received),
  last BOOLEAN AS n < 0,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
    WHEN last OR CASE WHEN n > 1000 THEN n * 4 > 0 END OR (CORRECT_CLOCK(occurred, sent, received) <> occurred AND n = 7)
)
LIVE FROM KAFKA 'parts' FORMAT JSON HISTORY FROM ICEBERG 'raw.parts';

INSERT INTO ICEBERG 'marts.minutes'
SELECT window_start, window_end, count(*) AS parts
FROM   TUMBLE(parts, t, INTERVAL '1 minute')
WHERE  n >= 0
GROUP  BY window_start, window_end;
