//! How windows cut time, from the definitions.

use super::{HOUR, SECOND};

const DAY: i64 = 24 * HOUR;

/// A kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Windows of the size, one behind the other.
    Tumble,
    /// Windows of the size, one each slide.
    Hop {
        /// Microseconds.
        slide: i64,
    },
    /// Windows that begin together each size, and grow by a step up to it.
    Cumulate {
        /// Microseconds.
        step: i64,
    },
    /// Months of the calendar, UTC.
    Months {
        /// So many make a window; January 1970 begins one.
        count: i64,
    },
    /// Days of Europe/Berlin, from 1996 on; an offset is whole days.
    BerlinDays {
        /// So many make a window, counted from 1970-01-01.
        count: i64,
    },
    /// Months of Europe/Berlin, from 1996 on.
    BerlinMonths {
        /// So many make a window; January 1970 begins one.
        count: i64,
    },
    /// Records of a key with less than the size between each and the next.
    Session,
    /// For each record of a key those within the size that ends with it.
    Sliding,
    /// The next records of a key, as long as the size.
    Counting {
        /// So many.
        count: usize,
    },
}

impl Cut {
    /// Whether the data makes the windows.
    pub fn is_by_data(self) -> bool {
        matches!(self, Cut::Session | Cut::Sliding | Cut::Counting { .. })
    }

    /// Start and end of all windows that hold `time`, in order of their ends.
    pub(super) fn windows(self, time: i64, size: i64, offset: i64) -> Vec<(i64, i64)> {
        match self {
            Cut::Tumble => {
                let start = grid_start(time, size, offset);
                vec![(start, start + size)]
            }
            Cut::Hop { slide } => {
                let mut windows = Vec::new();
                let mut start = grid_start(time, slide, offset);
                while start + size > time {
                    windows.insert(0, (start, start + size));
                    start -= slide;
                }
                windows
            }
            Cut::Cumulate { step } => {
                let start = grid_start(time, size, offset);
                let ends = (1..=size / step).map(|steps| start + steps * step);
                ends.filter(|&end| end > time).map(|end| (start, end)).collect()
            }
            Cut::Months { count } => vec![months(time, count, |month| day_of_month(month) * DAY)],
            Cut::BerlinMonths { count } => vec![months(time, count, |month| berlin_midnight(day_of_month(month)))],
            Cut::BerlinDays { count } => {
                let mut day = time.div_euclid(DAY) - 1;
                while berlin_midnight(day + 1) <= time {
                    day += 1;
                }
                let first = grid_start(day, count, offset / DAY);
                vec![(berlin_midnight(first), berlin_midnight(first + count))]
            }
            Cut::Session | Cut::Sliding | Cut::Counting { .. } => Vec::new(),
        }
    }
}

/// The months that hold `time`, by when a month, counted from January 1970, begins.
fn months(time: i64, count: i64, begins: impl Fn(i64) -> i64) -> (i64, i64) {
    // As if all had 31 days, then up to the one that holds it.
    let mut month = time.div_euclid(31 * DAY).div_euclid(count) * count;
    while begins(month + count) <= time {
        month += count;
    }
    while begins(month) > time {
        month -= count;
    }
    (begins(month), begins(month + count))
}

/// The greatest multiple of the period, plus the offset, that isn't after `time`.
pub(super) fn grid_start(time: i64, period: i64, offset: i64) -> i64 {
    let mut start = (time / period) * period + offset % period;
    while start > time {
        start -= period;
    }
    while start + period <= time {
        start += period;
    }
    start
}

/// Days from 1970-01-01 to the first of a month, counted from January 1970.
fn day_of_month(month: i64) -> i64 {
    let (year, month) = (1970 + month.div_euclid(12), month.rem_euclid(12));
    // Leap years before this year, since year 0.
    let leaps = |year: i64| (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).expect("is below 12");
    (year - 1970) * 365 + leaps(year) - leaps(1970) + lengths[..month].iter().sum::<i64>()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The instant at which a day, counted from 1970-01-01, begins in Berlin: an hour before UTC's midnight, in summer two.
fn berlin_midnight(day: i64) -> i64 {
    let mut year = 1996;
    while day_of_month((year + 1 - 1970) * 12) <= day {
        year += 1;
    }
    // 1970-01-04 was a Sunday. Clocks are set in the night to the last Sunday of March and of October, after midnight.
    let last_sunday_before = |day: i64| day - 1 - (day - 1 - 3).rem_euclid(7);
    let spring = last_sunday_before(day_of_month((year - 1970) * 12 + 3));
    let autumn = last_sunday_before(day_of_month((year - 1970) * 12 + 10));
    let is_summer = spring < day && day <= autumn;
    day * DAY - if is_summer { 7_200 } else { 3_600 } * SECOND
}

#[test]
fn windows_are_those_of_the_definitions() {
    let minutes = |windows: Vec<(i64, i64)>| -> Vec<(i64, i64)> {
        windows.into_iter().map(|(start, end)| (start / (60 * SECOND), end / (60 * SECOND))).collect()
    };
    let minute = 60 * SECOND;
    let hop = |slide: i64, size: i64, time: i64| {
        minutes(Cut::Hop { slide: slide * minute }.windows(time * minute, size * minute, 0))
    };
    assert_eq!(hop(5, 10, 7), [(0, 10), (5, 15)]);
    assert_eq!(hop(7, 10, 2), [(-7, 3), (0, 10)]);
    assert_eq!(hop(10, 4, 3), [(0, 4)]);
    assert_eq!(hop(10, 4, 4), []);
    let cumulate = Cut::Cumulate { step: 2 * minute };
    assert_eq!(minutes(cumulate.windows(3 * minute, 6 * minute, 0)), [(0, 4), (0, 6)]);
    let months = |time| Cut::Months { count: 1 }.windows(time * DAY, 0, 0)[0];
    // 29 February 2024 is day 19,782.
    assert_eq!(months(19_782), (19_754 * DAY, 19_783 * DAY));
    assert_eq!(months(-1), (-31 * DAY, 0));
    // 31 March 2024, day 19,813, has 23 hours, 27 October 2024, day 20,023, has 25.
    let hours = |day: i64| {
        let (start, end) = Cut::BerlinDays { count: 1 }.windows(day * DAY + 12 * HOUR, 0, 0)[0];
        (start - day * DAY, end - start)
    };
    assert_eq!(hours(19_813), (-HOUR, 23 * HOUR));
    assert_eq!(hours(19_814), (-2 * HOUR, 24 * HOUR));
    assert_eq!(hours(20_023), (-2 * HOUR, 25 * HOUR));
    // Weeks from Monday: 25 March 2024, day 19,807, to the day of 23 hours and its end.
    let week = Cut::BerlinDays { count: 7 }.windows(19_813 * DAY, 0, 4 * DAY)[0];
    assert_eq!(week, (19_807 * DAY - HOUR, 19_814 * DAY - 2 * HOUR));
    // March 2024, from day 19,783, begins in winter and ends in summer.
    let march = Cut::BerlinMonths { count: 1 }.windows(19_790 * DAY, 0, 0)[0];
    assert_eq!(march, (19_783 * DAY - HOUR, 19_814 * DAY - 2 * HOUR));
}
