//! The first half of an INSERT, on whichever worker a batch lands: WHERE, lateness, keys, arguments.
//!
//! [`Preparation`] is what all kinds of windows have in common: WHERE, the values that travel to the keeper, rows of the
//! late table, records on which an expression fails. Which windows take a record, and for which it is late, says a
//! [`Placing`], one implementation a kind; it also says which columns travel for it, before keys and arguments, so that
//! its [`super::keep::Keep`] finds them. To add a kind: a file with its [`Placing`], its line in [`Preparation::new`].
//!
//! Invariant: row-local. What becomes of a record depends on the record, its `_seen` and the stated watermark alone.

mod adjacent;
mod by_data;
mod each;
mod overlapping;
mod preparation;
mod unnest;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use crate::event::EventTime;

pub(super) use by_data::TIME_COLUMN;
pub(super) use overlapping::{FROM_ALL, FROM_COLUMN};
pub(super) use preparation::{Argument, Preparation};

/// Column of prepared rows that holds the start of a row's pane, in microseconds, for windows with fixed ends.
pub(super) const PANE_COLUMN: usize = 0;

/// Which windows records fall in.
pub(super) trait Placing {
    /// The columns that travel for the windows' sake, before keys and arguments.
    fn fields(&self) -> Vec<Field>;

    /// Judges records that WHERE has left. Those that fall in no published window are in no part of the answer.
    /// `closed_below` is the job's watermark when they were handed over.
    fn place(&self, records: &RecordBatch, closed_below: EventTime) -> Result<Placed, DataFusionError>;

    /// The rows of the late table for one record on which an expression fails; none if no published window holds it.
    fn failed(&self, record: &RecordBatch) -> Option<LateRows>;
}

/// What became of records.
pub(super) struct Placed {
    /// Those that at least one window takes.
    pub(super) taken: RecordBatch,
    /// The values of [`Placing::fields`] for them.
    pub(super) columns: Vec<ArrayRef>,
    /// Those that at least one window doesn't take.
    pub(super) late: Vec<LateRows>,
}

/// Records for the late table.
pub(super) struct LateRows {
    /// The records.
    pub(super) records: RecordBatch,
    /// Why.
    pub(super) reason: LateReason,
    /// `windows`, `windows_late`, `first_late` and `last_late` of each.
    pub(super) windows: [ArrayRef; 4],
    /// How many of them no window takes: they count as late, the others as accepted.
    pub(super) late_for_all: u64,
}

/// Why a record went to the late table. The names stand in its `reason` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateReason {
    /// By its own partition.
    Late,
    /// In time by its own partition, but the job had closed its window.
    BehindWatermark,
    /// An expression of the query fails on it.
    Expression,
}

impl LateReason {
    fn as_str(self) -> &'static str {
        match self {
            LateReason::Late => "late",
            LateReason::BehindWatermark => "behind_watermark",
            LateReason::Expression => "expression",
        }
    }
}

/// The chosen rows.
fn retain(records: &RecordBatch, rows: &BooleanBuffer) -> Result<RecordBatch, DataFusionError> {
    if rows.count_set_bits() == rows.len() {
        return Ok(records.clone());
    }
    Ok(filter_record_batch(records, &arrow::array::BooleanArray::new(rows.clone(), None))?)
}
