//! What there is to say of a window: a document with stable names for programs, a line for people.

use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use crate::event::Micros;

/// How event time is cut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowExplanation {
    /// `tumble`.
    pub kind: &'static str,
    /// Length of a window, in microseconds.
    pub size_us: i64,
    /// Shift of the grid against the Unix epoch, in microseconds.
    pub offset_us: i64,
}

impl Display for WindowExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} of {}", self.kind.to_uppercase(), Micros(self.size_us))?;
        if self.offset_us != 0 {
            write!(f, ", shifted by {}", Micros(self.offset_us))?;
        }
        f.write_str(", aligned to 1970-01-01T00:00:00Z")
    }
}
