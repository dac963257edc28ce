-- A record is late by what its own partition has seen, whatever others have, and whatever was published meanwhile.

CREATE STREAM readings (
  sensor TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE    FROM KAFKA   'readings' FORMAT JSON
HISTORY FROM ICEBERG 'raw.readings';

INSERT INTO ICEBERG 'marts.readings' PARTITIONED BY (day(window_end))
SELECT window_end, sensor, count(*) AS readings
FROM   TUMBLE(readings, t, INTERVAL '30 seconds')
GROUP  BY window_start, window_end, sensor
PUBLISH WHOLE PARTITIONS;
