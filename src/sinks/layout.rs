//! How the tables that a job writes are laid out: results, late records, rejects, history.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::decode::SideInputs;
use crate::event::{
    ColumnType, EventTime, FieldType, OFFSET, PARTITION, PartitionField, Reject, RejectReason, Stream, TIMESTAMP,
    TIMESTAMP_ZONE, Transform, timestamp_type,
};
use crate::iceberg::{RowCut, TableSpec, TimeCut};
use crate::job::Insert;
use crate::windows::PublishRange;

/// A result table: the SELECT list, partitioned as the job says.
pub fn result(insert: &Insert) -> TableSpec {
    // A table can't say that it is sorted by a list or a struct; what stands behind one isn't in order then.
    let is_plain = |column: &&usize| !insert.result_schema.field(**column).data_type().is_nested();
    let sort = insert.sort.iter().take_while(is_plain).map(|&column| insert.columns[column].name.clone()).collect();
    TableSpec {
        schema: insert.result_schema.clone(),
        partitions: insert.partitions.clone(),
        sort,
        properties: Default::default(),
    }
}

/// A late table: the record, then what it was late for; partitioned by the result and, over the event time, by the
/// result's own time transform.
pub fn late(insert: &Insert, stream: &Stream) -> TableSpec {
    let event_time = stream.columns[stream.event_time].name.clone();
    let transform = insert.partitions[insert.range.partition].transform;
    TableSpec {
        schema: stream.late_schema(),
        partitions: vec![
            PartitionField { column: "result".into(), transform: Transform::Identity },
            PartitionField { column: event_time.clone(), transform },
        ],
        sort: vec!["result".into(), event_time, PARTITION.into(), OFFSET.into()],
        properties: Default::default(),
    }
}

/// The rows of a late table that are an INSERT's own and late for a window in `windows`.
pub fn late_rows(insert: &Insert, stream: &Stream, windows: PublishRange) -> RowCut {
    // The windows that a record is late for, from the first to the last, meet the range.
    let (_, marks) = insert.judged_by(windows);
    late_rows_between(insert, stream, windows, EventTime::MIN..marks.to, marks.from..EventTime::MAX)
}

/// The rows of a late table that are an INSERT's own and late for windows in `windows` only.
pub fn late_rows_inside(insert: &Insert, stream: &Stream, windows: PublishRange) -> RowCut {
    let (_, marks) = insert.judged_by(windows);
    late_rows_between(insert, stream, windows, marks.from..marks.to, marks.from..marks.to)
}

fn late_rows_between(
    insert: &Insert,
    stream: &Stream,
    windows: PublishRange,
    first_late: Range<EventTime>,
    last_late: Range<EventTime>,
) -> RowCut {
    let event_time = stream.columns[stream.event_time].name.clone();
    let event_times = insert.late_times_of(windows);
    let equals = BTreeMap::from([("result".to_owned(), insert.table.to_string())]);
    let (window, _) = insert.judged_by(windows);
    if window.is_late_by_time() {
        // Which windows a record is late for, nobody knows.
        let times = vec![TimeCut { column: event_time, from: event_times.start, to: event_times.end }];
        return RowCut { times, equals, ..RowCut::default() };
    }
    let ahead = window.name_ahead();
    let named = |marks: Range<EventTime>| marks.start.plus(ahead)..marks.end.plus(ahead);
    let columns = [
        (event_time, event_times),
        ("first_late".to_owned(), named(first_late)),
        ("last_late".to_owned(), named(last_late)),
    ];
    RowCut {
        times: columns.map(|(column, times)| TimeCut { column, from: times.start, to: times.end }).to_vec(),
        equals,
        ..RowCut::default()
    }
}

/// The rows of a rejects table that are a stream's own.
pub fn reject_rows_of(stream: &Stream) -> RowCut {
    RowCut { equals: BTreeMap::from([("stream".to_owned(), stream.name.clone())]), ..RowCut::default() }
}

/// A history table: the record, partitioned by the hour of its event time.
pub fn history(stream: &Stream) -> TableSpec {
    let event_time = stream.columns[stream.event_time].name.clone();
    TableSpec {
        schema: stream.record_schema(),
        partitions: vec![PartitionField { column: event_time.clone(), transform: Transform::Hour }],
        sort: vec![event_time, PARTITION.into(), OFFSET.into()],
        properties: Default::default(),
    }
}

/// Column of a rejects table: what stood beside the message, as far as the stream takes it, as (name, value) in the order
/// of [`SideInputs::names`]; a value is null where the record has none, the column is where nothing was kept. Only tables of
/// streams that take something have it.
pub const METADATA: &str = "metadata";

/// A rejects table, partitioned by the day of the log's timestamp. `inputs`: what is kept beside the message.
pub fn rejects(inputs: &SideInputs) -> TableSpec {
    TableSpec {
        schema: rejects_schema(inputs),
        partitions: vec![PartitionField { column: TIMESTAMP.into(), transform: Transform::Day }],
        sort: vec!["stream".into(), PARTITION.into(), OFFSET.into()],
        properties: Default::default(),
    }
}

fn rejects_schema(inputs: &SideInputs) -> SchemaRef {
    let mut fields = vec![
        Field::new("stream", DataType::Utf8, false),
        Field::new(PARTITION, DataType::Int32, false),
        Field::new(OFFSET, DataType::Int64, false),
        Field::new(TIMESTAMP, timestamp_type(), true),
        Field::new("raw", DataType::Binary, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("detail", DataType::Utf8, true),
    ];
    if !inputs.is_empty() {
        fields.push(Field::new(METADATA, metadata_type(), true));
    }
    Arc::new(Schema::new(fields))
}

fn metadata_type() -> DataType {
    let field = |name: &str, column_type| FieldType { name: name.to_owned(), column_type };
    let entry = ColumnType::Struct(vec![field("name", ColumnType::Text), field("value", ColumnType::Bytes)]);
    ColumnType::Array(Box::new(entry)).arrow()
}

fn metadata(rejects: &[Reject], inputs: &SideInputs) -> ArrayRef {
    let DataType::List(element) = metadata_type() else { unreachable!("it is an array") };
    let DataType::Struct(fields) = element.data_type().clone() else { unreachable!("of structs") };
    let names = inputs.names();
    let value = |reject: &'_ Reject, at: usize| reject.sides.get(at).cloned().flatten();
    let values = rejects.iter().flat_map(|reject| (0..names.len()).map(move |at| value(reject, at)));
    let every = rejects.iter().flat_map(|_| names.iter().map(String::as_str));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(every.collect::<Vec<_>>())), Arc::new(BinaryArray::from_iter(values))];
    let entries = StructArray::new(fields, columns, None);
    let ends = OffsetBuffer::from_lengths(rejects.iter().map(|_| names.len()));
    Arc::new(ListArray::new(element, ends, Arc::new(entries), None))
}

/// Rejects as rows of their table.
pub fn reject_rows(stream: &Stream, rejects: &[Reject], inputs: &SideInputs) -> RecordBatch {
    let stamps = TimestampMicrosecondArray::from_iter(rejects.iter().map(|reject| reject.timestamp));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|_| stream.name.as_str()))),
        Arc::new(Int32Array::from_iter_values(rejects.iter().map(|reject| reject.partition))),
        Arc::new(Int64Array::from_iter_values(rejects.iter().map(|reject| reject.offset))),
        Arc::new(stamps.with_timezone(TIMESTAMP_ZONE)),
        Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|reject| reject.raw.as_ref()))),
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| reject.reason.as_str()))),
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| reject.detail.as_str()))),
    ];
    if !inputs.is_empty() {
        columns.push(metadata(rejects, inputs));
    }
    RecordBatch::try_new(rejects_schema(inputs), columns).expect("columns fit the schema")
}

/// Records beyond MAX FUTURE as rejects. Decoding has let go of their bytes, so their declared columns stand in as JSON.
pub fn future_rejects(stream: &Stream, records: &RecordBatch) -> Vec<Reject> {
    let declared: Vec<usize> = (0..stream.columns.len()).collect();
    let columns = records.project(&declared).expect("declared columns come first");
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    writer.write(&columns).and_then(|()| writer.finish()).expect("memory takes every row");
    let lines = writer.into_inner();
    let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>();
    let offsets = records.column(stream.offset_index()).as_primitive::<Int64Type>();
    let stamps = records.column(stream.timestamp_index()).as_primitive::<TimestampMicrosecondType>();
    let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
    let rows = lines.split(|&byte| byte == b'\n').take(records.num_rows()).enumerate();
    rows.map(|(row, line)| Reject {
        partition: partitions.value(row),
        offset: offsets.value(row),
        timestamp: stamps.is_valid(row).then(|| stamps.value(row)),
        raw: Bytes::copy_from_slice(line),
        sides: Vec::new(),
        reason: RejectReason::Future,
        detail: format!("event time {} lies beyond MAX FUTURE", EventTime(times.value(row))),
    })
    .collect()
}
