WITH windows AS (
  SELECT time_bucket(INTERVAL 10 SECOND, dateTime) AS window_start, * FROM bid
), highest AS (
  SELECT window_start, max(price) AS maxprice FROM windows GROUP BY ALL
)
SELECT B.window_start, B.auction, B.price, B.bidder, B.dateTime, B.extra
FROM   windows B JOIN highest ON B.price = highest.maxprice AND B.window_start = highest.window_start
