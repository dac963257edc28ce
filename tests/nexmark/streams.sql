-- Nexmark's three streams. Events come out of order by less than two seconds, so no record is late.
CREATE STREAM person (
  id BIGINT NOT NULL, name TEXT, emailAddress TEXT, creditCard TEXT, city TEXT, state TEXT,
  dateTime TIMESTAMP NOT NULL, extra TEXT,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '2 seconds'
)
LIVE    FROM KAFKA   'nexmark-person' FORMAT JSON
HISTORY FROM ICEBERG 'nexmark.person';

CREATE STREAM auction (
  id BIGINT NOT NULL, itemName TEXT, description TEXT, initialBid BIGINT, reserve BIGINT,
  dateTime TIMESTAMP NOT NULL, expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '2 seconds'
)
LIVE    FROM KAFKA   'nexmark-auction' FORMAT JSON
HISTORY FROM ICEBERG 'nexmark.auction';

CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT,
  dateTime TIMESTAMP NOT NULL, extra TEXT,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '2 seconds'
)
LIVE    FROM KAFKA   'nexmark-bid' FORMAT JSON
HISTORY FROM ICEBERG 'nexmark.bid';
