//! Records on which an expression of a query fails: they go to the late table whole, but only the columns that queries
//! need were read of them. A second pass reads them again with all their columns.
//!
//! What becomes of a record depends on the record alone, so the second pass, over all records of the times at which one
//! failed, finds exactly those of the first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::engine::{EpochOutput, Late};
use crate::event::{EventTime, Stream, TIMESTAMP_ZONE};

/// The `reason` of a record on which an expression failed.
const EXPRESSION: &str = "expression";

/// Records that are to be read again.
#[derive(Debug, Default)]
pub(super) struct Failing {
    times: HashSet<i64>,
    /// `_seen` by partition and offset, where it was hidden from the engine.
    seen: HashMap<(i32, i64), Option<i64>>,
}

impl Failing {
    /// Takes the late rows of a stream with reason `expression` out of an output, and remembers their times.
    pub(super) fn take_out(&mut self, (index, stream): (usize, &Stream), output: &mut EpochOutput) {
        for insert in &mut output.inserts {
            insert.late.retain(|late| {
                let failed = late.stream == index && is_failed(stream, &late.rows);
                if failed {
                    let times = late.rows.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
                    self.times.extend(times.values());
                }
                !failed
            });
        }
    }

    /// The range of their times; `None` if there are none.
    pub(super) fn range(&self) -> Option<std::ops::Range<EventTime>> {
        let (least, greatest) = (self.times.iter().min()?, self.times.iter().max()?);
        Some(EventTime(*least)..EventTime(greatest.saturating_add(1)))
    }

    /// The records of a batch that may be among them.
    pub(super) fn candidates(&self, stream: &Stream, records: &RecordBatch) -> RecordBatch {
        let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let keep = BooleanBuffer::collect_bool(times.len(), |row| self.times.contains(&times.value(row)));
        filter_record_batch(records, &BooleanArray::new(keep, None)).expect("the mask is as long as the batch")
    }

    /// Hides `_seen`, so that no record is late by it, and remembers what it was.
    pub(super) fn hide_seen(&mut self, stream: &Stream, records: RecordBatch) -> RecordBatch {
        let seen = records.column(stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        for (row, position) in positions(stream, &records).enumerate() {
            let Some(position) = position else { continue };
            self.seen.insert(position, seen.is_valid(row).then(|| seen.value(row)));
        }
        let nulls = new_null_array(seen.data_type(), records.num_rows());
        with_seen(stream, records, nulls)
    }

    /// Leaves only late rows with reason `expression` in an output of nothing but `stream`, their `_seen` as it was.
    pub(super) fn put_back(&self, stream: &Stream, output: &mut EpochOutput) {
        for insert in &mut output.inserts {
            insert.results.clear();
            insert.counts.clear();
            insert.late.retain(|late| is_failed(stream, &late.rows));
            if self.seen.is_empty() {
                continue;
            }
            for Late { rows, .. } in &mut insert.late {
                let seen = positions(stream, rows).map(|position| self.seen.get(&position?).copied().flatten());
                let seen = TimestampMicrosecondArray::from_iter(seen).with_timezone(TIMESTAMP_ZONE);
                *rows = with_seen(stream, rows.clone(), Arc::new(seen));
            }
        }
    }
}

/// Rows of a late batch have one reason.
fn is_failed(stream: &Stream, rows: &RecordBatch) -> bool {
    let reason = rows.column(stream.seen_index() + 2).as_string::<i32>();
    reason.len() > 0 && reason.value(0) == EXPRESSION
}

fn positions(stream: &Stream, rows: &RecordBatch) -> impl Iterator<Item = Option<(i32, i64)>> {
    let partitions = rows.column(stream.partition_index()).as_primitive::<Int32Type>().clone();
    let offsets = rows.column(stream.offset_index()).as_primitive::<Int64Type>().clone();
    (0..rows.num_rows()).map(move |row| {
        let known = partitions.is_valid(row) && offsets.is_valid(row);
        known.then(|| (partitions.value(row), offsets.value(row)))
    })
}

fn with_seen(stream: &Stream, rows: RecordBatch, seen: ArrayRef) -> RecordBatch {
    let (schema, mut columns, _) = rows.into_parts();
    columns[stream.seen_index()] = seen;
    RecordBatch::try_new(schema, columns).expect("the column keeps its type and length")
}
