INCLUDE 'included/views.sql';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, hits FROM counts WHERE hits > 1;
