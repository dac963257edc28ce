//! What is asked of a window, whichever kind it is.
//! Invariant: both ends of time, [`EventTime::MIN`] and [`EventTime::MAX`], stand for "never" and "always", and stay what
//! they are.

use serde_json::{Value, json};

use super::{ByData, Tumbling, WindowEdge};
use crate::event::{EventTime, Micros, Transform};

/// How a query cuts event time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE`: adjacent windows of one size.
    Tumbling(Tumbling),
    /// `SESSION`, `COUNT_WINDOW` and `SLIDING`.
    ByData(ByData),
}

/// Event time that is read beside a range of a window's column, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAround {
    /// Before it.
    pub warm_up: Micros,
    /// Behind it.
    pub run_out: Micros,
}

impl Window {
    /// End of the last window that begins at `start`.
    pub fn last_end(&self, start: EventTime) -> EventTime {
        match self {
            Window::Tumbling(tumbling) => tumbling.end(start),
            Window::ByData(by_data) => by_data.last_end_below(WindowEdge::Start, start.plus(Micros(1))),
        }
    }

    /// The least start of a window that is not before `time`.
    pub fn start_at_or_after(&self, time: EventTime) -> EventTime {
        match (time, self) {
            (EventTime::MIN | EventTime::MAX, _) => time,
            (_, Window::Tumbling(tumbling)) => tumbling.start_at_or_after(time),
            (_, Window::ByData(_)) => time,
        }
    }

    /// Start of the first window, in the order of their ends, that ends after `watermark`.
    pub fn first_open(&self, watermark: EventTime) -> EventTime {
        match (watermark, self) {
            (EventTime::MIN | EventTime::MAX, _) => watermark,
            (_, Window::Tumbling(tumbling)) => tumbling.start(watermark),
            (_, Window::ByData(by_data)) => by_data.start_by(WindowEdge::End, watermark.plus(Micros(1))),
        }
    }

    /// The least value of the column `edge` in windows that start at or after `start`, where a window starts.
    pub fn edge_from(&self, edge: WindowEdge, start: EventTime) -> EventTime {
        match self {
            Window::Tumbling(tumbling) => start.plus(ahead(tumbling.size, edge)),
            Window::ByData(by_data) => by_data.edge_from(edge, start),
        }
    }

    /// Start of the first window whose column `edge` lies at or after `time`, or a time between it and the window before.
    pub fn start_by(&self, edge: WindowEdge, time: EventTime) -> EventTime {
        match self {
            Window::Tumbling(tumbling) => time.minus(ahead(tumbling.size, edge)),
            Window::ByData(by_data) => by_data.start_by(edge, time),
        }
    }

    /// The greatest end of a window whose column `edge` lies below `time`.
    pub fn last_end_below(&self, edge: WindowEdge, time: EventTime) -> EventTime {
        match (time, self) {
            (EventTime::MIN | EventTime::MAX, _) => time,
            (_, Window::ByData(by_data)) => by_data.last_end_below(edge, time),
            (_, Window::Tumbling(tumbling)) => {
                let starts_below = self.start_by(edge, time);
                tumbling.end(tumbling.start(starts_below.minus(Micros(1))))
            }
        }
    }

    /// End of the last window that needs what is kept for a pane: behind it, its state is gone.
    pub fn pane_needed_until(&self, pane: EventTime) -> EventTime {
        match self {
            Window::Tumbling(tumbling) => tumbling.end(pane),
            // What is kept says itself when it goes.
            Window::ByData(_) => EventTime::MAX,
        }
    }

    /// How far before its start the records of a window may lie.
    pub fn reach(&self) -> Micros {
        match self {
            Window::Tumbling(_) => Micros(0),
            Window::ByData(by_data) => by_data.reach(),
        }
    }

    /// Length of the longest window.
    pub fn longest(&self) -> Micros {
        match self {
            Window::Tumbling(tumbling) => tumbling.size,
            Window::ByData(by_data) => by_data.longest(),
        }
    }

    /// Its function in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            Window::Tumbling(_) => "TUMBLE",
            Window::ByData(by_data) => by_data.name(),
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

    /// What is read outside a range of the column `edge`. A range begins and ends at the edges of `partition`; where these
    /// are edges of windows too, no window crosses them.
    pub fn read_around(&self, edge: WindowEdge, partition: Transform) -> ReadAround {
        let unit = match partition {
            Transform::Hour => Micros::from_seconds(3_600),
            // Months begin with a day, so what divides days divides them.
            _ => Micros::from_seconds(86_400),
        };
        let none = Micros(0);
        match self {
            Window::ByData(by_data) => match (edge, by_data) {
                (WindowEdge::Start, ByData::Sliding(sliding)) => ReadAround { warm_up: none, run_out: sliding.size },
                (WindowEdge::Start, _) => ReadAround { warm_up: by_data.reach(), run_out: by_data.longest() },
                (_, ByData::Sliding(sliding)) => ReadAround { warm_up: sliding.size, run_out: none },
                (_, _) => ReadAround { warm_up: by_data.reach(), run_out: none },
            },
            Window::Tumbling(Tumbling { size, offset }) => {
                let aligned = unit.0 % size.0 == 0 && offset.0 == 0;
                let crossing = if aligned { none } else { *size };
                match edge {
                    // Windows that start in the range may end behind it.
                    WindowEdge::Start => ReadAround { warm_up: none, run_out: crossing },
                    // Windows that end in the range, its first instant included, start before it.
                    WindowEdge::End => ReadAround { warm_up: *size, run_out: none },
                    WindowEdge::Time => ReadAround { warm_up: crossing, run_out: none },
                }
            }
        }
    }

    /// Everything that decides which records a window holds, for a plan's fingerprint.
    pub fn canonical(&self) -> Value {
        match self {
            Window::ByData(by_data) => by_data.canonical(),
            Window::Tumbling(Tumbling { size, offset }) => {
                json!({ "tumbling": { "size_us": size.0, "offset_us": offset.0 } })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn around(size_seconds: i64, offset_seconds: i64, partition: Transform, edge: WindowEdge) -> (i64, i64) {
        let (size, offset) = (Micros::from_seconds(size_seconds), Micros::from_seconds(offset_seconds));
        let around = Window::Tumbling(Tumbling { size, offset }).read_around(edge, partition);
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
}
