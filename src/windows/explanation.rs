//! What there is to say of a window: a document with stable names for programs, a line for people.

use std::fmt::{Display, Formatter, Result};

use chrono_tz::Tz;
use serde::Serialize;

use super::{
    ByData, Calendar, CalendarLength, Counting, Cumulating, Hopping, Session, Sliding, TZDATA, Tumbling, Window,
};
use crate::event::Micros;

/// How event time is cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WindowExplanation {
    /// `tumble`, `hop`, `cumulate`, `session`, `count_window` or `sliding`; `none` for a SELECT without a window.
    pub kind: &'static str,
    /// From the start of a window to that of the next, in microseconds, for `hop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slide_us: Option<i64>,
    /// How much a window is longer than the one before, in microseconds, for `cumulate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_us: Option<i64>,
    /// Length of a window (of the longest, for `cumulate`), in microseconds; none where a calendar decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_us: Option<i64>,
    /// Shift of the grid against the Unix epoch, in microseconds.
    pub offset_us: i64,
    /// Length of a window in dates of a calendar: `1 month`, `7 days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// The silence that ends a session, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_us: Option<i64>,
    /// Records of a full count window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// How long a count window takes records, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<i64>,
    /// Whose midnight begins a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<&'static str>,
    /// The version of the time zone data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tzdata: Option<&'static str>,
}

impl Window {
    /// What there is to say of it.
    pub fn explain(&self) -> WindowExplanation {
        match *self {
            Window::Tumbling(Tumbling { size, offset }) => WindowExplanation {
                kind: "tumble",
                size_us: Some(size.0),
                offset_us: offset.0,
                ..WindowExplanation::default()
            },
            Window::Hopping(Hopping { slide, size, offset }) => WindowExplanation {
                kind: "hop",
                slide_us: Some(slide.0),
                size_us: Some(size.0),
                offset_us: offset.0,
                ..WindowExplanation::default()
            },
            Window::Cumulating(Cumulating { step, size, offset }) => WindowExplanation {
                kind: "cumulate",
                step_us: Some(step.0),
                size_us: Some(size.0),
                offset_us: offset.0,
                ..WindowExplanation::default()
            },
            Window::ByData(ByData::Session(Session { gap, .. })) => {
                WindowExplanation { kind: "session", gap_us: Some(gap.0), ..WindowExplanation::default() }
            }
            Window::ByData(ByData::Counting(Counting { size, timeout, .. })) => WindowExplanation {
                kind: "count_window",
                records: Some(size),
                timeout_us: Some(timeout.0),
                ..WindowExplanation::default()
            },
            Window::ByData(ByData::Sliding(Sliding { size })) => {
                WindowExplanation { kind: "sliding", size_us: Some(size.0), ..WindowExplanation::default() }
            }
            Window::EachRecord => WindowExplanation { kind: "none", ..WindowExplanation::default() },
            Window::Calendar(Calendar { length, zone }) => {
                let (calendar, shift) = match length {
                    CalendarLength::Days { count, shift } => (count_of(count, "day"), shift),
                    CalendarLength::Months(months) if months % 12 == 0 => (count_of(i64::from(months / 12), "year"), 0),
                    CalendarLength::Months(months) => (count_of(i64::from(months), "month"), 0),
                };
                WindowExplanation {
                    kind: "tumble",
                    offset_us: shift * 86_400_000_000,
                    calendar: Some(calendar),
                    time_zone: Some(zone.name()),
                    tzdata: (zone != Tz::UTC).then_some(TZDATA),
                    ..WindowExplanation::default()
                }
            }
        }
    }
}

fn count_of(count: i64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

impl WindowExplanation {
    /// Whether there is no window.
    pub fn is_none(&self) -> bool {
        self.kind == "none"
    }

    /// Whether the data makes the windows.
    pub fn is_by_data(&self) -> bool {
        matches!(self.kind, "session" | "count_window" | "sliding")
    }
}

impl Display for WindowExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.is_none() {
            return f.write_str("none: each record by itself");
        }
        match (self.gap_us.map(Micros), self.records, self.timeout_us.map(Micros), self.size_us.map(Micros)) {
            (Some(gap), ..) => return write!(f, "SESSION with a gap of {gap}"),
            (_, Some(records), Some(timeout), _) => {
                return write!(f, "COUNT_WINDOW of {records} records, or {timeout}");
            }
            (.., Some(size)) if self.is_by_data() => {
                return write!(f, "SLIDING of {size}, one for each time of a record, ending with it");
            }
            _ => {}
        }
        write!(f, "{} of ", self.kind.to_uppercase())?;
        match (&self.calendar, self.size_us.map(Micros), self.slide_us.map(Micros), self.step_us.map(Micros)) {
            (Some(calendar), ..) => f.write_str(calendar)?,
            (_, Some(size), Some(slide), _) => write!(f, "{size} every {slide}")?,
            (_, Some(size), _, Some(step)) => write!(f, "{size} in steps of {step}")?,
            (_, size, ..) => write!(f, "{}", size.unwrap_or_default())?,
        }
        if self.offset_us != 0 {
            write!(f, ", shifted by {}", Micros(self.offset_us))?;
        }
        match (self.time_zone, self.tzdata) {
            (Some(zone), Some(tzdata)) => write!(f, ", from midnight to midnight in {zone} (time zone data {tzdata})"),
            (Some(zone), None) => write!(f, ", from midnight to midnight in {zone}"),
            _ => f.write_str(", aligned to 1970-01-01T00:00:00Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_says_what_it_is() {
        let (minute, hour) = (Micros::from_seconds(60), Micros::from_seconds(3_600));
        let days = CalendarLength::Days { count: 7, shift: 4 };
        let windows = [
            Window::Tumbling(Tumbling { size: minute, offset: Micros::from_seconds(5) }),
            Window::Hopping(Hopping { slide: minute, size: hour, offset: Micros::from_seconds(5) }),
            Window::Cumulating(Cumulating { step: minute, size: hour, offset: minute }),
            Window::Calendar(Calendar { length: CalendarLength::Months(1), zone: Tz::UTC }),
            Window::Calendar(Calendar { length: days, zone: Tz::Europe__Berlin }),
        ];
        let texts = windows.map(|window| window.explain().to_string());
        assert_eq!(
            texts,
            [
                "TUMBLE of 1m, shifted by 5s, aligned to 1970-01-01T00:00:00Z".to_owned(),
                "HOP of 1h every 1m, shifted by 5s, aligned to 1970-01-01T00:00:00Z".to_owned(),
                "CUMULATE of 1h in steps of 1m, shifted by 1m, aligned to 1970-01-01T00:00:00Z".to_owned(),
                "TUMBLE of 1 month, from midnight to midnight in UTC".to_owned(),
                format!(
                    "TUMBLE of 7 days, shifted by 4d, from midnight to midnight in Europe/Berlin (time zone data {TZDATA})"
                ),
            ]
        );
        let documents = windows.map(|window| serde_json::to_string(&window.explain()).expect("serialises"));
        assert_eq!(
            documents,
            [
                r#"{"kind":"tumble","size_us":60000000,"offset_us":5000000}"#.to_owned(),
                r#"{"kind":"hop","slide_us":60000000,"size_us":3600000000,"offset_us":5000000}"#.to_owned(),
                r#"{"kind":"cumulate","step_us":60000000,"size_us":3600000000,"offset_us":60000000}"#.to_owned(),
                r#"{"kind":"tumble","offset_us":0,"calendar":"1 month","time_zone":"UTC"}"#.to_owned(),
                format!(
                    r#"{{"kind":"tumble","offset_us":345600000000,"calendar":"7 days","time_zone":"Europe/Berlin","tzdata":"{TZDATA}"}}"#
                ),
            ]
        );
    }

    #[test]
    fn windows_that_the_data_makes_say_what_makes_them() {
        let minute = Micros::from_seconds(60);
        let by_data = [
            ByData::Session(Session { gap: minute, partition_keys: 1 }),
            ByData::Counting(Counting { size: 7, timeout: minute, partition_keys: 1 }),
            ByData::Sliding(Sliding { size: minute }),
        ];
        let explained = by_data.map(|kind| Window::ByData(kind).explain());
        assert!(explained.iter().all(|explanation| explanation.is_by_data() && !explanation.is_none()));
        assert_eq!(
            explained.each_ref().map(WindowExplanation::to_string),
            [
                "SESSION with a gap of 1m",
                "COUNT_WINDOW of 7 records, or 1m",
                "SLIDING of 1m, one for each time of a record, ending with it",
            ]
        );
        assert_eq!(
            explained.map(|explanation| serde_json::to_string(&explanation).expect("serialises")),
            [
                r#"{"kind":"session","offset_us":0,"gap_us":60000000}"#,
                r#"{"kind":"count_window","offset_us":0,"records":7,"timeout_us":60000000}"#,
                r#"{"kind":"sliding","size_us":60000000,"offset_us":0}"#,
            ]
        );
    }

    #[test]
    fn without_a_window_there_is_not_much_to_say() {
        let explained = Window::EachRecord.explain();
        assert!(explained.is_none() && !explained.is_by_data());
        assert_eq!(explained.to_string(), "none: each record by itself");
        assert_eq!(serde_json::to_string(&explained).expect("serialises"), r#"{"kind":"none","offset_us":0}"#);
        let tumbling = Window::Tumbling(Tumbling { size: Micros(1), offset: Micros(0) }).explain();
        assert!(!tumbling.is_none() && !tumbling.is_by_data());
    }

    #[test]
    fn twelve_months_are_a_year() {
        let of = |months| {
            let window = Calendar { length: CalendarLength::Months(months), zone: Tz::UTC };
            Window::Calendar(window).explain().calendar.expect("it goes by a calendar")
        };
        assert_eq!([1, 3, 12, 18, 24].map(of), ["1 month", "3 months", "1 year", "18 months", "2 years"]);
    }
}
