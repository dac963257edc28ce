-- What devices measured, by the time when it really happened. Their clocks are hours off: a device says when something occurred and
-- when it sent the message, both by its own clock, and the gateway says when that came. The difference of the last two corrects
-- the first, so the event time depends on the message alone, and a backfill finds the same.
CREATE STREAM device_events (
  device      TEXT      NOT NULL,
  celsius     DOUBLE,
  occurred_at TIMESTAMP NOT NULL,
  sent_at     TIMESTAMP NOT NULL,
  received_at TIMESTAMP NOT NULL,
  happened_at TIMESTAMP NOT NULL AS CORRECT_CLOCK(occurred_at, sent_at, received_at),
  WATERMARK FOR happened_at AS happened_at - INTERVAL '2 minutes' IDLE AFTER INTERVAL '5 minutes'
)
LIVE    FROM KAFKA   'device-events' FORMAT JSON
HISTORY FROM ICEBERG 'raw.device_events';

-- A device that was out of reach sends what it has kept, minutes late: the windows that are published already are revised.
INSERT INTO ICEBERG 'marts.device_temperatures' PARTITIONED BY (day(window_start))
SELECT window_start, window_end, device,
       count(*) AS readings, avg(celsius) AS mean, max(celsius) AS highest
FROM   TUMBLE(device_events, happened_at, INTERVAL '5 minutes')
GROUP  BY window_start, window_end, device
ALLOW LATENESS INTERVAL '10 minutes';
