-- How many bids a person makes in each ten seconds.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q12'
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM   TUMBLE(bid, dateTime, INTERVAL '10 seconds')
GROUP  BY bidder, window_start, window_end;
