//! Times as arguments: RFC 3339, a date, `now`, `now-7d`, epoch seconds or milliseconds. Without a zone: UTC, with a note.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use thiserror::Error;

use crate::config::{DurationText, DurationTextError};
use crate::event::{EventTime, Micros};

/// From here on a number is milliseconds: seconds would lie beyond the year 5000.
const SECONDS_END: i64 = 100_000_000_000;
/// From here on a number is neither: milliseconds would lie beyond the year 5000.
const MILLISECONDS_END: i64 = 100_000_000_000_000;
/// Fewer digits are a year or a date without hyphens rather than seconds: 100,000,000 s is March 1973.
const EPOCH_DIGITS_MIN: usize = 9;

/// A time as it was written; [`TimeArgument::resolve`] makes it an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeArgument {
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// With a zone.
    Zoned(EventTime),
    /// Without one: UTC.
    Unzoned(EventTime),
    /// A number since the epoch.
    Epoch(EventTime),
    /// So long before now.
    BeforeNow(Micros),
}

/// Why a text isn't a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeArgumentError {
    /// Not in any of the forms.
    #[error(
        "`{text}` isn't a time; write 2026-11-21, 2026-11-21T08:00:00Z, now, now-7d, or epoch seconds (1795248000)"
    )]
    Form {
        /// As written.
        text: String,
    },
    /// In the form of a date or time, but there is none like it.
    #[error("`{text}` isn't on the calendar or the clock; write it like 2026-11-21T08:00:00Z")]
    Calendar {
        /// As written.
        text: String,
    },
    /// A number that is no epoch time.
    #[error(
        "`{text}` is neither epoch seconds (such as 1795248000) nor milliseconds (1795248000000); write dates as 2026-11-21"
    )]
    Epoch {
        /// As written.
        text: String,
    },
    /// Before the year 1, or after 9999.
    #[error("`{text}` is outside the years 1 to 9999; write a time like 2026-11-21T08:00:00Z")]
    Years {
        /// As written.
        text: String,
    },
    /// `now-` with something else than a duration behind it.
    #[error("`{text}`: {source}; write now-7d or now-1h30m")]
    BeforeNow {
        /// As written.
        text: String,
        /// What is wrong behind the minus.
        source: DurationTextError,
    },
}

impl TimeArgument {
    /// The instant that is meant, if it is `now` now; one before the year 1 is the first of that year.
    pub fn resolve(&self, now: EventTime) -> EventTime {
        match self.meaning {
            Meaning::Zoned(time) | Meaning::Unzoned(time) | Meaning::Epoch(time) => time,
            Meaning::BeforeNow(span) => now.minus(span).max(EventTime::EARLIEST),
        }
    }

    /// What the user should be told about how the text was read; `None` if it says so itself.
    pub fn note(&self, now: EventTime) -> Option<String> {
        let (text, time) = (&self.text, self.resolve(now));
        match self.meaning {
            Meaning::Zoned(_) => None,
            Meaning::Unzoned(_) => Some(format!("{text} is read as UTC: {time}")),
            Meaning::Epoch(_) | Meaning::BeforeNow(_) => Some(format!("{text} is {time}")),
        }
    }
}

impl FromStr for TimeArgument {
    type Err = TimeArgumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let meaning = if trimmed == "now" {
            Meaning::BeforeNow(Micros(0))
        } else if let Some(span) = trimmed.strip_prefix("now-") {
            let span = span.parse::<DurationText>();
            let wrong = |source| TimeArgumentError::BeforeNow { text: trimmed.to_owned(), source };
            Meaning::BeforeNow(Micros(span.map_err(wrong)?.micros()))
        } else if !trimmed.is_empty() && trimmed.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) {
            Meaning::Epoch(epoch(trimmed)?)
        } else {
            calendar(trimmed)?
        };
        if let Meaning::Zoned(time) | Meaning::Unzoned(time) | Meaning::Epoch(time) = meaning
            && !(EventTime::EARLIEST..=EventTime::LATEST).contains(&time)
        {
            return Err(TimeArgumentError::Years { text: trimmed.to_owned() });
        }
        Ok(TimeArgument { text: trimmed.to_owned(), meaning })
    }
}

fn epoch(text: &str) -> Result<EventTime, TimeArgumentError> {
    let wrong = || TimeArgumentError::Epoch { text: text.to_owned() };
    let number: i64 = text.parse().map_err(|_| wrong())?;
    let digits = text.trim_start_matches('-').len();
    match number.abs() {
        _ if digits < EPOCH_DIGITS_MIN => Err(wrong()),
        ..SECONDS_END => Ok(EventTime(number * 1_000_000)),
        SECONDS_END..MILLISECONDS_END => Ok(EventTime(number * 1_000)),
        _ => Err(wrong()),
    }
}

/// `YYYY-MM-DD`, then `T` or a space, `HH:MM[:SS[.f]]` and a zone, from the day on as much as is there.
fn calendar(text: &str) -> Result<Meaning, TimeArgumentError> {
    let form = || TimeArgumentError::Form { text: text.to_owned() };
    let wrong = || TimeArgumentError::Calendar { text: text.to_owned() };
    let date = text.get(..10).filter(|date| is_shaped(date, "dddd-dd-dd")).ok_or_else(form)?;
    let date: NaiveDate = date.parse().map_err(|_| wrong())?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Ok(Meaning::Unzoned(micros(date.and_time(NaiveTime::MIN), 0)));
    }
    let rest = rest.strip_prefix(['T', 't', ' ']).ok_or_else(form)?;
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone);
    let clock = clock.trim_end();
    if !clock.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(form());
    }
    let time = NaiveTime::parse_from_str(clock, "%H:%M:%S%.f").or_else(|_| NaiveTime::parse_from_str(clock, "%H:%M"));
    let local = date.and_time(time.map_err(|_| wrong())?);
    match zone {
        "" => Ok(Meaning::Unzoned(micros(local, 0))),
        "Z" | "z" => Ok(Meaning::Zoned(micros(local, 0))),
        offset => Ok(Meaning::Zoned(micros(local, offset_seconds(offset).ok_or_else(wrong)?))),
    }
}

fn micros(local: NaiveDateTime, offset_seconds: i64) -> EventTime {
    let utc: DateTime<chrono::Utc> = local.and_utc();
    EventTime(utc.timestamp_micros() - offset_seconds * 1_000_000)
}

/// Seconds east of UTC of `+HH:MM` or `-HHMM`.
fn offset_seconds(text: &str) -> Option<i64> {
    if !is_shaped(text, "sdd:dd") && !is_shaped(text, "sdddd") {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3_600 + minutes * 60)?;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// Whether `text` has the shape: `d` a digit, `s` a sign, anything else itself.
fn is_shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            b's' => byte == b'+' || byte == b'-',
            other => byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_795_248_000_000_000); // 2026-11-21T08:00:00Z

    fn read(text: &str) -> (String, Option<String>) {
        let time: TimeArgument = text.parse().unwrap_or_else(|error| panic!("{error}"));
        (time.resolve(NOW).to_string(), time.note(NOW))
    }

    fn refusal(text: &str) -> String {
        text.parse::<TimeArgument>().expect_err("no time").to_string()
    }

    #[test]
    fn a_time_with_a_zone_needs_no_note() {
        assert_eq!(read("2026-11-21T08:00:00Z"), ("2026-11-21T08:00:00Z".into(), None));
        assert_eq!(read("2026-11-21 08:00:00.25+01:00"), ("2026-11-21T07:00:00.250Z".into(), None));
        assert_eq!(read("2026-11-21t08:00-0530"), ("2026-11-21T13:30:00Z".into(), None));
        assert_eq!(read("0001-01-01T00:00:00z").0, "0001-01-01T00:00:00Z");
    }

    #[test]
    fn a_time_without_a_zone_is_utc_and_says_so() {
        let note = Some("2026-11-21 is read as UTC: 2026-11-21T00:00:00Z".to_owned());
        assert_eq!(read("2026-11-21"), ("2026-11-21T00:00:00Z".into(), note));
        assert_eq!(read("2026-11-21T08:30").0, "2026-11-21T08:30:00Z");
        assert!(read("2026-11-21 08:30:01").1.expect("a note").contains("read as UTC"));
    }

    #[test]
    fn digits_beyond_microseconds_are_cut_toward_the_past() {
        assert_eq!(read("1969-12-31T23:59:59.9999999Z").0, "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn now_is_what_the_caller_says() {
        assert_eq!(read("now"), ("2026-11-21T08:00:00Z".into(), Some("now is 2026-11-21T08:00:00Z".into())));
        assert_eq!(read("now-7d").0, "2026-11-14T08:00:00Z");
        assert_eq!(read("now-1h30m").0, "2026-11-21T06:30:00Z");
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart_by_their_digits() {
        assert_eq!(read("1795248000").0, "2026-11-21T08:00:00Z");
        assert_eq!(read("1795248000123").0, "2026-11-21T08:00:00.123Z");
        assert_eq!(read("-1000000000").0, "1938-04-24T22:13:20Z");
        assert_eq!(read("1795248000").1.expect("a note"), "1795248000 is 2026-11-21T08:00:00Z");
    }

    #[test]
    fn before_the_first_year_is_its_first_instant() {
        assert_eq!(read("now-9999999d").0, "0001-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        assert!(refusal("yesterday").contains("write 2026-11-21, 2026-11-21T08:00:00Z, now, now-7d"));
        assert!(refusal("").contains("isn't a time"));
        assert!(refusal("2026-02-30").contains("isn't on the calendar"));
        assert!(refusal("2026-11-21T25:00:00Z").contains("isn't on the calendar"));
        assert!(refusal("2026-11-21T08:00:00+1").contains("isn't on the calendar"));
        assert!(refusal("2026-11-21T08:00:00 Europe/Berlin").contains("isn't on the calendar"));
        assert!(refusal("2026-11-21x").contains("isn't a time"));
        assert!(refusal("21.11.2026").contains("isn't a time"));
        assert!(refusal("20261121").contains("write dates as 2026-11-21"));
        assert!(refusal("1795248000123456").contains("neither epoch seconds"));
        for text in ["-91752400008", "0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-01:00"] {
            assert!(refusal(text).contains("outside the years 1 to 9999"), "{text}");
        }
        assert!(refusal("now-7").contains("no unit"));
        assert!(refusal("now-").contains("missing"));
        assert!(refusal("now+1h").contains("isn't a time"));
        assert!(refusal("２０２６-11-21").contains("isn't a time"));
    }
}
