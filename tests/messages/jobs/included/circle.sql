-- Two files that need each other.
INCLUDE 'around.sql';
