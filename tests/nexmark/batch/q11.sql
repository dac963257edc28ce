WITH pauses AS (
  SELECT bidder, dateTime,
         CAST(coalesce(dateTime >= lag(dateTime) OVER bids + INTERVAL 10 SECOND, true) AS BIGINT) AS begins
  FROM   bid WINDOW bids AS (PARTITION BY bidder ORDER BY dateTime)
), sessions AS (
  SELECT *, sum(begins) OVER (PARTITION BY bidder ORDER BY dateTime) AS session FROM pauses
)
SELECT bidder, count(*) AS bid_count, min(dateTime) AS starttime, max(dateTime) + INTERVAL 10 SECOND AS endtime
FROM   sessions GROUP BY bidder, session
