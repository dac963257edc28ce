-- Every bid as it is.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q0' PARTITIONED BY (hour(dateTime))
SELECT auction, bidder, price, dateTime, extra FROM bid;
