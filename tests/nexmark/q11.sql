-- Sessions: how many bids a person makes before a pause of ten seconds.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q11'
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM   SESSION(bid PARTITION BY bidder, dateTime, INTERVAL '10 seconds')
GROUP  BY bidder, window_start, window_end;
