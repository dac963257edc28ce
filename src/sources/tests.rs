//! Files as bounded logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, LargeStringArray, ListArray, RecordBatch, StructArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::ArrowWriter;

use super::{Source, SourceError, SourceEvent, SourceSettings, open};
use crate::event::{
    Column, ColumnType, Decoded, FieldType, Format, FormatKind, LiveFace, Micros, Origin, RejectReason, ResumeOffset,
    Stream,
};

fn column(name: &str, column_type: ColumnType) -> Column {
    let path = name.split('_').map(str::to_owned).collect();
    Column { name: name.to_owned(), column_type, required: false, origin: Origin::Path(path) }
}

fn stream(kind: FormatKind, columns: Vec<Column>) -> Stream {
    Stream {
        name: "events".to_owned(),
        columns,
        event_time: 0,
        bound: Micros(0),
        marker: None,
        idle_after: None,
        max_future: None,
        live: LiveFace::File {
            path: "events".to_owned(),
            format: Format { kind, timestamp_unit: None, keep_rest: false },
        },
        accepts_compacted: false,
        history: None,
    }
}

fn numbers(kind: FormatKind) -> Stream {
    stream(kind, vec![column("v", ColumnType::BigInt)])
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(bytes: &[u8]) -> Folder {
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        std::fs::write(folder.path().join("events"), bytes).expect("the folder is ours");
        Folder(folder)
    }

    fn open(&self, stream: &Stream, from: i64) -> Result<Box<dyn Source>, SourceError> {
        let settings = SourceSettings { root: self.0.path().to_owned(), ..SourceSettings::default() };
        open(stream, &settings, &BTreeMap::from([(0, ResumeOffset(from))]))
    }

    /// Everything from row `from` on, and the end.
    fn read(&self, stream: &Stream, from: i64) -> (Vec<Decoded>, i64) {
        let mut source = self.open(stream, from).expect("the file is good");
        let mut pieces = Vec::new();
        loop {
            match source.poll(Duration::ZERO).expect("the file is good") {
                SourceEvent::Records(decoded) => pieces.push(decoded),
                SourceEvent::AtEnd { partition: 0, offset } => {
                    assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Ended)));
                    assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Ended)));
                    return (pieces, offset.0);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn longs(pieces: &[Decoded], index: usize) -> Vec<i64> {
    pieces.iter().flat_map(|piece| piece.records.column(index).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn rejects(pieces: &[Decoded]) -> Vec<(i64, RejectReason)> {
    pieces.iter().flat_map(|piece| &piece.rejects).map(|reject| (reject.offset, reject.reason)).collect()
}

#[test]
fn blank_and_bad_lines_count_as_rows() {
    let folder = Folder::with(b"{\"v\":1}\n\n{\"v\":2}\r\nnothing\n{\"v\":3}");
    let (pieces, end) = folder.read(&numbers(FormatKind::Json), 0);
    assert_eq!((longs(&pieces, 0), longs(&pieces, 2), end), (vec![1, 2, 3], vec![0, 2, 4], 5));
    assert_eq!(rejects(&pieces), [(1, RejectReason::Empty), (3, RejectReason::Undecodable)]);
    let (pieces, end) = folder.read(&numbers(FormatKind::Json), 2);
    assert_eq!((longs(&pieces, 0), longs(&pieces, 2), end), (vec![2, 3], vec![2, 4], 5));
    let (pieces, end) = folder.read(&numbers(FormatKind::Json), 5);
    assert_eq!((pieces.len(), end), (0, 5));
}

#[test]
fn a_long_file_comes_in_batches_without_a_gap() {
    let lines: String = (0..20_000).map(|number| format!("{{\"v\":{number}}}\n")).collect();
    let (pieces, end) = Folder::with(lines.as_bytes()).read(&numbers(FormatKind::Json), 3);
    assert_eq!((longs(&pieces, 2), end), ((3..20_000).collect(), 20_000));
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.records.num_rows() <= 8_192));
}

#[test]
fn a_csv_row_may_span_lines_and_counts_once() {
    let stream = stream(FormatKind::Csv, vec![column("v", ColumnType::BigInt), column("s", ColumnType::Text)]);
    let folder = Folder::with(b"s,v\r\n\"a\nb\",1\r\nc,x\nd,3\n");
    let (pieces, end) = folder.read(&stream, 0);
    assert_eq!((longs(&pieces, 0), longs(&pieces, 3), end), (vec![1, 3], vec![0, 2], 3));
    assert_eq!(pieces[0].records.column(1).as_string::<i32>().value(0), "a\nb");
    assert_eq!(rejects(&pieces), [(1, RejectReason::BadValue)]);
    let (pieces, _) = folder.read(&stream, 2);
    assert_eq!(longs(&pieces, 3), [2]);
}

#[test]
fn a_paused_file_gives_nothing() {
    let folder = Folder::with(b"{\"v\":1}\n");
    let mut source = folder.open(&numbers(FormatKind::Json), 0).expect("the file is good");
    source.set_paused(0, true).expect("files can be paused");
    assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Idle)));
    source.set_paused(0, false).expect("files can be resumed");
    assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Records(_))));
    let error = source.assign(1, ResumeOffset(0)).expect_err("a file has one partition");
    assert!(error.to_string().ends_with("a file has partition 0 only"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = Folder::with(b"");
    std::fs::remove_file(folder.0.path().join("events")).expect("the file is ours");
    let error = folder.open(&numbers(FormatKind::Json), 0).err().expect("the file is gone");
    assert!(error.to_string().contains("events can't be read at row 0"), "{error}");
}

fn write_parquet(folder: &Folder, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("the columns have one length");
    let file = File::create(folder.0.path().join("events")).expect("the folder is ours");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("the types can be written");
    writer.write(&batch).expect("the batch has the schema");
    writer.close().expect("there is room");
}

#[test]
fn parquet_columns_are_found_by_name_and_brought_to_their_types() {
    let folder = Folder::with(b"");
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1 << 40), None, Some(4)]));
    let field = Arc::new(Field::new("i", DataType::Int64, true));
    let object = StructArray::new(vec![field].into(), vec![inner], Some(vec![true, true, true, false].into()));
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(1 << 33)]),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("unused", Arc::new(Float64Array::from(vec![0.5; 4]))),
        ("s", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("c"), Some("d")]))),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![1_500, -1, 0, 5]))),
        ("o", Arc::new(object)),
        ("l", Arc::new(list)),
    ];
    write_parquet(&folder, columns);
    let stream = stream(
        FormatKind::Parquet,
        vec![
            column("t", ColumnType::Timestamp),
            column("s", ColumnType::Text),
            column("o_i", ColumnType::Int),
            column("o", ColumnType::Struct(vec![FieldType { name: "i".to_owned(), column_type: ColumnType::BigInt }])),
            column("l", ColumnType::Array(Box::new(ColumnType::Int))),
            column("gone", ColumnType::Date),
        ],
    );
    let (pieces, end) = folder.read(&stream, 0);
    let piece = &pieces[0];
    assert_eq!((pieces.len(), end, piece.next_offset), (1, 4, ResumeOffset(4)));
    assert_eq!(piece.records.schema(), stream.record_schema());
    assert_eq!(piece.records.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[1, 0]);
    assert_eq!(longs(&pieces, 7), [0, 2]);
    let integers: Vec<Option<i32>> = piece.records.column(2).as_primitive::<Int32Type>().iter().collect();
    assert_eq!(integers, [Some(1), None]);
    assert_eq!(piece.records.column(5).null_count(), 2);
    let details: Vec<&str> = piece.rejects.iter().map(|reject| reject.detail.as_str()).collect();
    assert_eq!(details, ["o_i INT: 1099511627776 doesn't fit", "l INT[]: [8589934592] doesn't fit"]);
    assert_eq!(piece.rejects[0].raw, r#"{"unused":0.5,"t":"1969-12-31T23:59:59.999999999","o":{"i":1099511627776}}"#);
    let (pieces, _) = folder.read(&stream, 2);
    assert_eq!(longs(&pieces, 7), [2]);
}

#[test]
fn a_parquet_type_that_would_lose_something_is_refused() {
    let folder = Folder::with(b"");
    write_parquet(&folder, vec![("v", Arc::new(Float64Array::from(vec![1.0])))]);
    let error = folder.open(&numbers(FormatKind::Parquet), 0).err().expect("a DOUBLE isn't a BIGINT");
    let source = std::error::Error::source(&error).expect("the reason is the source");
    assert_eq!(
        source.to_string(),
        "column v is Float64 in the file, which can't become BIGINT without loss; declare it as it is"
    );
}
