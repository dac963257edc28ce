-- With WHEN only marker records say how far a partition is: the table of jobs/README.md, "Marker records".

CREATE STREAM meters (
  kind TEXT, meter TEXT, kwh DOUBLE, t TIMESTAMP NOT NULL,
  WATERMARK FOR t WHEN kind = 'tick'
)
LIVE FROM KAFKA 'meters' FORMAT JSON HISTORY FROM ICEBERG 'raw.meters';

INSERT INTO ICEBERG 'marts.consumption'
SELECT window_start, window_end, count(*) AS readings
FROM   TUMBLE(meters, t, INTERVAL '5 minutes')
WHERE  kind = 'reading'
GROUP  BY window_start, window_end;
