-- Departures of New York's airports by hour, with their delays. A flight is reported when it lands, so reports come hours
-- out of order: a short flight overtakes a long one that left before it. Flights that never left have no departure
-- and are rejects. tests/flights/flights.py makes the messages of 2013.

CREATE STREAM flights (
  carrier         TEXT NOT NULL,
  flight          INT NOT NULL,
  origin          TEXT NOT NULL,
  destination     TEXT,
  departed_at     TIMESTAMP NOT NULL,
  departure_delay INT,                    -- minutes, negative when it left early
  air_time        INT,                    -- minutes
  WATERMARK FOR departed_at AS departed_at - INTERVAL '24 hours'
)
LIVE    FROM KAFKA   'flights' FORMAT JSON
HISTORY FROM ICEBERG 'raw.flights';

INSERT INTO ICEBERG 'marts.flight_delays' PARTITIONED BY (month(window_start))
SELECT window_start, window_end, origin,
       count(*) AS flights, avg(departure_delay) AS mean_delay, max(departure_delay) AS worst_delay
FROM   TUMBLE(flights, departed_at, INTERVAL '1 hour')
GROUP  BY window_start, window_end, origin;
