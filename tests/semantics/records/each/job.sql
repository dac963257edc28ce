-- Without a window each record is a result: in time or not, however far behind. Late is only one that the query can't be had of.
CREATE STREAM readings (
  sensor TEXT, level BIGINT, place STRUCT<hall TEXT, shelf INT>, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 second'
)
LIVE FROM KAFKA 'readings' FORMAT JSON;

CREATE VIEW filled AS
SELECT *, level * 3000000000000000000 AS scaled FROM readings WHERE level IS NOT NULL;

INSERT INTO ICEBERG 'marts.readings' PARTITIONED BY (hour(read_at), truncate(1, sensor))
SELECT t AS read_at, upper(sensor) AS sensor, f.scaled, f.place.shelf, level % 2 = 0 AS even
FROM   filled AS f
WHERE  sensor <> 'test';
