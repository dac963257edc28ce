-- A record on which an expression of the query fails is no reject, as another query may well take it: it goes to the late table.

CREATE STREAM tagged (
  tag TEXT, note TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'tagged' FORMAT JSON;

INSERT INTO ICEBERG 'marts.tags' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS records, count(decode(tag, 'hex')) AS tags
FROM   TUMBLE(tagged, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end;
