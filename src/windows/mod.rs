//! Windows: which spans of event time a record falls in, and what is kept for each until it closes.
//! Half-open `[start, end)`, aligned to the Unix epoch plus an offset, or to a calendar. Pure: no I/O, no clock, no async.
//!
//! A kind of window is one file with its arithmetic (`tumbling`, `calendar`, `hopping`, `cumulating`; `each`: none) and one variant of
//! [`Window`], whose methods say what the others need of it: they match on the kinds, nobody else looks into one. To add a
//! kind: its file and variant here; its function in `job/window_call` and `job/query/window`; how records reach it in
//! `engine/prepare`, and what is kept for it in `engine/keep` (their module docs say how).

mod adjacent;
mod aside;
mod by_data;
mod calendar;
pub mod counting;
mod cumulating;
mod deferred;
mod each;
mod explanation;
mod fed;
mod groups;
mod held;
mod hopping;
mod identities;
pub mod made;
mod numbered;
pub mod pane;
mod session;
pub mod shared;
mod sliding;
mod split;
#[cfg(test)]
mod tests;
mod tiers;
mod tumbling;
mod window;

pub use adjacent::Adjacent;
pub use aside::{Gone, NUMBER};
pub use by_data::ByData;
pub use calendar::{Calendar, CalendarLength, TZDATA};
pub use counting::{CountWindows, Counting};
pub use cumulating::Cumulating;
pub use deferred::Deferred;
pub use each::{Others, Places, Published};
pub use explanation::WindowExplanation;
pub use fed::Fed;
pub use held::{ASIDE, FrozenPart};
pub use hopping::Hopping;
pub use made::{Made, MadeWindows, Making, Reached, Reason, Revised, Settled};
pub use pane::{Aggregation, Frozen, Pane, PaneError};
pub use session::{Session, Sessions};
pub use shared::FROM;
pub use sliding::{Sliding, SlidingWindows};
pub use split::{Split, split};
pub use tumbling::Tumbling;
pub use window::{ReadAround, Window};

use crate::event::{EventTime, Micros};

/// Window columns in the rows of a closed window, in this order, before the keys.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Which instant of a window a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEdge {
    /// `window_start`
    Start,
    /// `window_end`
    End,
    /// `window_time`, the last microsecond inside
    Time,
}

/// How far the watermark goes between two revisions of a window, at least; the last comes when its lateness ends.
pub const REVISION_INTERVAL: Micros = Micros::from_seconds(60);

/// Those of count windows: why it closed comes behind [`WINDOW_COLUMNS`].
pub const COUNT_WINDOW_COLUMNS: [&str; 4] = ["window_start", "window_end", "window_time", "window_reason"];

/// Which windows an INSERT publishes, by their marks: `[from, to)`. Records of other windows are passed over, where a record
/// tells its windows.
///
/// The mark of a window is its start. Windows of `CUMULATE` share starts; the mark of one is its end less the size, which no
/// other has, and at which none of its records lies before. Windows that the data makes may be meant by another column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRange {
    /// Mark of the first window that is published.
    pub from: EventTime,
    /// First one that is not published any more.
    pub to: EventTime,
    /// What `from` and `to` are of, for windows that the data makes; for others, their marks.
    pub by: WindowEdge,
}

impl PublishRange {
    /// Every window.
    pub const ALL: PublishRange = PublishRange::of_marks(EventTime::MIN, EventTime::MAX);

    /// The windows whose marks are `from` or later, and before `to`.
    pub const fn of_marks(from: EventTime, to: EventTime) -> PublishRange {
        PublishRange { from, to, by: WindowEdge::Start }
    }

    /// Whether the window with this mark (microseconds) is published.
    pub fn contains(&self, mark: i64) -> bool {
        self.from.0 <= mark && mark < self.to.0
    }

    /// Whether a mark from `first` to `last` (microseconds) may be one of a window that is published.
    pub fn meets(&self, first: i64, last: i64) -> bool {
        first < self.to.0 && self.from.0 <= last
    }

    /// Whether a window that the data has made is published.
    pub fn contains_made(&self, window: &Made) -> bool {
        let instant = match self.by {
            WindowEdge::Start => window.start,
            WindowEdge::End => window.end,
            WindowEdge::Time => window.end - 1,
        };
        self.from.0 <= instant && (instant < self.to.0 || self.to == EventTime::MAX)
    }

    /// Whether nothing is passed over.
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }
}
