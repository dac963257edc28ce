-- The highest bids of each ten seconds, with all that is known of them.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q7'
SELECT window_start, auction, price, bidder, dateTime, extra
FROM   (SELECT *, window_start, RANK() OVER (PARTITION BY window_start, window_end ORDER BY price DESC) AS place
        FROM TUMBLE(bid, dateTime, INTERVAL '10 seconds'))
WHERE  place = 1;
