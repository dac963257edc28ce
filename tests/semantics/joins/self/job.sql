-- One stream twice: the records that have the greatest value of their window. What is read twice is late once.
CREATE STREAM bids (
  auction BIGINT, price BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 second'
)
LIVE FROM KAFKA 'bids' FORMAT JSON;

INSERT INTO ICEBERG 'marts.highest'
SELECT b.window_start, b.window_end, b.auction, b.price, b.t
FROM TUMBLE(bids, t, INTERVAL '10 seconds') AS b
JOIN (
  SELECT window_start, window_end, max(price) AS price
  FROM TUMBLE(bids, t, INTERVAL '10 seconds') GROUP BY window_start, window_end
) AS m ON b.window_start = m.window_start AND b.window_end = m.window_end AND b.price = m.price;
