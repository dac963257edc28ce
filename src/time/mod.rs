//! Event time: what was seen, what is late, how far time has certainly advanced.
//! Invariant: lateness is a fact of the log, judged per record against its own partition; the watermark decides only
//! when a window is published. The one wall clock of the program lives in [`clock`]; nothing else here reads it.

mod alignment;
pub mod clock;
mod correction;
mod judge;
mod lateness;
mod marker;
mod watermark;

pub use alignment::{Alignment, Decision};
pub use correction::ClockReadings;
pub use judge::{Judged, future, judge};
pub use lateness::{Verdicts, late_by_end, late_through};
pub use marker::markers;
pub use watermark::{Holder, Watermarks};
