//! Lateness of records for windows with a fixed end: late iff `end + allowed <= seen - bound`, null `seen` never.
//! A row-local rule, so history may be read in any order and still gives the live verdicts.

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;

use crate::event::{EventTime, Micros};

/// What became of each record of a batch, for one INSERT.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Late by its own partition.
    pub late: BooleanBuffer,
    /// In time by its own partition, but its window is closed already.
    pub behind: BooleanBuffer,
}

impl Verdicts {
    /// Whether no record of the batch is late in either way: the common case.
    pub fn all_in_time(&self) -> bool {
        self.late.count_set_bits() == 0 && self.behind.count_set_bits() == 0
    }
}

/// For each record, the time through which windows end that it is late for; [`i64::MIN`]: none.
pub fn late_through(seen: &TimestampMicrosecondArray, bound: Micros, allowed: Micros) -> Vec<i64> {
    let slack = bound.0.saturating_add(allowed.0);
    let through = |(row, seen): (usize, &i64)| (row, seen.saturating_sub(slack));
    let all = seen.values().iter().enumerate().map(through);
    match seen.nulls() {
        None => all.map(|(_, through)| through).collect(),
        Some(nulls) => all.map(|(row, through)| if nulls.is_valid(row) { through } else { i64::MIN }).collect(),
    }
}

/// Judges each record for the window that ends at `ends[row]`.
///
/// `closed_below` is the job's watermark when the batch was handed over: windows that end at or before it are closed.
pub fn late_by_end(
    ends: &[i64],
    seen: &TimestampMicrosecondArray,
    bound: Micros,
    allowed: Micros,
    closed_below: EventTime,
) -> Verdicts {
    let slack = bound.0.saturating_add(allowed.0);
    let seen_values = seen.values();
    let is_late = |row: usize| ends[row].saturating_add(slack) <= seen_values[row];
    let late = match seen.nulls() {
        None => BooleanBuffer::collect_bool(ends.len(), is_late),
        Some(nulls) => BooleanBuffer::collect_bool(ends.len(), |row| nulls.is_valid(row) && is_late(row)),
    };
    let closed = BooleanBuffer::collect_bool(ends.len(), |row| {
        closed_below != EventTime::MIN && ends[row].saturating_add(allowed.0) <= closed_below.0
    });
    let behind = &closed & &!&late;
    Verdicts { late, behind }
}
