//! Windows with a fixed end, of which each record falls in one: late iff `end + allowed <= seen - bound`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::{LateReason, LateRows, Placed, Placing, retain};
use crate::event::{EventTime, Micros, Stream, TIMESTAMP_ZONE};
use crate::time::late_by_end;
use crate::windows::{Adjacent, PublishRange};

/// Places records in windows that adjoin.
pub(super) struct InOneWindow<W> {
    pub(super) window: W,
    pub(super) stream: Arc<Stream>,
    pub(super) allowed: Micros,
    pub(super) publish: PublishRange,
}

impl<W: Adjacent> InOneWindow<W> {
    /// Starts and ends of the records' windows.
    fn windows_of(&self, records: &RecordBatch) -> (Vec<i64>, Vec<i64>) {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
        self.window.spans(times.values())
    }

    /// A record has one window, and is late for it.
    fn late(&self, records: RecordBatch, reason: LateReason) -> LateRows {
        let (starts, _) = self.windows_of(&records);
        let rows = starts.len();
        let start: ArrayRef = Arc::new(TimestampMicrosecondArray::from(starts).with_timezone(TIMESTAMP_ZONE));
        let one: ArrayRef = Arc::new(Int32Array::from_value(1, rows));
        let windows = [one.clone(), one, start.clone(), start];
        LateRows { records, reason, windows, late_for_all: rows as u64 }
    }
}

impl<W: Adjacent> Placing for InOneWindow<W> {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("pane", DataType::Int64, false)]
    }

    fn place(&self, records: &RecordBatch, closed_below: EventTime) -> Result<Placed, DataFusionError> {
        let mut records = records.clone();
        let (mut starts, mut ends) = self.windows_of(&records);
        if !self.publish.is_all() {
            let keep = BooleanBuffer::collect_bool(starts.len(), |row| self.publish.contains(starts[row]));
            records = retain(&records, &keep)?;
            (starts, ends) = self.windows_of(&records);
        }
        let seen = records.column(self.stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        let verdicts = late_by_end(&ends, seen, self.stream.bound, self.allowed, closed_below);
        let mut late = Vec::new();
        if !verdicts.all_in_time() {
            for (mask, reason) in [(&verdicts.late, LateReason::Late), (&verdicts.behind, LateReason::BehindWatermark)]
            {
                if mask.count_set_bits() > 0 {
                    late.push(self.late(retain(&records, mask)?, reason));
                }
            }
            records = retain(&records, &!&(&verdicts.late | &verdicts.behind))?;
            (starts, _) = self.windows_of(&records);
        }
        Ok(Placed { taken: records, columns: vec![Arc::new(Int64Array::from(starts))], late })
    }

    fn failed(&self, record: &RecordBatch) -> Option<LateRows> {
        let (starts, _) = self.windows_of(record);
        self.publish.contains(starts[0]).then(|| self.late(record.clone(), LateReason::Expression))
    }
}
