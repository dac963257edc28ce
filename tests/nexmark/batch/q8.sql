SELECT DISTINCT time_bucket(INTERVAL 10 SECOND, P.dateTime) AS window_start, P.id, P.name
FROM   person P JOIN auction A
ON     P.id = A.seller AND time_bucket(INTERVAL 10 SECOND, P.dateTime) = time_bucket(INTERVAL 10 SECOND, A.dateTime)
