-- The bids on some auctions.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q2' PARTITIONED BY (hour(dateTime))
SELECT auction, price, dateTime FROM bid WHERE auction % 123 = 0;
