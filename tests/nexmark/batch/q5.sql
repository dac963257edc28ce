WITH windows AS (
  SELECT window_end - INTERVAL 10 SECOND AS window_start, window_end, auction
  FROM   bid, unnest(generate_series(
           time_bucket(INTERVAL 2 SECOND, dateTime) + INTERVAL 2 SECOND,
           time_bucket(INTERVAL 2 SECOND, dateTime) + INTERVAL 10 SECOND, INTERVAL 2 SECOND)) AS ends (window_end)
), counts AS (
  SELECT window_start, window_end, auction, count(*) AS num FROM windows GROUP BY ALL
), most AS (
  SELECT window_start, max(num) AS maxn FROM counts GROUP BY ALL
)
SELECT counts.* FROM counts JOIN most ON counts.window_start = most.window_start AND counts.num >= most.maxn
