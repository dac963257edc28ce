-- Web requests made fit for use, each by itself: without health checks and half of each address, hosts in small letters, and the
-- tags of each in rows of their own. No window: a request is published at the next checkpoint, in time or late.
CREATE STREAM raw_requests (
  request_id TEXT NOT NULL, url TEXT, host TEXT, ip TEXT, status INT, tags TEXT,
  requested_at TIMESTAMP NOT NULL,
  WATERMARK FOR requested_at AS requested_at - INTERVAL '15 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   'raw-requests' FORMAT JSON
HISTORY FROM ICEBERG 'raw.requests';

INSERT INTO ICEBERG 'staging.requests' PARTITIONED BY (hour(requested_at))
SELECT requested_at, request_id, lower(host) AS host, split_part(url, '?', 1) AS path,
       regexp_replace(ip, '\.\d+\.\d+$', '.0.0') AS network, status, status >= 400 AS failed
FROM   raw_requests
WHERE  url NOT LIKE '/health%';

INSERT INTO ICEBERG 'staging.request_tags'
SELECT requested_at, request_id, place, trim(tag) AS tag
FROM   raw_requests CROSS JOIN UNNEST(string_to_array(tags, ',')) WITH ORDINALITY AS t(tag, place)
WHERE  trim(tag) <> '';
