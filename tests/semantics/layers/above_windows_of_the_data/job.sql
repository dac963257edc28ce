-- Whose spending of the last minute is the greatest at each instant, and the greatest payment of every two of a card.
CREATE STREAM payments (card TEXT, amount BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '10 seconds')
LIVE FROM KAFKA 'payments' FORMAT JSON HISTORY FROM ICEBERG 'raw.payments';

INSERT INTO ICEBERG 'marts.spenders'
SELECT window_start, window_end, card, spent
FROM   (SELECT window_start, window_end, card, sum(amount) AS spent
        FROM   SLIDING(payments PARTITION BY card, t, INTERVAL '1 minute')
        GROUP  BY window_start, window_end, card)
QUALIFY RANK() OVER (PARTITION BY window_start, window_end ORDER BY spent DESC) = 1;

INSERT INTO ICEBERG 'marts.greatest'
SELECT window_start, window_end, card, amount, reason
FROM   (SELECT window_start, window_end, window_reason AS reason, card, amount,
               ROW_NUMBER() OVER (PARTITION BY window_start, window_end, card ORDER BY amount DESC) AS place
        FROM   COUNT_WINDOW(payments PARTITION BY card, t, 2, TIMEOUT INTERVAL '1 minute'))
WHERE  place = 1;
