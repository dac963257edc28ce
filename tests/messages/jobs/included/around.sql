INCLUDE 'requests.sql';
INCLUDE 'circle.sql';
