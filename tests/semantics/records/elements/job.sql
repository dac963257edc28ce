-- UNNEST makes a row of each element of a list, none of an empty one: of a column, by its places; of an expression, and filtered.
CREATE STREAM orders (
  order_id BIGINT, tags TEXT, lines STRUCT<sku TEXT, count INT>[], ordered_at TIMESTAMP NOT NULL,
  WATERMARK FOR ordered_at AS ordered_at - INTERVAL '1 second'
)
LIVE FROM KAFKA 'orders' FORMAT JSON;

INSERT INTO ICEBERG 'marts.order_lines' PARTITIONED BY (day(ordered_at))
SELECT o.ordered_at, order_id, place, line.sku, l.line.count AS count, line
FROM   orders AS o CROSS JOIN UNNEST(o.lines) WITH ORDINALITY AS l(line, place)
WHERE  order_id < 100 AND line.count > 0;

INSERT INTO ICEBERG 'marts.order_tags'
SELECT ordered_at, order_id, trim(unnest(string_to_array(tags, ','))) AS tag FROM orders;
