-- A view as the input of a window, the times of its windows under names of their own.
CREATE STREAM visits (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '10 seconds'
)
LIVE FROM KAFKA 'visits' FORMAT JSON;

CREATE VIEW per_minute AS
SELECT window_start AS minute, window_time, host, count(*) AS hits
FROM TUMBLE(visits, t, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time, host;

INSERT INTO ICEBERG 'marts.busiest'
SELECT window_start, window_end, minute, host, hits
FROM TUMBLE(per_minute, window_time, INTERVAL '5 minutes')
QUALIFY row_number() OVER (PARTITION BY window_start, window_end ORDER BY hits DESC, minute, host) <= 2;
