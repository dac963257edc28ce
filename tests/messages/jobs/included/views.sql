INCLUDE 'requests.sql';

CREATE VIEW counts AS
SELECT window_start, window_end, hots, count(*) AS hits
FROM   TUMBLE(requests, event_time, INTERVAL '1 minute')
GROUP  BY window_start, window_end, hots;
