//! `seen`: the greatest event time at the lower offsets of a partition, rejected records aside; with WHEN, of marker records.
//! Invariant: a function of the partition's records in offset order; batch edges don't show.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::markers;
use crate::event::{EventTime, Stream, TIMESTAMP_ZONE};

/// Records with their `_seen`, and which of them lie beyond MAX FUTURE.
#[derive(Clone, Debug)]
pub struct Judged {
    /// All records, in offset order, `_seen` filled.
    pub records: RecordBatch,
    /// True for records beyond MAX FUTURE; `None` when there are none.
    pub future: Option<BooleanArray>,
}

/// Fills `_seen` of consecutive records of one partition and moves `seen` past them.
///
/// A record beyond MAX FUTURE is a reject, and one that WHEN isn't true of is no marker: both get a `_seen` like any other, but
/// don't raise it for those behind them.
/// A record without a log timestamp can't be judged so and is taken as it is (a stream without timestamps declares
/// `MAX FUTURE NONE`).
///
/// # Panics
/// When `records` is not laid out as [`Stream::record_schema`], or an event time is null: decoding has checked both.
pub fn judge(stream: &Stream, records: RecordBatch, seen: &mut Option<EventTime>) -> Judged {
    let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.null_count(), 0, "decoding rejects records without an event time");
    let future = future(stream, &records);
    let rows = times.len();
    let markers = markers(stream, &records);
    let counts = |row: usize| {
        future.as_ref().is_none_or(|mask| !mask.value(row)) && markers.as_ref().is_none_or(|mask| mask.value(row))
    };
    let first_counted = (0..rows).find(|&row| counts(row));
    // The first record that counts has seen nothing itself, unless something was seen before the batch.
    let unknown = if seen.is_some() { 0 } else { first_counted.map_or(rows, |row| row + 1) };
    let mut greatest = seen.map_or(i64::MIN, |time| time.0);
    let mut values = Vec::with_capacity(rows);
    for (row, &time) in times.values().iter().enumerate() {
        values.push(greatest);
        if counts(row) {
            greatest = greatest.max(time);
        }
    }
    if first_counted.is_some() {
        *seen = Some(EventTime(greatest));
    }
    let nulls = (unknown > 0).then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| row >= unknown)));
    let column = TimestampMicrosecondArray::new(values.into(), nulls).with_timezone(TIMESTAMP_ZONE);
    Judged { records: with_column(records, stream.seen_index(), Arc::new(column)), future }
}

/// True where the event time lies more than MAX FUTURE ahead of the log's timestamp; `None` when nowhere. Row-local, so
/// history, which keeps such records, can be judged again.
pub fn future(stream: &Stream, records: &RecordBatch) -> Option<BooleanArray> {
    let ahead = stream.max_future?.0;
    let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
    let stamps = records.column(stream.timestamp_index()).as_primitive::<TimestampMicrosecondType>();
    let beyond = BooleanBuffer::collect_bool(times.len(), |row| {
        stamps.is_valid(row) && times.value(row) > stamps.value(row).saturating_add(ahead)
    });
    (beyond.count_set_bits() > 0).then(|| BooleanArray::new(beyond, None))
}

fn with_column(records: RecordBatch, index: usize, column: ArrayRef) -> RecordBatch {
    let (schema, mut columns, _) = records.into_parts();
    columns[index] = column;
    RecordBatch::try_new(schema, columns).expect("the column keeps its type and length")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};

    use super::*;
    use crate::event::{Column, ColumnType, Format, FormatKind, LiveFace, Micros, Origin};

    fn stream() -> Stream {
        let time = Column {
            name: "t".into(),
            column_type: ColumnType::Timestamp,
            required: true,
            origin: Origin::Path(vec!["t".into()]),
        };
        let format = Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false };
        Stream {
            name: "s".into(),
            columns: vec![time],
            event_time: 0,
            bound: Micros(0),
            marker: None,
            idle_after: None,
            max_future: Some(Micros(100)),
            live: LiveFace::Kafka { topic: "s".into(), format },
            accepts_compacted: false,
            history: None,
        }
    }

    fn records(times: &[i64], stamps: &[Option<i64>]) -> RecordBatch {
        let rows = times.len();
        let instants = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone(TIMESTAMP_ZONE))
        };
        let columns: Vec<ArrayRef> = vec![
            instants(times.iter().copied().map(Some).collect()),
            Arc::new(Int32Array::from(vec![0; rows])),
            Arc::new(Int64Array::from_iter_values(0..rows as i64)),
            instants(stamps.to_vec()),
            instants(vec![None; rows]),
        ];
        RecordBatch::try_new(stream().record_schema(), columns).expect("columns fit the schema")
    }

    fn seen_of(judged: &Judged) -> Vec<Option<i64>> {
        judged.records.column(4).as_primitive::<TimestampMicrosecondType>().iter().collect()
    }

    #[test]
    fn seen_is_the_greatest_time_at_lower_offsets() {
        let mut seen = None;
        let judged = judge(&stream(), records(&[5, 3, 9, 9, 7], &[Some(0); 5]), &mut seen);
        assert_eq!(seen_of(&judged), [None, Some(5), Some(5), Some(9), Some(9)]);
        assert_eq!(seen, Some(EventTime(9)));
    }

    #[test]
    fn batch_edges_do_not_show() {
        let mut seen = None;
        let mut all = Vec::new();
        for time in [-5, -9, 3] {
            all.extend(seen_of(&judge(&stream(), records(&[time], &[Some(0)]), &mut seen)));
        }
        assert_eq!(all, [None, Some(-5), Some(-5)]);
    }

    #[test]
    fn a_record_beyond_max_future_does_not_raise_seen() {
        let mut seen = None;
        let judged = judge(&stream(), records(&[500, 1, 101, 100], &[Some(0), Some(0), Some(0), Some(0)]), &mut seen);
        let future: Vec<bool> = judged.future.as_ref().expect("two lie ahead").iter().flatten().collect();
        assert_eq!(future, [true, false, true, false]);
        assert_eq!(seen_of(&judged), [None, None, Some(1), Some(1)]);
        assert_eq!(seen, Some(EventTime(100)));
    }

    #[test]
    fn without_a_log_timestamp_nothing_is_too_far_ahead() {
        let mut seen = None;
        assert!(judge(&stream(), records(&[500], &[None]), &mut seen).future.is_none());
    }
}
