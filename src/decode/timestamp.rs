//! Instants and dates as messages write them.
//! Invariant: what comes out lies in the years 1 to 9999; what is finer than a microsecond is cut toward the past.

use crate::event::{EventTime, TimestampUnit};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Of the first instant, in microseconds since the epoch.
pub(super) const MICROS_MIN: i64 = EventTime::EARLIEST.0;
/// Of the last one.
pub(super) const MICROS_MAX: i64 = EventTime::LATEST.0;

const NOT_A_TIME: &str = "isn't a time as RFC 3339 or 'YYYY-MM-DD HH:MM:SS' writes it";
const NOT_A_DATE: &str = "isn't a date written 'YYYY-MM-DD'";
const OUT_OF_RANGE: &str = "is outside the years 1 to 9999";

/// An instant as a message may write it, in microseconds: a text, or an integer told by its size.
///
/// # Errors
/// What is wrong with it, to stand behind the text.
pub fn instant(text: &str) -> Result<i64, &'static str> {
    match text.parse() {
        Ok(integer) => from_integer(integer, None),
        Err(_) => from_text(text.as_bytes()),
    }
}

/// An integer as an instant, in microseconds: by its size, unless `unit` pins it.
pub(super) fn from_integer(value: i64, unit: Option<TimestampUnit>) -> Result<i64, &'static str> {
    let factor = match unit {
        Some(TimestampUnit::Seconds) => 1_000_000,
        Some(TimestampUnit::Milliseconds) => 1_000,
        Some(TimestampUnit::Microseconds) => 1,
        None => match value.unsigned_abs() {
            0..100_000_000_000 => 1_000_000,
            100_000_000_000..100_000_000_000_000 => 1_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1,
            _ => return Err("is too large for an integer time in microseconds"),
        },
    };
    let micros = value.checked_mul(factor).ok_or(OUT_OF_RANGE)?;
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE) }
}

/// RFC 3339 with any offset, or `YYYY-MM-DD HH:MM:SS[.f]` in UTC, in microseconds.
pub(super) fn from_text(text: &[u8]) -> Result<i64, &'static str> {
    let days = date_of(text.get(..10).ok_or(NOT_A_TIME)?).ok_or(NOT_A_TIME)?;
    let clock = text.get(11..19).ok_or(NOT_A_TIME)?;
    let separator = text[10];
    let (hour, minute, second) = (two(&clock[0..2]), two(&clock[3..5]), two(&clock[6..8]));
    let (Some(hour @ 0..=23), Some(minute @ 0..=59), Some(second @ 0..=60), b':', b':') =
        (hour, minute, second, clock[2], clock[5])
    else {
        return Err(NOT_A_TIME);
    };
    let (fraction, zone) = fraction_of(&text[19..])?;
    let offset_seconds = match (separator, zone) {
        (b'T' | b't' | b' ', zone) if !zone.is_empty() => offset_of(zone).ok_or(NOT_A_TIME)?,
        (b' ', _) => 0,
        _ => return Err(NOT_A_TIME),
    };
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset_seconds;
    // A leap second is the last of a day in UTC; like POSIX, it counts as the first second of the next day.
    if second == 60 && seconds.rem_euclid(SECONDS_PER_DAY) != 0 {
        return Err(NOT_A_TIME);
    }
    let micros = seconds * MICROS_PER_SECOND + fraction;
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE) }
}

/// `YYYY-MM-DD` in days since the epoch.
pub(super) fn date_from_text(text: &[u8]) -> Result<i32, &'static str> {
    let days = date_of(text).ok_or(NOT_A_DATE)?;
    Ok(i32::try_from(days).expect("the years 1 to 9999 are within 2^31 days"))
}

/// Microseconds of a leading `.digits`, and what follows.
fn fraction_of(text: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let Some((b'.', rest)) = text.split_first() else { return Ok((0, text)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(NOT_A_TIME);
    }
    let mut micros = 0;
    for digit in rest[..digits].iter().chain(std::iter::repeat(&b'0')).take(6) {
        micros = micros * 10 + i64::from(digit - b'0');
    }
    Ok((micros, &rest[digits..]))
}

/// Seconds east of UTC of `Z` or `±HH:MM`.
fn offset_of(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours @ 0..=23, minutes @ 0..=59) = (two(&rest[0..2])?, two(&rest[3..5])?) else { return None };
            let seconds = hours * 3600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn two(text: &[u8]) -> Option<i64> {
    let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = text else { return None };
    Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Days since the epoch of `YYYY-MM-DD`, years 1 to 9999.
fn date_of(text: &[u8]) -> Option<i64> {
    let [_, _, _, _, b'-', _, _, b'-', _, _] = text else { return None };
    let year = two(&text[0..2])? * 100 + two(&text[2..4])?;
    let (month, day) = (two(&text[5..7])?, two(&text[8..10])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if year == 0 || !(1..=length).contains(&day) {
        return None;
    }
    // Days by the civil calendar, counted from March so that the leap day is a year's last.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_instants_in_utc() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01 00:00:01.5", 1_500_000),
            ("1970-01-01t00:00:00.1234569z", 123_456),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("1970-01-01T05:30:00+05:30", 0),
            ("1969-12-31T19:00:00-05:00", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
            ("0001-01-01 00:00:00", MICROS_MIN),
            ("9999-12-31T23:59:59.999999999Z", MICROS_MAX),
        ] {
            assert_eq!(from_text(text.as_bytes()), Ok(micros), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-02-30T00:00:00Z",
            "2023-02-29 00:00:00",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T12:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0530",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00Zx",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2024-13-01T00:00:00Z",
            "２024-01-01",
        ] {
            assert!(from_text(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instant_is_a_text_or_an_integer() {
        assert_eq!(instant("1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert_eq!(instant("100000000001"), Ok(100_000_000_001_000));
        assert_eq!(instant("soon"), Err(NOT_A_TIME));
    }

    #[test]
    fn integers_are_told_by_their_size() {
        assert_eq!(from_integer(1, None), Ok(1_000_000));
        assert_eq!(from_integer(-99_999_999, None), Ok(-99_999_999_000_000));
        assert_eq!(from_integer(99_999_999_999, None), Ok(99_999_999_999_000_000));
        assert_eq!(from_integer(100_000_000_000, None), Ok(100_000_000_000_000));
        assert_eq!(from_integer(-100_000_000_000_000, None), Ok(-100_000_000_000_000));
        assert!(from_integer(100_000_000_000_000_000, None).is_err());
        assert!(from_integer(i64::MIN, None).is_err());
        assert!(from_integer(-62_135_596_801, None).is_err());
        assert_eq!(from_integer(1, Some(TimestampUnit::Microseconds)), Ok(1));
        assert_eq!(from_integer(1, Some(TimestampUnit::Milliseconds)), Ok(1_000));
        assert!(from_integer(i64::MAX, Some(TimestampUnit::Seconds)).is_err());
    }

    proptest! {
        #[test]
        fn days_are_those_of_the_calendar(days in -719_162i32..=2_932_896) {
            let date = chrono::NaiveDate::from_epoch_days(days).expect("a day of the years 1 to 9999");
            prop_assert_eq!(date_from_text(date.format("%Y-%m-%d").to_string().as_bytes()), Ok(days));
        }
    }
}
