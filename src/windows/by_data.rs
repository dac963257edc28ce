//! What is asked of windows that the data makes: their bounds stand in no calendar, so what ranges and watermarks say of
//! them follows from their lengths, as far as these are bounded.
//!
//! | | begins | lasts |
//! |---|---|---|
//! | `SESSION` | with its first record | as long as records come; from the last on, the gap |
//! | `COUNT_WINDOW` | with its first record | the timeout at most |
//! | `SLIDING` | its size before its record | its size |
//!
//! Invariant: a record that comes when all before `t` are settled makes no window that ends before `t`, and changes none.

use serde_json::{Value, json};

use super::{Counting, Made, Session, Sliding, WindowEdge};
use crate::event::{EventTime, Micros};

/// A kind of window that the data makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByData {
    /// `SESSION`
    Session(Session),
    /// `COUNT_WINDOW`
    Counting(Counting),
    /// `SLIDING`
    Sliding(Sliding),
}

impl ByData {
    /// Its name in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            ByData::Session(_) => "SESSION",
            ByData::Counting(_) => "COUNT_WINDOW",
            ByData::Sliding(_) => "SLIDING",
        }
    }

    /// How many of the group keys, from the first, have windows of their own. `keys` is how many there are.
    pub fn partition_keys(&self, keys: usize) -> usize {
        match self {
            ByData::Session(session) => session.partition_keys,
            ByData::Counting(counting) => counting.partition_keys,
            ByData::Sliding(_) => keys,
        }
    }

    /// How far before its start the records of a window, or what decides that it starts there, may lie.
    pub fn reach(&self) -> Micros {
        match self {
            ByData::Session(session) => session.gap,
            ByData::Counting(counting) => counting.timeout,
            ByData::Sliding(_) => Micros(0),
        }
    }

    /// Length of the longest window; of a session, for which there is none, the least.
    pub fn longest(&self) -> Micros {
        match self {
            ByData::Session(session) => session.gap,
            ByData::Counting(counting) => counting.timeout,
            ByData::Sliding(sliding) => sliding.size,
        }
    }

    /// The least value of the column `edge` in windows that start at or after `start`.
    pub fn edge_from(&self, edge: WindowEdge, start: EventTime) -> EventTime {
        let shortest = match self {
            ByData::Session(session) => session.gap,
            ByData::Counting(_) => Micros(1),
            ByData::Sliding(sliding) => sliding.size,
        };
        match edge {
            WindowEdge::Start => start,
            WindowEdge::End => start.plus(shortest),
            WindowEdge::Time => start.plus(Micros(shortest.0 - 1)),
        }
    }

    /// Start of the first window whose column `edge` lies at or after `time`, or a time shortly before it; never, where such
    /// a window may begin any time before it.
    pub fn start_by(&self, edge: WindowEdge, time: EventTime) -> EventTime {
        match (edge, self) {
            (WindowEdge::Start, _) => time,
            _ if self.can_begin_at(edge) || time == EventTime::MAX => time.minus(self.longest()),
            _ => EventTime::MIN,
        }
    }

    /// The greatest end of a window whose column `edge` lies below `time`; always, where none is the greatest.
    pub fn last_end_below(&self, edge: WindowEdge, time: EventTime) -> EventTime {
        let before = time.minus(Micros(1));
        match (edge, self) {
            _ if time == EventTime::MIN => time,
            (WindowEdge::End, _) => before,
            (WindowEdge::Time, _) => time,
            (WindowEdge::Start, ByData::Session(_)) => EventTime::MAX,
            (WindowEdge::Start, _) => before.plus(self.longest()),
        }
    }

    /// The time of the column `edge` below which windows are closed when no record before `settled` can come any more, and
    /// none that is open begins before `opens_from`.
    pub fn closed_below(&self, edge: WindowEdge, settled: EventTime, opens_from: EventTime) -> EventTime {
        match (edge, self) {
            _ if settled == EventTime::MIN || settled == EventTime::MAX => settled,
            (WindowEdge::End, _) => settled.plus(Micros(1)),
            (WindowEdge::Time, _) => settled,
            (WindowEdge::Start, ByData::Sliding(sliding)) => settled.minus(Micros(sliding.size.0 - 1)),
            (WindowEdge::Start, _) => opens_from.min(settled),
        }
    }

    /// Whether windows close in the order of the column `edge`, so that one instant of it tells those that are closed.
    pub fn closes_in_order_of(&self, edge: WindowEdge) -> bool {
        edge != WindowEdge::Start || matches!(self, ByData::Sliding(_))
    }

    /// Whether the windows from an instant of the column `edge` on can be made without knowing all before it.
    pub fn can_begin_at(&self, edge: WindowEdge) -> bool {
        match self {
            ByData::Session(_) => edge == WindowEdge::Start,
            ByData::Counting(_) => false,
            ByData::Sliding(_) => true,
        }
    }

    /// Whether it is known what is in a window, and that it is one, when all records from `complete_from` on were read.
    pub fn is_whole(&self, window: &Made, complete_from: EventTime) -> bool {
        let start = EventTime(window.start);
        match self {
            ByData::Session(session) => start >= complete_from.plus(session.gap),
            ByData::Sliding(_) => start >= complete_from,
            // It depends on the key, and was found out when the window was made.
            ByData::Counting(_) => window.whole,
        }
    }

    /// Everything that decides which records a window holds, for a plan's fingerprint.
    pub fn canonical(&self) -> Value {
        match self {
            ByData::Session(Session { gap, partition_keys }) => {
                json!({ "session": { "gap_us": gap.0, "partition_keys": partition_keys } })
            }
            ByData::Counting(Counting { size, timeout, partition_keys }) => {
                json!({ "counting": { "size": size, "timeout_us": timeout.0, "partition_keys": partition_keys } })
            }
            ByData::Sliding(Sliding { size }) => json!({ "sliding": { "size_us": size.0 } }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Micros = Micros::from_seconds(60);

    fn kinds() -> [ByData; 3] {
        [
            ByData::Session(Session { gap: MINUTE, partition_keys: 1 }),
            ByData::Counting(Counting { size: 3, timeout: MINUTE, partition_keys: 1 }),
            ByData::Sliding(Sliding { size: MINUTE }),
        ]
    }

    fn minutes(minutes: i64) -> EventTime {
        EventTime(minutes * MINUTE.0)
    }

    #[test]
    fn ends_go_by_the_settled_time_alone() {
        for kind in kinds() {
            assert_eq!(kind.closed_below(WindowEdge::End, minutes(9), minutes(2)), EventTime(minutes(9).0 + 1));
            assert_eq!(kind.last_end_below(WindowEdge::End, EventTime(minutes(9).0 + 1)), minutes(9));
            assert_eq!(kind.closed_below(WindowEdge::Time, minutes(9), minutes(2)), minutes(9));
            assert!(kind.closes_in_order_of(WindowEdge::End));
        }
    }

    #[test]
    fn starts_are_held_back_by_what_is_open() {
        let [session, counting, sliding] = kinds();
        assert_eq!(session.closed_below(WindowEdge::Start, minutes(9), minutes(2)), minutes(2));
        assert_eq!(counting.closed_below(WindowEdge::Start, minutes(9), minutes(12)), minutes(9));
        // The window of a record at 9:00 begins just behind 8:00.
        assert_eq!(sliding.closed_below(WindowEdge::Start, minutes(9), minutes(2)), EventTime(minutes(8).0 + 1));
        assert_eq!(session.last_end_below(WindowEdge::Start, minutes(9)), EventTime::MAX);
        assert_eq!(counting.last_end_below(WindowEdge::Start, minutes(9)), EventTime(minutes(10).0 - 1));
    }

    #[test]
    fn a_session_is_whole_when_a_gap_before_it_was_read() {
        let [session, ..] = kinds();
        let at = |start| Made { start, end: start + MINUTE.0, reason: None, whole: true };
        assert!(session.is_whole(&at(minutes(3).0), minutes(2)));
        assert!(!session.is_whole(&at(minutes(3).0 - 1), minutes(2)));
        assert!(session.is_whole(&at(minutes(3).0), EventTime::MIN));
    }

    #[test]
    fn what_has_no_bound_is_told_by_the_ends_of_time() {
        for kind in kinds() {
            for end in [EventTime::MIN, EventTime::MAX] {
                for edge in [WindowEdge::Start, WindowEdge::End, WindowEdge::Time] {
                    assert_eq!(kind.closed_below(edge, end, minutes(2)), end);
                }
            }
            assert_eq!(kind.last_end_below(WindowEdge::Start, EventTime::MIN), EventTime::MIN);
            assert_eq!(kind.last_end_below(WindowEdge::Time, minutes(9)), minutes(9));
            assert_eq!(kind.start_by(WindowEdge::Start, minutes(9)), minutes(9));
            assert_eq!(kind.start_by(WindowEdge::End, EventTime::MAX), EventTime::MAX);
        }
        let [session, counting, sliding] = kinds();
        assert_eq!(session.start_by(WindowEdge::Time, minutes(9)), EventTime::MIN);
        assert_eq!(counting.start_by(WindowEdge::End, minutes(9)), EventTime::MIN);
        assert_eq!(sliding.start_by(WindowEdge::End, minutes(9)), minutes(8));
    }

    #[test]
    fn only_the_starts_of_sliding_windows_close_in_order() {
        let in_order = |edge| kinds().map(|kind| kind.closes_in_order_of(edge));
        assert_eq!(in_order(WindowEdge::Start), [false, false, true]);
        assert_eq!(in_order(WindowEdge::Time), [true, true, true]);
        let can_begin = |edge| kinds().map(|kind| kind.can_begin_at(edge));
        assert_eq!(can_begin(WindowEdge::Start), [true, false, true]);
        assert_eq!(can_begin(WindowEdge::End), [false, false, true]);
    }

    #[test]
    fn keys_with_windows_of_their_own_are_the_first_ones_or_all() {
        let kinds = [
            ByData::Session(Session { gap: MINUTE, partition_keys: 0 }),
            ByData::Counting(Counting { size: 3, timeout: MINUTE, partition_keys: 2 }),
            ByData::Sliding(Sliding { size: MINUTE }),
        ];
        assert_eq!(kinds.map(|kind| kind.partition_keys(5)), [0, 2, 5]);
    }

    #[test]
    fn other_windows_are_whole_when_they_begin_in_what_was_read_or_were_found_so() {
        let [_, counting, sliding] = kinds();
        let at = |start: EventTime, whole| Made { start: start.0, end: start.0 + MINUTE.0, reason: None, whole };
        assert!(sliding.is_whole(&at(minutes(2), true), minutes(2)));
        assert!(!sliding.is_whole(&at(EventTime(minutes(2).0 - 1), true), minutes(2)));
        assert!(counting.is_whole(&at(minutes(1), true), minutes(2)));
        assert!(!counting.is_whole(&at(minutes(3), false), minutes(2)));
    }
}
