INCLUDE included/requests.sql;

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(requests, event_time, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
