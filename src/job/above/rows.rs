//! The rows of closed windows as a table that operators read.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion_common::Result;
use datafusion_execution::TaskContext;
use datafusion_physical_plan::SendableRecordBatchStream;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::streaming::PartitionStream;
use futures::stream;

use super::Closed;

/// A table of one batch, which is put in before each run.
pub(super) struct Rows {
    /// Number of the leg.
    leg: usize,
    closed: Closed,
    /// Never contended: one worker puts in, then reads.
    batch: Mutex<RecordBatch>,
}

/// Tells which table it is: fingerprints go by it.
impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "leg {}", self.leg)
    }
}

impl Rows {
    pub(super) fn new(leg: usize, closed: &Closed) -> Rows {
        let batch = RecordBatch::new_empty(Arc::clone(&closed.schema));
        Rows { leg, closed: closed.clone(), batch: Mutex::new(batch) }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.closed.schema
    }

    /// Batches of them in the order of all columns, the window's first.
    pub(super) fn sorted(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        let rows = concat_batches(&self.closed.schema, batches)?;
        let fields = rows.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(rows.columns())?;
        let count = u32::try_from(rows.num_rows()).expect("fewer than 2^32 rows close at once");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by(|&left, &right| keys.row(left as usize).cmp(&keys.row(right as usize)));
        Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
    }

    /// Sorted rows, cut by window, each with what tells it.
    pub(super) fn windows(&self, sorted: &RecordBatch) -> Result<Vec<(Vec<i64>, RecordBatch)>> {
        let columns: &[ArrayRef] = &sorted.columns()[self.closed.window.clone()];
        let instants: Vec<_> = columns.iter().map(|column| column.as_primitive::<TimestampMicrosecondType>()).collect();
        let parts = arrow::compute::partition(columns)?.ranges().into_iter();
        let window = |row: usize| instants.iter().map(|column| column.value(row)).collect();
        Ok(parts.map(|range| (window(range.start), sorted.slice(range.start, range.len()))).collect())
    }

    pub(super) fn put(&self, batch: RecordBatch) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = batch;
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.closed.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = stream::iter([Ok(batch)]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.closed.schema), stream))
    }
}
