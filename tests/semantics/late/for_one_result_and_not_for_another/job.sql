-- Each INSERT says for itself what is late: a minute is closed long before the hour that it is in.

CREATE STREAM pings (
  t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'pings' FORMAT JSON;

INSERT INTO ICEBERG 'marts.minutes' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS pings FROM TUMBLE(pings, t, INTERVAL '1 minute') GROUP BY window_start, window_end
LATE INTO ICEBERG 'late.pings';

INSERT INTO ICEBERG 'marts.hours' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS pings FROM TUMBLE(pings, t, INTERVAL '1 hour') GROUP BY window_start, window_end
LATE INTO ICEBERG 'late.pings';
