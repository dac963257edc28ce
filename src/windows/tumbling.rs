//! Tumbling windows: `[offset + n * size, offset + (n + 1) * size)` for every whole n.

use crate::event::{EventTime, Micros};

/// Adjacent windows of one size; a record falls in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    /// Length of a window; positive.
    pub size: Micros,
    /// Shift of the grid against the Unix epoch, `0 <= offset < size`.
    pub offset: Micros,
}

impl Tumbling {
    /// Start of the window that holds `time`.
    pub fn start(&self, time: EventTime) -> EventTime {
        let since = time.0 - self.offset.0;
        EventTime(time.0 - since.rem_euclid(self.size.0))
    }

    /// End (exclusive) of the window that begins at `start`.
    pub fn end(&self, start: EventTime) -> EventTime {
        start.plus(self.size)
    }
}
