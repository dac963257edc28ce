//! No window: a record is never late, and published wherever its event time and its place say so.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::{LateReason, LateRows, Placed, Placing, retain};
use crate::event::{EventTime, Stream, TIMESTAMP_ZONE};
use crate::windows::{Places, PublishRange};

/// Takes every record that is published.
pub(super) struct AtOnce {
    pub(super) stream: Arc<Stream>,
    pub(super) publish: PublishRange,
    pub(super) places: Places,
}

impl AtOnce {
    fn wanted(&self, records: &RecordBatch) -> BooleanBuffer {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>().values();
        if self.places.is_all() {
            return BooleanBuffer::collect_bool(times.len(), |row| self.publish.contains(times[row]));
        }
        let partitions = records.column(self.stream.partition_index()).as_primitive::<Int32Type>();
        let offsets = records.column(self.stream.offset_index()).as_primitive::<Int64Type>();
        self.places.wanted(&self.publish, times, (partitions, offsets))
    }
}

impl Placing for AtOnce {
    fn fields(&self) -> Vec<Field> {
        Vec::new()
    }

    fn place(&self, records: &RecordBatch, _closed_below: EventTime) -> Result<Placed, DataFusionError> {
        let taken = match self.publish.is_all() && self.places.is_all() {
            true => records.clone(),
            false => retain(records, &self.wanted(records))?,
        };
        Ok(Placed { taken, columns: Vec::new(), late: Vec::new() })
    }

    fn failed(&self, record: &RecordBatch) -> Option<LateRows> {
        if !self.wanted(record).value(0) {
            return None;
        }
        let one: ArrayRef = Arc::new(Int32Array::from_value(1, 1));
        let none: ArrayRef = Arc::new(TimestampMicrosecondArray::new_null(1).with_timezone(TIMESTAMP_ZONE));
        let windows = [Arc::clone(&one), one, Arc::clone(&none), none];
        Some(LateRows { records: record.clone(), reason: LateReason::Expression, windows, late_for_all: 1 })
    }
}
