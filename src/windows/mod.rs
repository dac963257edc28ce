//! Windows: which spans of event time a record falls in, and what is kept for each until it closes.
//! Half-open `[start, end)`, aligned to the Unix epoch plus an offset. Pure: no I/O, no clock, no async.
//!
//! A kind of window is one file with its arithmetic (`tumbling`) and one variant of [`Window`], whose methods say what
//! the others need of it: they match on the kinds, nobody else looks into one. To add a kind: its file and variant
//! here; its function in `job/window_call` and `job/query/window`; how records reach it in `engine/prepare`, and what is
//! kept for it in `engine/keep` (their module docs say how).

mod by_data;
pub mod counting;
mod explanation;
mod groups;
mod identities;
pub mod made;
mod numbered;
pub mod pane;
pub mod session;
pub mod sliding;
#[cfg(test)]
mod tests;
pub mod tumbling;
mod window;

pub use by_data::ByData;
pub use counting::{CountWindows, Counting, Fed};
pub use explanation::WindowExplanation;
pub use made::{Made, MadeWindows, Reason};
pub use pane::{Aggregation, Frozen, Pane, PaneError};
pub use session::{Session, Sessions};
pub use sliding::{Sliding, SlidingWindows};
pub use tumbling::{Split, Tumbling};
pub use window::{ReadAround, Window};

use crate::event::EventTime;

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

/// Those of count windows: why it closed comes behind [`WINDOW_COLUMNS`].
pub const COUNT_WINDOW_COLUMNS: [&str; 4] = ["window_start", "window_end", "window_time", "window_reason"];

/// Which windows an INSERT publishes: `[from, to)` of their starts, or of another column where starts don't tell. Records of
/// other windows are passed over, where a record tells its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRange {
    /// First instant of the column that is published.
    pub from: EventTime,
    /// First one that is not published any more.
    pub to: EventTime,
    /// The column. Windows with fixed ends always go by their starts.
    pub by: WindowEdge,
}

impl PublishRange {
    /// Every window.
    pub const ALL: PublishRange = PublishRange::of_starts(EventTime::MIN, EventTime::MAX);

    /// The windows that start at `from` or later, and before `to`.
    pub const fn of_starts(from: EventTime, to: EventTime) -> PublishRange {
        PublishRange { from, to, by: WindowEdge::Start }
    }

    /// Whether the window that starts at `start` (microseconds) is published.
    pub fn contains(&self, start: i64) -> bool {
        self.from.0 <= start && start < self.to.0
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
