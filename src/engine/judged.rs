//! What became of a batch of records for one INSERT, whose legs may read the same stream several times.
//! Invariant: a record is late once for an INSERT, however many of its legs it is late for.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;

use super::epoch::Late;
use crate::event::{OFFSET, PARTITION};

/// Late records of a batch.
pub(super) struct Judged {
    pub(super) late: Vec<Late>,
    /// How many of them are late for all of their windows.
    pub(super) count: u64,
}

impl Judged {
    /// What the legs of one INSERT say of the same batch, as one; `None` if none takes its records.
    pub(super) fn together(mut legs: Vec<Judged>) -> Option<Judged> {
        if legs.len() < 2 {
            return legs.pop();
        }
        let mut known = HashSet::new();
        let mut all = Judged { late: Vec::new(), count: 0 };
        for Late { stream, rows } in legs.into_iter().flat_map(|leg| leg.late) {
            let new = news(&rows, &mut known);
            let rows = filter_record_batch(&rows, &new).expect("the mask is as long as the batch");
            if rows.num_rows() > 0 {
                all.count += late_for_all(&rows);
                all.late.push(Late { stream, rows });
            }
        }
        Some(all)
    }
}

/// Which of late rows are of records that are not `known`, which they then are. Without a position each row is one.
fn news(rows: &RecordBatch, known: &mut HashSet<(i32, i64)>) -> BooleanArray {
    let column = |name| rows.column_by_name(name).expect("late rows have the columns of records");
    let (partitions, offsets) =
        (column(PARTITION).as_primitive::<Int32Type>(), column(OFFSET).as_primitive::<Int64Type>());
    let is_new = |row: usize| {
        let has_position = partitions.is_valid(row) && offsets.is_valid(row);
        !has_position || known.insert((partitions.value(row), offsets.value(row)))
    };
    (0..rows.num_rows()).map(is_new).map(Some).collect()
}

/// How many of late rows are of records that no window takes.
fn late_for_all(rows: &RecordBatch) -> u64 {
    let column = |name| rows.column_by_name(name).expect("late rows say how many windows").as_primitive::<Int32Type>();
    let (windows, late) = (column("windows"), column("windows_late"));
    (0..rows.num_rows()).filter(|&row| windows.value(row) == late.value(row)).count() as u64
}
