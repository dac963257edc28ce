//! The rows of closed windows as a table that operators read.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion_common::Result;
use datafusion_execution::TaskContext;
use datafusion_physical_plan::SendableRecordBatchStream;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::streaming::PartitionStream;
use futures::stream;

use crate::windows::WINDOW_COLUMNS;

/// A table of one batch, which is put in before each run.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    /// Never contended: one worker puts in, then reads.
    batch: Mutex<RecordBatch>,
}

impl Rows {
    pub(super) fn new(schema: &SchemaRef) -> Rows {
        Rows { schema: Arc::clone(schema), batch: Mutex::new(RecordBatch::new_empty(Arc::clone(schema))) }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn put(&self, batch: RecordBatch) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = batch;
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = stream::iter([Ok(batch)]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// The rows in the order of all their columns, the window's first.
pub(super) fn sorted(rows: &RecordBatch) -> Result<RecordBatch> {
    let fields = rows.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(rows.columns())?;
    let mut order: Vec<u32> =
        (0..u32::try_from(rows.num_rows()).expect("fewer than 2^32 rows close at once")).collect();
    order.sort_unstable_by(|&left, &right| keys.row(left as usize).cmp(&keys.row(right as usize)));
    Ok(take_record_batch(rows, &UInt32Array::from(order))?)
}

/// Sorted rows, cut by window.
pub(super) fn windows(sorted: &RecordBatch) -> Vec<RecordBatch> {
    let columns: &[ArrayRef] = &sorted.columns()[..WINDOW_COLUMNS.len()];
    let parts = arrow::compute::partition(columns).expect("window columns are times");
    parts.ranges().into_iter().map(|range| sorted.slice(range.start, range.len())).collect()
}
