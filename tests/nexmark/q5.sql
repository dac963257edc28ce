-- Hot items: the auctions with the most bids of the last ten seconds, every two seconds.
INCLUDE 'streams.sql';

CREATE VIEW counts AS
SELECT window_start, window_end, auction, count(*) AS num
FROM   HOP(bid, dateTime, INTERVAL '2 seconds', INTERVAL '10 seconds')
GROUP  BY window_start, window_end, auction;

INSERT INTO ICEBERG 'nexmark.q5'
SELECT window_start, window_end, auction, num
FROM   (SELECT *, RANK() OVER (PARTITION BY window_start, window_end ORDER BY num DESC) AS place FROM counts)
WHERE  place = 1;
