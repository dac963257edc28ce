//! Lengths of time as job files write them: `INTERVAL '5 seconds'`, `INTERVAL '5' SECOND`, `INTERVAL '1 day 2 hours'`.
//! Invariant: exact; a length that is no whole number of microseconds is refused, never rounded.

use datafusion_sql::sqlparser::tokenizer::{Span, Token, Word};

use super::definition::Spanned;
use super::problem::Problem;
use super::tokens::{Cursor, Parsed};
use crate::event::Micros;

const HELP: &str = "write it like INTERVAL '5 minutes', INTERVAL '1 day 2 hours' or INTERVAL '0.5' SECOND";

/// Takes `INTERVAL '…' [unit]`; may be negative.
pub(super) fn parse_any(cursor: &mut Cursor<'_>) -> Parsed<Spanned<Micros>> {
    let (text, unit, span) = parse_text(cursor)?;
    match length(&text, unit) {
        Ok(micros) => Ok(Spanned { value: micros, span }),
        Err((message, help)) => Err(Problem::new(span, message, help)),
    }
}

/// The text of an interval, the unit behind it, and the place of all of it.
fn parse_text<'a>(cursor: &mut Cursor<'a>) -> Parsed<(String, Option<&'a str>, Span)> {
    let start = cursor.span();
    if !cursor.eat_words(&["INTERVAL"]) {
        return Err(cursor.unexpected("`INTERVAL`", HELP));
    }
    let text = cursor.text("a length of time in single quotes", HELP)?;
    let unit = match cursor.peek() {
        Some(Token::Word(Word { value, quote_style: None, .. })) if unit(value).is_some() => {
            cursor.advance();
            Some(value.as_str())
        }
        _ => None,
    };
    let span = cursor.span_since(start);
    if unit.is_some() && cursor.at_words(&["TO"]) {
        return Err(Problem::new(span, "intervals from one unit TO another aren't supported", HELP));
    }
    Ok((text.value, unit, span))
}

/// Takes an interval that is at least zero; `what` names it in the message.
pub(super) fn parse_not_negative(cursor: &mut Cursor<'_>, what: &str) -> Parsed<Spanned<Micros>> {
    let interval = parse_any(cursor)?;
    if interval.value.0 < 0 {
        return Err(Problem::new(interval.span, format!("{what} can't be negative"), "leave out the sign"));
    }
    Ok(interval)
}

/// Takes an interval above zero; `what` names it in the message.
pub(super) fn parse_positive(cursor: &mut Cursor<'_>, what: &str) -> Parsed<Spanned<Micros>> {
    let interval = parse_any(cursor)?;
    if interval.value.0 <= 0 {
        return Err(Problem::new(interval.span, format!("{what} must be longer than zero"), HELP));
    }
    Ok(interval)
}

/// A length of time, or of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Always the same.
    Fixed(Micros),
    /// So many months; a year is twelve.
    Months(i32),
}

/// Takes an interval above zero, also one of months or years; `what` names it in the message.
pub(super) fn parse_positive_length(cursor: &mut Cursor<'_>, what: &str) -> Parsed<Spanned<Length>> {
    let (text, unit, span) = parse_text(cursor)?;
    let length = if is_calendar(&text, unit) { months(&text, unit) } else { length(&text, unit).map(Length::Fixed) };
    match length {
        Ok(Length::Fixed(Micros(..=0)) | Length::Months(..=0)) => {
            Err(Problem::new(span, format!("{what} must be longer than zero"), HELP))
        }
        Ok(value) => Ok(Spanned { value, span }),
        Err((message, help)) => Err(Problem::new(span, message, help)),
    }
}

/// A thousand years.
const MONTHS_MAX: i32 = 12_000;

/// What a unit's name stands for.
enum Unit {
    Fixed(i64),
    Calendar,
}

fn unit(name: &str) -> Option<Unit> {
    let micros = match name.to_ascii_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "week" | "weeks" => 604_800_000_000,
        "month" | "months" | "quarter" | "quarters" | "year" | "years" => return Some(Unit::Calendar),
        _ => return None,
    };
    Some(Unit::Fixed(micros))
}

type Refusal = (String, String);

/// The length that `text` means, with the unit behind it or with units inside.
fn length(text: &str, outer: Option<&str>) -> Result<Micros, Refusal> {
    let pairs = match outer {
        Some(unit) => vec![(text.trim().to_owned(), unit.to_owned())],
        None => pairs(text)?,
    };
    let mut sum: i128 = 0;
    for (number, name) in &pairs {
        let micros = match unit(name) {
            Some(Unit::Fixed(micros)) => micros,
            Some(Unit::Calendar) => {
                let message = format!("months and years have no fixed length: `{text}`");
                return Err((message, "write it in days, as in INTERVAL '30 days'".into()));
            }
            None if name.eq_ignore_ascii_case("m") => {
                let message = "the unit `m` could be minutes or months".to_owned();
                return Err((message, format!("write INTERVAL '{number} minutes'")));
            }
            None => {
                let message = format!("unknown unit `{name}` in the interval `{text}`");
                return Err((
                    message,
                    "units are microseconds, milliseconds, seconds, minutes, hours, days, weeks".into(),
                ));
            }
        };
        sum += scaled(number, micros, text)?;
    }
    match i64::try_from(sum) {
        Ok(micros) => Ok(Micros(micros)),
        Err(_) => Err((format!("the interval `{text}` is too long"), HELP.to_owned())),
    }
}

/// Whether a unit of the calendar is in it.
fn is_calendar(text: &str, outer: Option<&str>) -> bool {
    let is = |name: &str| matches!(unit(name), Some(Unit::Calendar));
    match outer {
        Some(unit) => is(unit),
        None => pairs(text).is_ok_and(|pairs| pairs.iter().any(|(_, name)| is(name))),
    }
}

/// The months that `text` means, of whose units at least one is of the calendar.
fn months(text: &str, outer: Option<&str>) -> Result<Length, Refusal> {
    let pairs = match outer {
        Some(unit) => vec![(text.trim().to_owned(), unit.to_owned())],
        None => pairs(text)?,
    };
    let mut sum: i64 = 0;
    for (number, name) in &pairs {
        let months = match name.to_ascii_lowercase().as_str() {
            "month" | "months" => 1,
            "quarter" | "quarters" => 3,
            "year" | "years" => 12,
            _ => {
                let message = format!("`{text}` mixes months or years with units of a fixed length");
                return Err((message, "write INTERVAL '1 month', or a length in days".into()));
            }
        };
        let Some(count) = number.parse::<i32>().ok().filter(|count| count.abs() <= MONTHS_MAX) else {
            let message = format!("`{number} {name}` is no whole number of months up to {MONTHS_MAX}");
            return Err((message, "write INTERVAL '3 months' or INTERVAL '1 year'".into()));
        };
        sum += i64::from(count) * months;
    }
    match i32::try_from(sum).ok().filter(|months| months.abs() <= MONTHS_MAX) {
        Some(months) => Ok(Length::Months(months)),
        None => Err((format!("the interval `{text}` is too long"), HELP.to_owned())),
    }
}

/// Numbers and units in turn, with or without white space between them.
fn pairs(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let malformed = || (format!("`{text}` is no length of time"), HELP.to_owned());
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let numeric = |character: char| character.is_ascii_digit() || ".+-".contains(character);
        let (number, behind) = rest.split_at(rest.find(|character| !numeric(character)).unwrap_or(rest.len()));
        let behind = behind.trim_start();
        let end = behind.find(|character: char| !character.is_alphabetic()).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(end);
        if number.is_empty() {
            return Err(malformed());
        }
        if name.is_empty() {
            let help = format!("write INTERVAL '{number} seconds' or INTERVAL '{number}' SECOND, or another unit");
            return Err((
                format!("the interval `{text}` has no unit"),
                if behind.is_empty() { help } else { HELP.into() },
            ));
        }
        pairs.push((number.to_owned(), name.to_owned()));
        rest = behind.trim_start();
    }
    if pairs.is_empty() { Err(malformed()) } else { Ok(pairs) }
}

/// `number` units of `micros` each, exactly.
fn scaled(number: &str, micros: i64, text: &str) -> Result<i128, Refusal> {
    let malformed = || (format!("`{number}` in the interval `{text}` is no number"), HELP.to_owned());
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(malformed());
    }
    // 12 and 9 digits keep the product below 10^35; anything longer is beyond years 1 to 9999 anyway.
    if whole.len() > 18 || fraction.len() > 9 {
        return Err((format!("`{number}` in the interval `{text}` has too many digits"), HELP.to_owned()));
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).expect("at most 9"));
    let value = format!("0{whole}{fraction}").parse::<i128>().map_err(|_| malformed())? * i128::from(micros);
    if value % scale != 0 {
        return Err((format!("the interval `{text}` is finer than a microsecond"), HELP.to_owned()));
    }
    Ok(sign * value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, unit: Option<&str>) -> Result<i64, String> {
        length(text, unit).map(|micros| micros.0).map_err(|(message, _)| message)
    }

    #[test]
    fn every_way_to_write_a_length_gives_its_microseconds() {
        assert_eq!(of("5 seconds", None), Ok(5_000_000));
        assert_eq!(of("5", Some("SECOND")), Ok(5_000_000));
        assert_eq!(of("0.005", Some("second")), Ok(5_000));
        assert_eq!(of("-8", Some("HOUR")), Ok(-28_800_000_000));
        assert_eq!(of("1 day 2 hours", None), Ok(93_600_000_000));
        assert_eq!(of("1h30min", None), Ok(5_400_000_000));
        assert_eq!(of("1 day -2 hours", None), Ok(79_200_000_000));
    }

    #[test]
    fn months_and_years_are_lengths_of_the_calendar() {
        let of = |text: &str, unit| {
            assert!(is_calendar(text, unit), "{text}");
            months(text, unit).map_err(|(message, _)| message)
        };
        assert_eq!(of("1 month", None), Ok(Length::Months(1)));
        assert_eq!(of("1", Some("YEAR")), Ok(Length::Months(12)));
        assert_eq!(of("1 year 1 quarter", None), Ok(Length::Months(15)));
        assert_eq!(of("-1 month", None), Ok(Length::Months(-1)));
        for text in ["1 month 2 days", "0.5 months", "99999 years", "1000000000000 months"] {
            assert!(of(text, None).is_err(), "{text}");
        }
        assert!(!is_calendar("30 days", None));
    }

    #[test]
    fn what_has_no_exact_length_is_refused() {
        for (text, unit) in [
            ("1 month", None),
            ("1", Some("YEAR")),
            ("5", None),
            ("", None),
            ("five minutes", None),
            ("01:30:00", None),
            ("0.0000001", Some("second")),
            ("99999999999999999 weeks", None),
            ("1-2 days", None),
            ("5 m", None),
        ] {
            assert!(of(text, unit).is_err(), "{text} {unit:?}");
        }
    }
}
