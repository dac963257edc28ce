//! Windows: which spans of event time a record falls in, and what is kept for each until it closes.
//! Half-open `[start, end)`, aligned to the Unix epoch plus an offset. Pure: no I/O, no clock, no async.

pub mod counting;
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

pub use counting::{CountWindows, Counting, Fed};
pub use made::{Made, MadeWindows, Reason};
pub use pane::{Aggregation, Frozen, Pane, PaneError};
pub use session::{Session, Sessions};
pub use sliding::{Sliding, SlidingWindows};
pub use tumbling::{Split, Tumbling};

use crate::event::EventTime;

/// Window columns in the rows of a closed window, in this order, before the keys.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// How a query cuts event time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE`: adjacent windows of one size.
    Tumbling(Tumbling),
}

/// Which windows an INSERT publishes, by their starts: `[from, to)`. Records of other windows are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRange {
    /// First window start that is published.
    pub from: EventTime,
    /// First one that is not published any more.
    pub to: EventTime,
}

impl PublishRange {
    /// Every window.
    pub const ALL: PublishRange = PublishRange { from: EventTime::MIN, to: EventTime::MAX };

    /// Whether the window that starts at `start` (microseconds) is published.
    pub fn contains(&self, start: i64) -> bool {
        self.from.0 <= start && start < self.to.0
    }

    /// Whether nothing is passed over.
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }
}
