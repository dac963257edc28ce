//! What is asked of a window, whichever kind it is.
//! Invariant: both ends of time, [`EventTime::MIN`] and [`EventTime::MAX`], stand for "never" and "always", and stay what
//! they are.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::shared::SharesPanes;
use super::{ByData, Calendar, CalendarLength, Cumulating, Hopping, TZDATA, Tumbling, WindowEdge};
use crate::event::{EventTime, Micros, Transform};

/// How a query cuts event time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE`: adjacent windows of one size.
    Tumbling(Tumbling),
    /// `TUMBLE` by a calendar: adjacent windows of days or months.
    Calendar(Calendar),
    /// `HOP`: windows of one size that overlap, or leave gaps.
    Hopping(Hopping),
    /// `CUMULATE`: windows that begin together and grow.
    Cumulating(Cumulating),
    /// `SESSION`, `COUNT_WINDOW` and `SLIDING`: windows that the data makes. Their marks are their starts, but they don't come
    /// in that order, so that ranges go by other columns too ([`super::PublishRange::by`]).
    ByData(ByData),
    /// None: each record is a result of its own ([`super::Places`]). Its mark is its event time.
    EachRecord,
}

/// Each record has an instant of its own.
const EACH_RECORD_SIZE: Micros = Micros(1);

/// Event time that is read beside a range of a window's column, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAround {
    /// Before it.
    pub warm_up: Micros,
    /// Behind it.
    pub run_out: Micros,
}

impl Window {
    /// Whether its kind can give a window early and again. One late record would move all count windows behind it.
    pub fn can_be_revised(&self) -> bool {
        !matches!(self, Window::ByData(ByData::Counting(_)) | Window::EachRecord)
    }

    /// The mark of the window of these bounds.
    pub fn mark_of(&self, start: EventTime, end: EventTime) -> EventTime {
        match self {
            Window::Cumulating(cumulating) => end.minus(cumulating.size),
            _ => start,
        }
    }

    /// Start of the window that holds an instant (microseconds), where there is one and no more; the instant itself where
    /// there are several.
    pub fn start_of(&self, time: i64) -> i64 {
        match self {
            Window::Tumbling(tumbling) => tumbling.start(EventTime(time)).0,
            Window::Calendar(calendar) => calendar.start(EventTime(time)).0,
            Window::Hopping(_) | Window::Cumulating(_) | Window::ByData(_) | Window::EachRecord => time,
        }
    }

    /// The least mark of a window that is not before `mark`.
    pub fn mark_at_or_after(&self, mark: EventTime) -> EventTime {
        match (mark, self) {
            (EventTime::MIN | EventTime::MAX, _) => mark,
            (_, Window::Tumbling(tumbling)) => tumbling.start_at_or_after(mark),
            (_, Window::Calendar(calendar)) => calendar.start_at_or_after(mark),
            (_, Window::Hopping(hopping)) => hopping.start_at_or_after(mark),
            (_, Window::ByData(_) | Window::EachRecord) => mark,
            (_, Window::Cumulating(cumulating)) => {
                cumulating.end_at_or_after(mark.plus(cumulating.size)).minus(cumulating.size)
            }
        }
    }

    /// Start of the first window whose mark is `mark` or later.
    pub fn first_start(&self, mark: EventTime) -> EventTime {
        match (self.mark_at_or_after(mark), self) {
            (mark @ (EventTime::MIN | EventTime::MAX), _) => mark,
            (
                mark,
                Window::Tumbling(_) | Window::Calendar(_) | Window::Hopping(_) | Window::ByData(_) | Window::EachRecord,
            ) => mark,
            (mark, Window::Cumulating(cumulating)) => EventTime(cumulating.start_of(mark.plus(cumulating.size).0)),
        }
    }

    /// Mark of the first window that starts at or after `time`, or an instant between it and the window before.
    pub fn first_mark(&self, time: EventTime) -> EventTime {
        match (time, self) {
            (EventTime::MIN | EventTime::MAX, _) => time,
            (
                _,
                Window::Tumbling(_) | Window::Calendar(_) | Window::Hopping(_) | Window::ByData(_) | Window::EachRecord,
            ) => time,
            (_, Window::Cumulating(cumulating)) => cumulating.first_end_from(time).minus(cumulating.size),
        }
    }

    /// Mark of the first window, in the order of their ends, that ends after `watermark`.
    pub fn first_open(&self, watermark: EventTime) -> EventTime {
        let behind = watermark.plus(Micros(1));
        match (watermark, self) {
            (EventTime::MIN | EventTime::MAX, _) => watermark,
            (_, Window::Tumbling(tumbling)) => tumbling.start(watermark),
            (_, Window::Calendar(calendar)) => calendar.start(watermark),
            (_, Window::Hopping(hopping)) => hopping.start_at_or_after(behind.minus(hopping.size)),
            (_, Window::Cumulating(cumulating)) => cumulating.end_at_or_after(behind).minus(cumulating.size),
            (_, Window::ByData(by_data)) => by_data.start_by(WindowEdge::End, behind),
            (_, Window::EachRecord) => watermark,
        }
    }

    /// The least value of the column `edge` in windows whose mark is `mark` or later, where that is one's mark.
    pub fn edge_from(&self, edge: WindowEdge, mark: EventTime) -> EventTime {
        match (mark, self) {
            (EventTime::MIN | EventTime::MAX, _) => mark,
            (_, Window::Tumbling(tumbling)) => mark.plus(ahead(tumbling.size, edge)),
            (_, Window::Hopping(hopping)) => mark.plus(ahead(hopping.size, edge)),
            (_, Window::Cumulating(cumulating)) => mark.plus(ahead(cumulating.size, edge)),
            (_, Window::ByData(by_data)) => by_data.edge_from(edge, mark),
            (_, Window::EachRecord) => mark.plus(ahead(EACH_RECORD_SIZE, edge)),
            (_, Window::Calendar(calendar)) => match edge {
                WindowEdge::Start => mark,
                WindowEdge::End => calendar.end(calendar.start_at_or_after(mark)),
                WindowEdge::Time => calendar.end(calendar.start_at_or_after(mark)).minus(Micros(1)),
            },
        }
    }

    /// Mark of the first window whose column `edge` lies at or after `time`, or an instant between it and the window before.
    pub fn mark_by(&self, edge: WindowEdge, time: EventTime) -> EventTime {
        match (time, self) {
            (EventTime::MIN | EventTime::MAX, _) => time,
            (_, Window::Tumbling(tumbling)) => time.minus(ahead(tumbling.size, edge)),
            (_, Window::Hopping(hopping)) => time.minus(ahead(hopping.size, edge)),
            (_, Window::Cumulating(cumulating)) => time.minus(ahead(cumulating.size, edge)),
            (_, Window::ByData(by_data)) => by_data.start_by(edge, time),
            (_, Window::EachRecord) => time.minus(ahead(EACH_RECORD_SIZE, edge)),
            (_, Window::Calendar(calendar)) => match edge {
                WindowEdge::Start => time,
                // The window that holds the instant before `time` ends at or after it.
                WindowEdge::End => calendar.start(time.minus(Micros(1))),
                WindowEdge::Time => calendar.start(time),
            },
        }
    }

    /// The greatest end of a window whose mark is below `mark`.
    pub fn last_end_below(&self, mark: EventTime) -> EventTime {
        let before = mark.minus(Micros(1));
        match (mark, self) {
            (EventTime::MIN | EventTime::MAX, _) => mark,
            (_, Window::Tumbling(tumbling)) => tumbling.end(tumbling.start(before)),
            (_, Window::Calendar(calendar)) => calendar.end(calendar.start(before)),
            (_, Window::Hopping(hopping)) => hopping.end(hopping.start_at_or_before(before)),
            (_, Window::Cumulating(cumulating)) => cumulating.end_at_or_before(before.plus(cumulating.size)),
            (_, Window::ByData(by_data)) => by_data.last_end_below(WindowEdge::Start, mark),
            (_, Window::EachRecord) => mark,
        }
    }

    /// How far the instant by which the late table names a window is ahead of its mark.
    pub fn name_ahead(&self) -> Micros {
        match self {
            Window::Cumulating(cumulating) => cumulating.size,
            _ => Micros(0),
        }
    }

    /// Whether `window_start` and `window_end` each decide the other.
    pub fn edges_decide_each_other(&self) -> bool {
        match self {
            Window::Tumbling(_)
            | Window::Calendar(_)
            | Window::Hopping(_)
            | Window::ByData(ByData::Sliding(_))
            | Window::EachRecord => true,
            Window::Cumulating(_) | Window::ByData(ByData::Session(_) | ByData::Counting(_)) => false,
        }
    }

    /// Its function in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            Window::Tumbling(_) | Window::Calendar(_) => "TUMBLE",
            Window::Hopping(_) => "HOP",
            Window::Cumulating(_) => "CUMULATE",
            Window::ByData(by_data) => by_data.name(),
            Window::EachRecord => "a SELECT without a window",
        }
    }

    /// Whether the order of records decides which window holds them.
    pub fn goes_by_positions(&self) -> bool {
        self.has_reason()
    }

    /// Whether its windows have a `window_reason`.
    pub fn has_reason(&self) -> bool {
        matches!(self, Window::ByData(ByData::Counting(_)))
    }

    /// Whether no watermark tells that all of its results have come.
    pub fn is_without_end(&self) -> bool {
        matches!(self, Window::EachRecord)
    }

    /// Whether the late table names no windows, so that the event time of a record tells whose it is there.
    pub fn is_late_by_time(&self) -> bool {
        matches!(self, Window::ByData(_) | Window::EachRecord)
    }

    /// Whether no two windows begin at the same time. No two end at the same time in any case.
    pub fn is_told_by_its_start(&self) -> bool {
        !matches!(self, Window::Cumulating(_))
    }

    /// Whether what is kept is of a pane that several windows share.
    pub fn shares_panes(&self) -> bool {
        matches!(self, Window::Hopping(_) | Window::Cumulating(_))
    }

    /// Whether ranges of results can go by the column `edge`: each of its values must tell a window's mark.
    pub fn ranges_by(&self, edge: WindowEdge) -> bool {
        self.is_told_by_its_start() || edge != WindowEdge::Start
    }

    /// End of the last window that needs what is kept for a pane: behind it, its state is gone.
    pub fn pane_needed_until(&self, pane: EventTime) -> EventTime {
        match self {
            Window::Tumbling(tumbling) => tumbling.end(pane),
            Window::Calendar(calendar) => calendar.end(pane),
            Window::Hopping(hopping) => EventTime(hopping.windows_of(pane.0).last_end),
            Window::Cumulating(cumulating) => EventTime(cumulating.windows_of(pane.0).last_end),
            // What is kept says itself when it goes.
            Window::ByData(_) => EventTime::MAX,
            Window::EachRecord => pane.plus(EACH_RECORD_SIZE),
        }
    }

    /// How far before its start the records of a window may lie.
    pub fn reach(&self) -> Micros {
        match self {
            Window::ByData(by_data) => by_data.reach(),
            _ => Micros(0),
        }
    }

    /// Length of the longest window.
    pub fn longest(&self) -> Micros {
        match self {
            Window::Tumbling(tumbling) => tumbling.size,
            Window::Calendar(calendar) => calendar.longest(),
            Window::Hopping(hopping) => hopping.size,
            Window::Cumulating(cumulating) => cumulating.size,
            Window::ByData(by_data) => by_data.longest(),
            Window::EachRecord => EACH_RECORD_SIZE,
        }
    }

    /// What is read outside a range of the column `edge`. A range begins and ends at the edges of `partition`; where these
    /// are edges of windows too, less or nothing crosses them.
    pub fn read_around(&self, edge: WindowEdge, partition: Transform) -> ReadAround {
        let none = Micros(0);
        let size = self.longest();
        // What of a window may lie on the other side of an edge of a partition.
        let crossing = match self {
            Window::Tumbling(tumbling) if divides(partition, tumbling.size, tumbling.offset) => none,
            Window::Hopping(hopping) if divides(partition, hopping.slide, hopping.offset) => {
                Micros((size.0 - hopping.slide.0).max(0))
            }
            Window::Cumulating(cumulating) if divides(partition, size, cumulating.offset) => none,
            Window::Calendar(calendar) if calendar.zone == Tz::UTC && is_of_months(calendar, partition) => none,
            Window::EachRecord => none,
            _ => size,
        };
        match (self, edge) {
            (Window::ByData(ByData::Sliding(_)), WindowEdge::Start) => ReadAround { warm_up: none, run_out: size },
            (Window::ByData(by_data), WindowEdge::Start) => ReadAround { warm_up: by_data.reach(), run_out: size },
            (Window::ByData(_), _) => ReadAround { warm_up: size, run_out: none },
            // Windows that start in the range may end behind it.
            (_, WindowEdge::Start) => ReadAround { warm_up: none, run_out: crossing },
            // Windows that end in the range, its first instant included, start before it.
            (_, WindowEdge::End) => ReadAround { warm_up: size, run_out: none },
            // Where ends are no multiples of the slide, the first window of a range may start its whole size before it.
            (Window::Hopping(hopping), WindowEdge::Time) if size.0 % hopping.slide.0 != 0 => {
                ReadAround { warm_up: size, run_out: none }
            }
            (_, WindowEdge::Time) => ReadAround { warm_up: crossing, run_out: none },
        }
    }

    /// Everything that decides which records a window holds, for a plan's fingerprint.
    pub fn canonical(&self) -> Value {
        match self {
            Window::Tumbling(Tumbling { size, offset }) => {
                json!({ "tumbling": { "size_us": size.0, "offset_us": offset.0 } })
            }
            Window::Calendar(Calendar { length, zone }) => {
                let length = match length {
                    CalendarLength::Days { count, shift } => json!({ "days": count, "shift_days": shift }),
                    CalendarLength::Months(count) => json!({ "months": count }),
                };
                // UTC is the same in every version of the data.
                let data = (*zone != Tz::UTC).then_some(TZDATA);
                json!({ "calendar": { "length": length, "zone": zone.name(), "tzdata": data } })
            }
            Window::ByData(by_data) => by_data.canonical(),
            Window::EachRecord => json!("each_record"),
            Window::Hopping(Hopping { slide, size, offset }) => {
                json!({ "hopping": { "slide_us": slide.0, "size_us": size.0, "offset_us": offset.0 } })
            }
            Window::Cumulating(Cumulating { step, size, offset }) => {
                json!({ "cumulating": { "step_us": step.0, "size_us": size.0, "offset_us": offset.0 } })
            }
        }
    }
}

/// How far the column `edge` of a window of `size` is ahead of its start.
fn ahead(size: Micros, edge: WindowEdge) -> Micros {
    match edge {
        WindowEdge::Start => Micros(0),
        WindowEdge::End => size,
        WindowEdge::Time => Micros(size.0 - 1),
    }
}

/// Whether every edge of a partition is an instant of the grid of `period` and `offset`.
fn divides(partition: Transform, period: Micros, offset: Micros) -> bool {
    let unit = match partition {
        Transform::Hour => Micros::from_seconds(3_600),
        // Months begin with a day, so what divides days divides them.
        _ => Micros::from_seconds(86_400),
    };
    unit.0 % period.0 == 0 && offset.0 == 0
}

fn is_of_months(calendar: &Calendar, partition: Transform) -> bool {
    partition == Transform::Month && calendar.length == CalendarLength::Months(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(size_seconds: i64, offset_seconds: i64, partition: Transform, edge: WindowEdge) -> (i64, i64) {
        let (size, offset) = (Micros::from_seconds(size_seconds), Micros::from_seconds(offset_seconds));
        seconds(Window::Tumbling(Tumbling { size, offset }).read_around(edge, partition))
    }

    fn seconds(around: ReadAround) -> (i64, i64) {
        (around.warm_up.0 / 1_000_000, around.run_out.0 / 1_000_000)
    }

    #[test]
    fn windows_that_divide_partitions_need_nothing_around_a_range() {
        assert_eq!(around(60, 0, Transform::Hour, WindowEdge::Start), (0, 0));
        assert_eq!(around(60, 0, Transform::Month, WindowEdge::Time), (0, 0));
    }

    #[test]
    fn windows_that_cross_edges_are_read_to_their_ends() {
        assert_eq!(around(7 * 60, 0, Transform::Hour, WindowEdge::Start), (0, 7 * 60));
        assert_eq!(around(60, 30, Transform::Hour, WindowEdge::Start), (0, 60));
        assert_eq!(around(60, 30, Transform::Hour, WindowEdge::Time), (60, 0));
        assert_eq!(around(60, 0, Transform::Day, WindowEdge::End), (60, 0));
        assert_eq!(around(7_200, 0, Transform::Hour, WindowEdge::Start), (0, 7_200));
    }

    #[test]
    fn hops_are_read_by_what_is_longer_than_the_slide() {
        let hop = |slide, size| {
            let (slide, size) = (Micros::from_seconds(slide), Micros::from_seconds(size));
            Window::Hopping(Hopping { slide, size, offset: Micros(0) })
        };
        let around = |window: Window, edge| seconds(window.read_around(edge, Transform::Hour));
        assert_eq!(around(hop(60, 3_600), WindowEdge::Start), (0, 3_540));
        assert_eq!(around(hop(60, 3_600), WindowEdge::End), (3_600, 0));
        assert_eq!(around(hop(60, 3_600), WindowEdge::Time), (3_540, 0));
        assert_eq!(around(hop(60, 90), WindowEdge::Time), (90, 0));
        assert_eq!(around(hop(60, 45), WindowEdge::Start), (0, 0));
        assert_eq!(around(hop(7, 60), WindowEdge::Start), (0, 60));
    }
}
