//! Durations as text with units: `10s`, `500ms`, `1 minute`, `1h 30m`.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::event::Micros;

/// A unit of time.
struct Unit {
    /// Its names, in lower case.
    names: &'static [&'static str],
    /// Length in microseconds.
    micros: u64,
}

/// Months and years aren't lengths of time.
const UNITS: [Unit; 7] = [
    Unit { names: &["w", "week", "weeks"], micros: 7 * 86_400_000_000 },
    Unit { names: &["d", "day", "days"], micros: 86_400_000_000 },
    Unit { names: &["h", "hr", "hour", "hours"], micros: 3_600_000_000 },
    Unit { names: &["m", "min", "mins", "minute", "minutes"], micros: 60_000_000 },
    Unit { names: &["s", "sec", "secs", "second", "seconds"], micros: 1_000_000 },
    Unit { names: &["ms", "millisecond", "milliseconds"], micros: 1_000 },
    Unit { names: &["us", "microsecond", "microseconds"], micros: 1 },
];

/// A length of time as people write it. Never negative, whole microseconds, at most about 290,000 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// Why a text isn't a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationTextError {
    /// Nothing there.
    #[error("a duration is missing; write it with a unit, such as 10s, 500ms or 1h 30m")]
    Empty,
    /// A number without a unit behind it.
    #[error("`{number}` has no unit; write {number}s for seconds, {number}ms for milliseconds, {number}m for minutes")]
    NoUnit {
        /// The number as written.
        number: String,
    },
    /// A unit that isn't known.
    #[error("`{unit}` isn't a unit of time; the units are us, ms, s, m, h, d and w")]
    Unit {
        /// The unit as written.
        unit: String,
    },
    /// Not number and unit at all.
    #[error("`{text}` isn't a duration; write numbers with units, such as 10s, 500ms or 1h 30m")]
    Form {
        /// The text as written.
        text: String,
    },
    /// Beyond what can be counted.
    #[error("`{text}` is too long")]
    TooLong {
        /// The text as written.
        text: String,
    },
}

impl DurationText {
    /// The length in microseconds.
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).expect("parsing admits only lengths that fit")
    }
}

impl FromStr for DurationText {
    type Err = DurationTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationTextError::Empty);
        }
        let too_long = || DurationTextError::TooLong { text: text.to_owned() };
        let mut micros: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, behind) = rest.split_at(digits);
            let behind = behind.trim_start();
            let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(letters);
            if number.is_empty() {
                return Err(DurationTextError::Form { text: text.to_owned() });
            }
            if unit.is_empty() {
                return match behind.is_empty() {
                    true => Err(DurationTextError::NoUnit { number: number.to_owned() }),
                    false => Err(DurationTextError::Form { text: text.to_owned() }),
                };
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            let length = unit_micros(unit)?;
            micros = number.checked_mul(length).and_then(|part| micros.checked_add(part)).ok_or_else(too_long)?;
            rest = behind.trim_start();
        }
        if i64::try_from(micros).is_err() {
            return Err(too_long());
        }
        Ok(DurationText(Duration::from_micros(micros)))
    }
}

fn unit_micros(name: &str) -> Result<u64, DurationTextError> {
    let lower = name.to_ascii_lowercase();
    // `M` might be meant as months: only the lower-case letter is minutes.
    let found = UNITS.iter().find(|unit| unit.names.contains(&lower.as_str()) && name != "M");
    found.map(|unit| unit.micros).ok_or_else(|| DurationTextError::Unit { unit: name.to_owned() })
}

impl std::fmt::Display for DurationText {
    /// As short as it can be read back: `1h 30m`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Micros(self.micros()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<DurationText>().expect("a duration").micros()
    }

    #[test]
    fn units_may_be_letters_or_words_with_or_without_spaces() {
        assert_eq!(micros("10s"), 10_000_000);
        assert_eq!(micros(" 500 ms "), 500_000);
        assert_eq!(micros("1 minute"), 60_000_000);
        assert_eq!(micros("1h30m"), 5_400_000_000);
        assert_eq!(micros("1 day 2 hours"), 93_600_000_000);
        assert_eq!(micros("2W"), 14 * 86_400_000_000);
        assert_eq!(micros("0s"), 0);
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        for text in ["0s", "10s", "500ms", "1h 30m", "1d 2h", "14d", "1us", "1d 1h 1m 1s 1ms 1us"] {
            assert_eq!(text.parse::<DurationText>().expect("a duration").to_string(), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_way_out() {
        let error = |text: &str| text.parse::<DurationText>().expect_err("no duration").to_string();
        assert!(error("10").contains("10s for seconds"));
        assert!(error("").contains("missing"));
        assert!(error("10 lightyears").contains("`lightyears` isn't a unit"));
        assert!(error("1M").contains("`M` isn't a unit"));
        assert!(error("1.5h").contains("isn't a duration"));
        assert!(error("-1s").contains("isn't a duration"));
        assert!(error("ten seconds").contains("isn't a duration"));
        assert!(error("99999999999999999999s").contains("too long"));
        assert!(error("999999999999w").contains("too long"));
    }
}
