-- A stream that is read from a file is tested like any other: the records stand in the input, as JSON.

CREATE STREAM trades (
  symbol TEXT NOT NULL, price DOUBLE, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t
)
LIVE FROM FILE 'trades.csv' FORMAT CSV;

INSERT INTO ICEBERG 'marts.trades' PARTITIONED BY (month(window_start))
SELECT window_start, symbol, first_value(price) AS opened, last_value(price) AS closed
FROM   TUMBLE(trades, t, INTERVAL '1 day')
GROUP  BY window_start, window_end, symbol;
