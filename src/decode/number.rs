//! Numbers as they are written: exact to the last digit, never through a double unless the column is one.

/// `text` times 10^`scale`, if that is an integer of at most 38 digits; the reason in words otherwise.
///
/// `text` is a number in JSON's grammar: `-12.50e3`. Trailing zeros don't count: `1.0` is an integer.
pub(super) fn scaled(text: &[u8], scale: i64) -> Result<i128, &'static str> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let exponent_at = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let digits_behind = point.map_or(0, |at| mantissa.len() - at - 1);
    let digit = |byte: &&u8| byte.is_ascii_digit();
    let Some(last) = mantissa.iter().rev().filter(digit).position(|byte| *byte != b'0') else {
        return Ok(0);
    };
    let count = mantissa.iter().filter(digit).count() - last;
    // value * 10^scale = significant digits * 10^shift
    let shift = exponent.saturating_sub(digits_behind as i64).saturating_add(last as i64).saturating_add(scale);
    if shift < 0 {
        return Err(if scale == 0 { "isn't an integer" } else { "has too many digits behind the point" });
    }
    let mut value: i128 = 0;
    for byte in mantissa.iter().filter(digit).take(count) {
        value = next_digit(value, byte - b'0')?;
    }
    for _ in 0..shift {
        value = next_digit(value, 0)?;
    }
    Ok(if negative { -value } else { value })
}

fn next_digit(value: i128, digit: u8) -> Result<i128, &'static str> {
    const LIMIT: i128 = 10i128.pow(38);
    let next = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit)));
    next.filter(|value| *value < LIMIT).ok_or("is out of range")
}

/// The number behind an `e`, held within what no mantissa can make up for.
fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits
        .iter()
        .fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
        .min(i64::MAX / 4);
    if negative { -value } else { value }
}

/// `text` as BIGINT.
pub(super) fn to_i64(text: &[u8]) -> Result<i64, &'static str> {
    i64::try_from(scaled(text, 0)?).map_err(|_| "is out of range")
}

/// `text` as DECIMAL(`precision`, `scale`), unscaled.
pub(super) fn to_decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, &'static str> {
    let value = scaled(text, i64::from(scale))?;
    if value.unsigned_abs() >= 10u128.pow(u32::from(precision)) {
        return Err("has too many digits");
    }
    Ok(value)
}

/// `text` as DOUBLE, rounded once, to nearest.
pub(super) fn to_f64(text: &[u8]) -> Result<f64, &'static str> {
    let value: f64 = ascii(text).parse().map_err(|_| "isn't a number")?;
    if value.is_finite() { Ok(value) } else { Err("is out of range") }
}

/// `text` as FLOAT, rounded once, to nearest.
pub(super) fn to_f32(text: &[u8]) -> Result<f32, &'static str> {
    let value: f32 = ascii(text).parse().map_err(|_| "isn't a number")?;
    if value.is_finite() { Ok(value) } else { Err("is out of range") }
}

fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Whether `text` is a number in JSON's grammar.
pub(super) fn is_number(text: &[u8]) -> bool {
    let mut cursor = super::json::Cursor::new(text, 0, text.len());
    cursor.number_text().is_ok() && cursor.at_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_be_written_with_point_or_exponent() {
        for (text, value) in [
            ("1", 1),
            ("1.0", 1),
            ("1e3", 1000),
            ("-12.50e1", -125),
            ("0e99999999999999999999", 0),
            ("-0", 0),
            ("100e-2", 1),
            ("0.001e3", 1),
        ] {
            assert_eq!(to_i64(text.as_bytes()), Ok(value), "{text}");
        }
        assert_eq!(to_i64(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(to_i64(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(to_i64(b"9223372036854775808"), Err("is out of range"));
        assert_eq!(to_i64(b"1e400"), Err("is out of range"));
        assert_eq!(to_i64(b"1e99999999999999999999"), Err("is out of range"));
        assert_eq!(to_i64(b"1.5"), Err("isn't an integer"));
        assert_eq!(to_i64(b"1e-99999999999999999999"), Err("isn't an integer"));
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        assert_eq!(to_decimal(b"0.1", 38, 2), Ok(10));
        assert_eq!(to_decimal(b"1.500", 4, 1), Ok(15));
        assert_eq!(
            to_decimal(b"12345678901234567890.123456789012345678", 38, 18),
            Ok(12345678901234567890123456789012345678)
        );
        assert_eq!(to_decimal(b"1.23", 10, 1), Err("has too many digits behind the point"));
        assert_eq!(to_decimal(b"100", 4, 2), Err("has too many digits"));
        assert_eq!(to_decimal(b"-99.99", 4, 2), Ok(-9999));
    }

    #[test]
    fn doubles_are_finite() {
        assert_eq!(to_f64(b"1e-300"), Ok(1e-300));
        assert_eq!(to_f64(b"1e999"), Err("is out of range"));
        assert_eq!(to_f32(b"1e39"), Err("is out of range"));
        assert!(is_number(b"-1.5e-3") && !is_number(b"01") && !is_number(b"1.") && !is_number(b""));
    }
}
