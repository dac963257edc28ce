//! The model: what a job's results are, computed in the plainest way from the whole log at once. Slow and obvious, and nothing
//! in here comes from the crate: when model and crate agree, two independent readings of the rules do.
//!
//! Time first (`judge`): walk every partition in the order of its offsets. Then results (`results`): put what was accepted
//! into windows and groups, sort each group canonically, and fold it.

mod aggregate;
mod condition;
mod cut;
mod exact;
mod judge;
mod lists;
mod made;
mod pairs;
mod quantiles;
mod results;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use crate::support::Value;
pub use aggregate::{Aggregate, Function};
pub use condition::{Comparison, Condition};
pub use cut::Cut;
pub use judge::{Judged, Verdict, judge, watermark};
pub use lists::{By, Which};
pub use pairs::Pairing;
pub use quantiles::Quantile;
pub use results::{Cell, Row, differences, grouped, results};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in an hour.
pub const HOUR: i64 = 3_600 * SECOND;

/// A log: partitions, each with its records in the order of their offsets.
pub type Log = BTreeMap<i32, Vec<Record>>;

/// One record of a partition.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands; offsets may have gaps.
    pub offset: i64,
    /// The log's timestamp in microseconds; none in files.
    pub timestamp: Option<i64>,
    /// What the message says.
    pub body: Body,
}

/// What a message says, as far as its stream declares it.
#[derive(Clone, Debug)]
pub enum Body {
    /// Values by column; a missing one is null.
    Fields(BTreeMap<String, Value>),
    /// Not readable as the stream declares it, nulls in NOT NULL columns aside.
    Broken,
}

/// What decides which records a stream accepts.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The watermark column.
    pub event_time: String,
    /// NOT NULL columns.
    pub required: Vec<String>,
    /// Microseconds that a record may be behind `seen`.
    pub bound: i64,
    /// WHEN: only records of which it is true move `seen`.
    pub when: Option<Condition>,
    /// Microseconds that an event time may be ahead of the record's timestamp.
    pub max_future: Option<i64>,
}

/// One INSERT over a window. Its result columns: `window_start`, `window_end`, `window_reason` where windows have one, the keys,
/// the aggregates.
#[derive(Clone, Debug)]
pub struct Query {
    /// WHERE.
    pub filter: Option<Condition>,
    /// How time is cut.
    pub cut: Cut,
    /// Length of a window, or of the longest; a session's gap, a count window's timeout.
    pub size: i64,
    /// Shift of the windows against the epoch; may be negative or greater than the size.
    pub offset: i64,
    /// ALLOW LATENESS.
    pub allowed: i64,
    /// Columns that tell apart the windows that the data makes.
    pub partition_by: Vec<String>,
    /// Group keys: columns of the stream, those of `partition_by` among them.
    pub keys: Vec<String>,
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
}

impl Query {
    /// Start of the window that holds `time`, where windows of `size` adjoin.
    pub fn window_start(&self, time: i64) -> i64 {
        cut::grid_start(time, self.size, self.offset)
    }

    /// Start and end of all windows that hold `time`, in order of their ends; none where the data makes them.
    pub fn windows(&self, time: i64) -> Vec<(i64, i64)> {
        self.cut.windows(time, self.size, self.offset)
    }
}
