-- New users: persons who open an auction in the ten seconds in which they register.
INCLUDE 'streams.sql';

INSERT INTO ICEBERG 'nexmark.q8'
SELECT P.window_start, P.id, P.name
FROM   (SELECT window_start, window_end, id, name
        FROM   TUMBLE(person, dateTime, INTERVAL '10 seconds')
        GROUP  BY window_start, window_end, id, name) P
JOIN   (SELECT window_start, window_end, seller
        FROM   TUMBLE(auction, dateTime, INTERVAL '10 seconds')
        GROUP  BY window_start, window_end, seller) A
ON     P.window_start = A.window_start AND P.window_end = A.window_end AND P.id = A.seller;
