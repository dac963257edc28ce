-- Prices in another currency.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q1' PARTITIONED BY (hour(dateTime))
SELECT auction, bidder, CAST(CAST(0.908 AS DECIMAL(4, 3)) * price AS DECIMAL(23, 3)) AS price, dateTime, extra FROM bid;
