//! What there is to say of a window: a document with stable names for programs, a line for people.

use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use super::{ByData, Counting, Session, Sliding, Tumbling, Window};
use crate::event::Micros;

/// How event time is cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WindowExplanation {
    /// `tumble`, `session`, `count_window` or `sliding`.
    pub kind: &'static str,
    /// Length of a window, in microseconds; none where the data decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_us: Option<i64>,
    /// Shift of the grid against the Unix epoch, in microseconds.
    pub offset_us: i64,
    /// The silence that ends a session, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_us: Option<i64>,
    /// Records of a full count window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// How long a count window takes records, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<i64>,
}

impl Window {
    /// What there is to say of it.
    pub fn explain(&self) -> WindowExplanation {
        match *self {
            Window::Tumbling(Tumbling { size, offset }) => WindowExplanation {
                kind: "tumble",
                size_us: Some(size.0),
                offset_us: offset.0,
                ..WindowExplanation::default()
            },
            Window::ByData(ByData::Session(Session { gap, .. })) => {
                WindowExplanation { kind: "session", gap_us: Some(gap.0), ..WindowExplanation::default() }
            }
            Window::ByData(ByData::Counting(Counting { size, timeout, .. })) => WindowExplanation {
                kind: "count_window",
                records: Some(size),
                timeout_us: Some(timeout.0),
                ..WindowExplanation::default()
            },
            Window::ByData(ByData::Sliding(Sliding { size })) => {
                WindowExplanation { kind: "sliding", size_us: Some(size.0), ..WindowExplanation::default() }
            }
        }
    }
}

impl WindowExplanation {
    /// Whether the data makes the windows.
    pub fn is_by_data(&self) -> bool {
        matches!(self.kind, "session" | "count_window" | "sliding")
    }
}

impl Display for WindowExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.kind.to_uppercase())?;
        match (self.gap_us.map(Micros), self.records, self.timeout_us.map(Micros), self.size_us.map(Micros)) {
            (Some(gap), ..) => return write!(f, " with a gap of {gap}"),
            (_, Some(records), Some(timeout), _) => return write!(f, " of {records} records, or {timeout}"),
            (.., size) => write!(f, " of {}", size.unwrap_or_default())?,
        }
        if self.is_by_data() {
            return f.write_str(", one for each time of a record, ending with it");
        }
        if self.offset_us != 0 {
            write!(f, ", shifted by {}", Micros(self.offset_us))?;
        }
        f.write_str(", aligned to 1970-01-01T00:00:00Z")
    }
}
