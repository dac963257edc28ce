//! Windows that the data makes: late iff `t + allowed < seen - bound`, whatever other records there are.
//!
//! A record in time never reaches a window that the job has closed: one that ended at or before the settled time
//! (`watermark - allowed`) held no record within reach of it. So one rule tells both kinds of late records.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::{LateReason, LateRows, Placed, Placing, retain};
use crate::event::{EventTime, Micros, Stream, TIMESTAMP_ZONE};
use crate::time::late_by_end;
use crate::windows::PublishRange;

/// Column of prepared rows that holds the event time, in microseconds.
pub(in crate::engine) const TIME_COLUMN: usize = 0;

/// Takes every record that is in time; which windows they make, their keeper finds out.
pub(super) struct InTime {
    pub(super) stream: Arc<Stream>,
    pub(super) allowed: Micros,
    pub(super) publish: PublishRange,
    /// Whether the order of records matters: then their positions travel behind the time.
    pub(super) with_positions: bool,
}

impl InTime {
    fn times<'r>(&self, records: &'r RecordBatch) -> &'r TimestampMicrosecondArray {
        records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>()
    }

    /// A late record is the range's whose event time lies in it.
    fn owned(&self, records: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let times = self.times(records).values();
        retain(records, &BooleanBuffer::collect_bool(times.len(), |row| self.owns(times[row])))
    }

    fn owns(&self, time: i64) -> bool {
        self.publish.from.0 <= time && time < self.publish.to.0
    }

    fn late(&self, records: RecordBatch, reason: LateReason) -> LateRows {
        let rows = records.num_rows();
        let one: ArrayRef = Arc::new(Int32Array::from_value(1, rows));
        let none: ArrayRef = Arc::new(TimestampMicrosecondArray::new_null(rows).with_timezone(TIMESTAMP_ZONE));
        let windows = [Arc::clone(&one), one, Arc::clone(&none), none];
        LateRows { records, reason, windows, late_for_all: rows as u64 }
    }
}

impl Placing for InTime {
    fn fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::new("t", DataType::Int64, false)];
        if self.with_positions {
            fields.push(Field::new("partition", DataType::Int32, true));
            fields.push(Field::new("offset", DataType::Int64, true));
        }
        fields
    }

    fn place(&self, records: &RecordBatch, closed_below: EventTime) -> Result<Placed, DataFusionError> {
        // As if each record had a window of its own, a microsecond long: `t + 1 + allowed <= seen - bound`.
        let ends: Vec<i64> = self.times(records).values().iter().map(|time| time + 1).collect();
        let seen = records.column(self.stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        let verdicts = late_by_end(&ends, seen, self.stream.bound, self.allowed, closed_below);
        let mut late = Vec::new();
        let mut taken = records.clone();
        if !verdicts.all_in_time() {
            for (mask, reason) in [(&verdicts.late, LateReason::Late), (&verdicts.behind, LateReason::BehindWatermark)]
            {
                let rows = self.owned(&retain(records, mask)?)?;
                if rows.num_rows() > 0 {
                    late.push(self.late(rows, reason));
                }
            }
            taken = retain(records, &!&(&verdicts.late | &verdicts.behind))?;
        }
        let times = Int64Array::from(self.times(&taken).values().to_vec());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
        if self.with_positions {
            columns.push(Arc::clone(taken.column(self.stream.partition_index())));
            columns.push(Arc::clone(taken.column(self.stream.offset_index())));
        }
        Ok(Placed { taken, columns, late })
    }

    fn failed(&self, record: &RecordBatch) -> Option<LateRows> {
        let time = self.times(record).value(0);
        self.owns(time).then(|| self.late(record.clone(), LateReason::Expression))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ColumnType, Format, FormatKind, LiveFace, Origin};

    fn stream() -> Arc<Stream> {
        let format = Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false };
        let time = Column {
            name: "t".into(),
            column_type: ColumnType::Timestamp,
            required: true,
            origin: Origin::Path(vec!["t".into()]),
        };
        Arc::new(Stream {
            name: "s".into(),
            columns: vec![time],
            event_time: 0,
            bound: Micros(5),
            marker: None,
            idle_after: None,
            max_future: None,
            live: LiveFace::File { path: "s.jsonl".into(), format },
            accepts_compacted: false,
            history: None,
        })
    }

    fn records(rows: &[(i64, Option<i64>)]) -> RecordBatch {
        let instants = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone(TIMESTAMP_ZONE))
        };
        let columns: Vec<ArrayRef> = vec![
            instants(rows.iter().map(|(time, _)| Some(*time)).collect()),
            Arc::new(Int32Array::from_value(0, rows.len())),
            Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
            instants(vec![None; rows.len()]),
            instants(rows.iter().map(|(_, seen)| *seen).collect()),
        ];
        RecordBatch::try_new(stream().record_schema(), columns).expect("columns fit the schema")
    }

    /// Times of the records that are taken, and of the late ones with their reasons.
    fn placed(
        placing: &InTime,
        rows: &[(i64, Option<i64>)],
        closed_below: i64,
    ) -> (Vec<i64>, Vec<(i64, &'static str)>) {
        let placed = placing.place(&records(rows), EventTime(closed_below)).expect("the rows can be judged");
        let late = placed.late.iter().flat_map(|late| {
            let times = placing.times(&late.records).values().to_vec();
            times.into_iter().map(|time| (time, late.reason.as_str())).collect::<Vec<_>>()
        });
        (placing.times(&placed.taken).values().to_vec(), late.collect())
    }

    fn in_time(allowed: i64, publish: PublishRange) -> InTime {
        InTime { stream: stream(), allowed: Micros(allowed), publish, with_positions: false }
    }

    /// The job's watermark stands at 100; `seen` less the bound of 5 is the record's own.
    #[test]
    fn a_record_behind_the_watermark_is_taken_while_state_is_held_and_late_after() {
        let rows = [(89, Some(94)), (89, Some(105)), (90, None), (95, Some(90)), (84, Some(100)), (100, None)];
        let (taken, late) = placed(&in_time(10, PublishRange::ALL), &rows, 100);
        assert_eq!(taken, [90, 95, 100], "sessions that end behind 90 are held");
        assert_eq!(late, [(89, "late"), (84, "late"), (89, "behind_watermark")]);
        let (taken, late) = placed(&in_time(0, PublishRange::ALL), &rows[2..], 100);
        assert_eq!(taken, [100]);
        assert_eq!(late, [(84, "late"), (90, "behind_watermark"), (95, "behind_watermark")]);
    }

    #[test]
    fn late_records_are_the_ranges_in_which_their_times_lie() {
        let range = PublishRange { from: EventTime(50), to: EventTime(60), by: crate::windows::WindowEdge::End };
        let rows = [(49, Some(200)), (50, Some(200)), (60, Some(200)), (45, None)];
        let (taken, late) = placed(&in_time(0, range), &rows, i64::MIN);
        assert_eq!((taken, late), (vec![45], vec![(50, "late")]), "who is in time may be of a window that is wanted");
    }
}
