INCLUDE 'no_such_file.sql';

CREATE STREAM requests (
  host TEKST,
  event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds'
)
LIVE FROM KAFKA 'requests' FORMAT JSON;
