//! Calendar windows: days, months and years of a time zone's calendar, which differ in length.
//!
//! A window begins with the first instant of a date: local midnight, or where clocks jump over midnight, the instant of the
//! jump. A day on which clocks are set has 23 or 25 hours; a date that a zone has skipped has none.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::Adjacent;
use crate::event::{EventTime, Micros};

/// Adjacent windows of whole days or months of a calendar; a record falls in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Length of a window.
    pub length: CalendarLength,
    /// Whose midnight counts.
    pub zone: Tz,
}

/// Length of a calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarLength {
    /// So many days, counted from 1970-01-01 and `shift` days.
    Days {
        /// Positive.
        count: i64,
        /// `0 <= shift < count`.
        shift: i64,
    },
    /// So many months, counted from January 1970; a year is twelve.
    Months(i32),
}

/// Version of the time zone data that the program was built with.
pub const TZDATA: &str = chrono_tz::IANA_TZDB_VERSION;

/// Dates in here have all the arithmetic that windows need; event times are years 1 to 9999.
const YEARS: (i64, i64) = (-20_000, 40_000);

impl Calendar {
    /// Start of the window that holds `time`.
    pub fn start(&self, time: EventTime) -> EventTime {
        EventTime(self.span(time.0).0)
    }

    /// The least window start that is not before `time`.
    pub fn start_at_or_after(&self, time: EventTime) -> EventTime {
        let (start, end) = self.span(time.0);
        EventTime(if start == time.0 { start } else { end })
    }

    /// End (exclusive) of the window that begins at `start`, or of the one that holds it.
    pub fn end(&self, start: EventTime) -> EventTime {
        EventTime(self.span(start.0).1)
    }

    /// The most that a window can last.
    pub fn longest(&self) -> Micros {
        let days = match self.length {
            CalendarLength::Days { count, .. } => count,
            CalendarLength::Months(months) => i64::from(months) * 31,
        };
        // Zones have been moved by a day, across the date line; nothing moves a clock further.
        let moved = if self.zone == Tz::UTC { 0 } else { 1 };
        Micros::from_seconds((days + moved) * 86_400)
    }

    /// Number of the window whose dates hold `date`; consecutive for adjacent windows.
    fn number(&self, date: NaiveDate) -> i64 {
        match self.length {
            CalendarLength::Days { count, shift } => (day_number(date) - shift).div_euclid(count),
            CalendarLength::Months(months) => {
                let month = i64::from(date.year()) * 12 + i64::from(date.month0()) - 1970 * 12;
                month.div_euclid(i64::from(months))
            }
        }
    }

    /// The first instant of the window with this number, in microseconds.
    fn first_instant(&self, number: i64) -> i64 {
        let date = match self.length {
            CalendarLength::Days { count, shift } => EPOCH + TimeDelta::days(number * count + shift),
            CalendarLength::Months(months) => {
                let month = number * i64::from(months) + 1970 * 12;
                let year = i32::try_from(month.div_euclid(12)).expect("years are held in range");
                let month0 = u32::try_from(month.rem_euclid(12)).expect("is below 12");
                NaiveDate::from_ymd_opt(year, month0 + 1, 1).expect("every month has a first day")
            }
        };
        midnight(self.zone, date)
    }
}

impl Adjacent for Calendar {
    fn span(&self, time: i64) -> (i64, i64) {
        let year = 365 * 86_400 * 1_000_000;
        let held = time.clamp(YEARS.0 * year, YEARS.1 * year);
        let instant = DateTime::from_timestamp_micros(held).expect("is held in range");
        let date = instant.with_timezone(&self.zone).date_naive();
        // Where a zone has gone back over midnight, an instant with yesterday's date may lie behind today's beginning. None has
        // gone back by more than a day.
        let by_date = self.number(date);
        let number = if self.first_instant(by_date + 1) <= held { by_date + 1 } else { by_date };
        (self.first_instant(number), self.first_instant(number + 1))
    }
}

const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("is a date");

fn day_number(date: NaiveDate) -> i64 {
    (date - EPOCH).num_days()
}

/// The first instant at which the zone's date is `date` or later, in microseconds.
fn midnight(zone: Tz, date: NaiveDate) -> i64 {
    let local = date.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&local) {
        chrono::LocalResult::Single(instant) => instant.timestamp_micros(),
        chrono::LocalResult::Ambiguous(one, other) => one.timestamp_micros().min(other.timestamp_micros()),
        chrono::LocalResult::None => behind_gap(zone, local),
    }
}

/// The instant at which a zone's clocks jump over `local`.
fn behind_gap(zone: Tz, local: NaiveDateTime) -> i64 {
    // No zone is further than a day from UTC, and none jumps twice in these three days. Jumps are on whole seconds.
    let (mut before, mut behind) = (-36 * 3_600, 36 * 3_600);
    let utc = local.and_utc().timestamp();
    let local_at = |second: i64| {
        let instant = DateTime::<Utc>::from_timestamp(second, 0).expect("is held in range");
        instant.naive_utc()
            + TimeDelta::seconds(i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()))
    };
    while behind - before > 1 {
        let middle = (before + behind) / 2;
        if local_at(utc + middle) < local {
            before = middle;
        } else {
            behind = middle;
        }
    }
    (utc + behind) * 1_000_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn days(zone: &str) -> Calendar {
        Calendar { length: CalendarLength::Days { count: 1, shift: 0 }, zone: zone.parse().expect("a zone") }
    }

    fn months(count: i32, zone: &str) -> Calendar {
        Calendar { length: CalendarLength::Months(count), zone: zone.parse().expect("a zone") }
    }

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros()
    }

    #[track_caller]
    fn check(window: Calendar, time: &str, start: &str, end: &str) {
        let span = window.span(at(time));
        assert_eq!((EventTime(span.0), EventTime(span.1)), (EventTime(at(start)), EventTime(at(end))), "{time}");
    }

    #[test]
    fn days_on_which_clocks_are_set_have_23_and_25_hours() {
        let berlin = days("Europe/Berlin");
        check(berlin, "2024-03-31T12:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z");
        check(berlin, "2024-10-27T12:00:00Z", "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z");
        check(berlin, "2024-07-01T21:59:59.999999Z", "2024-06-30T22:00:00Z", "2024-07-01T22:00:00Z");
        check(berlin, "2024-07-01T22:00:00Z", "2024-07-01T22:00:00Z", "2024-07-02T22:00:00Z");
    }

    #[test]
    fn a_day_without_midnight_begins_where_clocks_jump() {
        // São Paulo went from 23:59:59 to 01:00 on 2017-10-15.
        check(days("America/Sao_Paulo"), "2017-10-15T12:00:00Z", "2017-10-15T03:00:00Z", "2017-10-16T02:00:00Z");
        // Beirut, east of UTC, did so on 2022-03-27.
        check(days("Asia/Beirut"), "2022-03-27T12:00:00Z", "2022-03-26T22:00:00Z", "2022-03-27T21:00:00Z");
    }

    #[test]
    fn a_day_that_begins_twice_begins_the_first_time() {
        // St. John's went from 00:01 back to 23:01 on 2006-10-29.
        let day = days("America/St_Johns");
        check(day, "2006-10-29T02:30:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
        check(day, "2006-10-29T02:35:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
    }

    #[test]
    fn a_date_that_a_zone_skipped_has_no_window() {
        // Samoa had no 30 December 2011.
        let day = days("Pacific/Apia");
        check(day, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
        check(day, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    }

    #[test]
    fn months_and_years_have_the_lengths_of_the_calendar() {
        check(months(1, "UTC"), "2024-02-29T23:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        check(months(3, "UTC"), "2024-05-05T00:00:00Z", "2024-04-01T00:00:00Z", "2024-07-01T00:00:00Z");
        check(months(12, "UTC"), "1969-12-31T23:59:59Z", "1969-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
        check(months(12, "Europe/Berlin"), "2023-12-31T23:30:00Z", "2023-12-31T23:00:00Z", "2024-12-31T23:00:00Z");
        check(months(1, "Europe/Berlin"), "2024-03-15T00:00:00Z", "2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z");
    }

    #[test]
    fn weeks_may_begin_on_monday() {
        let length = CalendarLength::Days { count: 7, shift: 4 };
        let week = Calendar { length, zone: Tz::Europe__Berlin };
        // 2024-03-25 and 2024-04-01 are Mondays.
        check(week, "2024-03-31T12:00:00Z", "2024-03-24T23:00:00Z", "2024-03-31T22:00:00Z");
    }

    #[test]
    fn the_first_and_the_last_year_have_windows() {
        for zone in ["UTC", "Asia/Kathmandu", "America/New_York"] {
            for (window, time) in
                [(days(zone), "0001-01-01T00:00:00Z"), (months(12, zone), "9999-12-31T23:59:59.999999Z")]
            {
                let (start, end) = window.span(at(time));
                assert!(start <= at(time) && at(time) < end);
            }
        }
    }

    proptest! {
        #[test]
        fn windows_adjoin_and_hold_the_times_that_they_are_asked_for(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            length in prop_oneof![
                (1i64..10).prop_flat_map(|count| (Just(count), 0..count))
                    .prop_map(|(count, shift)| CalendarLength::Days { count, shift }),
                (1i32..30).prop_map(CalendarLength::Months),
            ],
            second in -5_000_000_000i64..5_000_000_000,
        ) {
            let window = Calendar { length, zone };
            let time = second * 1_000_000;
            let (start, end) = window.span(time);
            prop_assert!(start <= time && time < end);
            prop_assert_eq!(window.span(start), (start, end));
            prop_assert_eq!(window.span(end - 1), (start, end));
            prop_assert_eq!(window.span(end).0, end);
            prop_assert!(end - start <= window.longest().0);
        }

        #[test]
        fn in_utc_a_day_is_a_tumbling_window(second in -5_000_000_000i64..5_000_000_000) {
            let time = second * 1_000_000;
            let day = 86_400_000_000;
            prop_assert_eq!(days("UTC").span(time), (time.div_euclid(day) * day, (time.div_euclid(day) + 1) * day));
        }
    }
}
