SELECT auction, price, dateTime FROM bid WHERE auction % 123 = 0
