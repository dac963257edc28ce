//! Windows: which spans of event time a record falls in, and what is kept for each until it closes.
//! Half-open `[start, end)`, aligned to the Unix epoch plus an offset. Pure: no I/O, no clock, no async.

mod groups;
pub mod pane;
pub mod tumbling;

pub use pane::{Aggregation, Frozen, Pane, PaneError};
pub use tumbling::{Split, Tumbling};

/// Window columns in the rows of a closed window, in this order, before the keys.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// How a query cuts event time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE`: adjacent windows of one size.
    Tumbling(Tumbling),
}
