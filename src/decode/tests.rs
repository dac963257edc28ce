//! Decoding against a slow, obvious decoder on random messages, and its rules one by one.

mod messages;
mod reference;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column as ColumnExpr, Literal};
use proptest::prelude::*;

use super::*;
use crate::event::{
    Column, ColumnType, Computed, Decoded, FieldType, Format, FormatKind, LiveFace, Metadata, Micros, Origin,
    RejectReason, ResumeOffset, Stream, TimestampUnit,
};

pub(super) fn column(name: &str, column_type: ColumnType) -> Column {
    let origin = Origin::Path(vec![name.to_owned()]);
    Column { name: name.to_owned(), column_type, required: false, origin }
}

pub(super) fn required(name: &str, column_type: ColumnType) -> Column {
    Column { required: true, ..column(name, column_type) }
}

fn from(name: &str, column_type: ColumnType, origin: Origin) -> Column {
    Column { origin, ..column(name, column_type) }
}

pub(super) fn stream(columns: Vec<Column>) -> Stream {
    let format = Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false };
    Stream {
        name: "events".to_owned(),
        columns,
        event_time: 0,
        bound: Micros(0),
        marker: None,
        idle_after: None,
        max_future: None,
        live: LiveFace::Kafka { topic: "events".to_owned(), format },
        accepts_compacted: false,
        history: None,
    }
}

pub(super) fn raw(messages: &[&[u8]]) -> RawBatch {
    let mut raw = RawBatch::new(3, &SideInputs::default());
    for (index, message) in messages.iter().enumerate() {
        let offset = 100 + 2 * index as i64;
        raw.push(RawRecord { offset, timestamp: Some(1_000 + offset), value: message }, []);
    }
    raw
}

fn decode_all(stream: &Stream, messages: &[&str]) -> Decoded {
    let messages: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
    decode(stream, &raw(&messages)).expect("the stream of the test fits together")
}

/// The rejects as "offset reason: detail".
fn rejects(decoded: &Decoded) -> Vec<String> {
    let line =
        |reject: &crate::event::Reject| format!("{} {}: {}", reject.offset, reject.reason.as_str(), reject.detail);
    decoded.rejects.iter().map(line).collect()
}

fn offsets(decoded: &Decoded) -> Vec<i64> {
    let index = decoded.records.num_columns() - 3;
    decoded.records.column(index).as_primitive::<Int64Type>().values().to_vec()
}

fn integers(batch: &RecordBatch, index: usize) -> Vec<Option<i64>> {
    batch.column(index).as_primitive::<Int64Type>().iter().collect()
}

fn texts(batch: &RecordBatch, index: usize) -> Vec<Option<String>> {
    batch.column(index).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn a_record_is_laid_out_as_the_stream_says() {
    let stream = stream(vec![required("t", ColumnType::Timestamp), column("v", ColumnType::BigInt)]);
    let decoded =
        decode_all(&stream, &[r#"{"t":"1970-01-01T00:00:01Z","v":7,"x":[1,{}]}"#, r#" {"v" : null , "t":2}"#]);
    assert_eq!(decoded.records.schema(), stream.record_schema());
    assert_eq!((decoded.partition, decoded.next_offset), (3, ResumeOffset(103)));
    assert_eq!(offsets(&decoded), [100, 102]);
    assert_eq!(decoded.records.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[1_000_000, 2_000_000]);
    assert_eq!(integers(&decoded.records, 1), [Some(7), None]);
    assert_eq!(decoded.records.column(4).as_primitive::<TimestampMicrosecondType>().values(), &[1_100, 1_102]);
    assert_eq!(decoded.records.column(5).null_count(), 2);
    assert!(decoded.rejects.is_empty());
}

#[test]
fn a_bad_record_becomes_one_reject_and_touches_nothing_else() {
    let stream = stream(vec![
        required("t", ColumnType::Timestamp),
        column("v", ColumnType::BigInt),
        column("s", ColumnType::Text),
    ]);
    let decoded = decode_all(
        &stream,
        &[
            r#"{"t":1,"v":1,"s":"a"}"#,
            r#"{"t":1,"v":"one","s":"b"}"#,
            r#"{"s":"c","v":3"#,
            r#"{"s":"d","v":4}"#,
            "",
            r#"{"t":null,"v":4}"#,
            "[1]",
            r#"{"t":1} x"#,
            r#"{"t":1,"v":9223372036854775808}"#,
            r#"{"t":1,"s":5}"#,
            r#"{"t":1,"v":2,"s":"e"}"#,
        ],
    );
    assert_eq!(offsets(&decoded), [100, 120]);
    assert_eq!(integers(&decoded.records, 1), [Some(1), Some(2)]);
    assert_eq!(texts(&decoded.records, 2), [Some("a".to_owned()), Some("e".to_owned())]);
    insta::assert_snapshot!(rejects(&decoded).join("\n"), @r#"
    102 bad_value: v BIGINT: "one" isn't a number
    104 undecodable: not readable as JSON at byte 14: expected a comma or a closing bracket
    106 null: t is null, but declared NOT NULL
    108 empty: no value, or an empty one
    110 null: t is null, but declared NOT NULL
    112 undecodable: not readable as JSON at byte 0: not an object
    114 undecodable: not readable as JSON at byte 8: bytes behind the object
    116 bad_value: v BIGINT: 9223372036854775808 is out of range
    118 bad_value: s TEXT: 5 isn't a string
    "#);
    assert_eq!(decoded.rejects[0].raw, r#"{"t":1,"v":"one","s":"b"}"#);
    assert_eq!(decoded.rejects[0].timestamp, Some(1_102));
}

#[test]
fn of_equal_keys_the_last_counts_even_if_the_first_is_bad() {
    let nested = |name: &str, field: &str| from(name, ColumnType::BigInt, Origin::Path(vec!["o".into(), field.into()]));
    let stream = stream(vec![column("v", ColumnType::BigInt), nested("a", "a"), nested("b", "b")]);
    let decoded = decode_all(
        &stream,
        &[
            r#"{"v":1,"v":2}"#,
            r#"{"v":"bad","v":3}"#,
            r#"{"v":3,"v":"bad"}"#,
            r#"{"o":{"a":1,"b":1},"o":{"b":2}}"#,
            r#"{"o":5,"o":null}"#,
            r#"{"o":5}"#,
            r#"{"\u0076":4}"#,
        ],
    );
    assert_eq!(integers(&decoded.records, 0), [Some(2), Some(3), None, None, Some(4)]);
    assert_eq!(integers(&decoded.records, 1), [None, None, None, None, None]);
    assert_eq!(integers(&decoded.records, 2), [None, None, Some(2), None, None]);
    assert_eq!(
        rejects(&decoded),
        ["104 bad_value: v BIGINT: \"bad\" isn't a number", "110 bad_value: a BIGINT: 5 isn't an object"]
    );
}

#[test]
fn a_pinned_unit_is_the_unit_of_all_integers() {
    let mut stream = stream(vec![column("t", ColumnType::Timestamp)]);
    let format = Format { kind: FormatKind::Json, timestamp_unit: Some(TimestampUnit::Milliseconds), keep_rest: false };
    stream.live = LiveFace::Kafka { topic: "events".to_owned(), format };
    let decoded = decode_all(&stream, &[r#"{"t":5}"#, r#"{"t":-1.0}"#, r#"{"t":1.5}"#]);
    assert_eq!(decoded.records.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[5_000, -1_000]);
    assert_eq!(rejects(&decoded), ["104 bad_value: t TIMESTAMP: 1.5 isn't an integer"]);
}

#[test]
fn a_character_cut_by_the_end_of_a_message_is_bad_in_both() {
    let stream = stream(vec![column("s", ColumnType::Text)]);
    let messages: [&[u8]; 3] = [b"{\"s\":\"\xc3", b"\xa4\"}", "{\"s\":\"ä\"}".as_bytes()];
    let decoded = decode(&stream, &raw(&messages)).expect("the stream of the test fits together");
    assert_eq!(texts(&decoded.records, 0), [Some("ä".to_owned())]);
    assert_eq!(decoded.rejects.len(), 2);
    assert!(decoded.rejects.iter().all(|reject| reject.detail == "not readable as UTF-8"));
}

#[test]
fn metadata_columns_come_from_the_log() {
    let metadata = |name: &str, column_type, metadata| from(name, column_type, Origin::Metadata(metadata));
    let stream = stream(vec![
        metadata("t", ColumnType::Timestamp, Metadata::Timestamp),
        Column { required: true, ..metadata("k", ColumnType::Text, Metadata::Key) },
        metadata("kb", ColumnType::Bytes, Metadata::Key),
        metadata("h", ColumnType::Text, Metadata::Header("trace".to_owned())),
        metadata("p", ColumnType::Int, Metadata::Partition),
        metadata("o", ColumnType::BigInt, Metadata::Offset),
    ]);
    let mut decoder = Decoder::new(&stream).expect("the stream of the test fits together");
    let mut raw = RawBatch::new(7, decoder.inputs());
    let keys: [Option<&[u8]>; 4] = [Some(b"k0"), None, Some(b"\xff"), Some(b"")];
    for (offset, key) in keys.into_iter().enumerate() {
        let header: Option<&[u8]> = (offset == 0).then_some(b"h0");
        raw.push(RawRecord { offset: offset as i64, timestamp: None, value: b"{}" }, [key, header]);
    }
    let decoded = decoder.decode(&raw, ResumeOffset(4));
    assert_eq!(
        rejects(&decoded),
        ["1 null: k is null, but declared NOT NULL", "2 bad_value: k TEXT: not readable as UTF-8"]
    );
    assert_eq!(texts(&decoded.records, 1), [Some("k0".to_owned()), Some(String::new())]);
    assert_eq!(texts(&decoded.records, 3), [Some("h0".to_owned()), None]);
    assert_eq!(decoded.records.column(2).as_binary::<i32>().value(0), b"k0");
    assert_eq!(integers(&decoded.records, 5), [Some(0), Some(3)]);
}

#[test]
fn metadata_in_a_column_of_another_type_is_refused() {
    let stream = stream(vec![from("o", ColumnType::Int, Origin::Metadata(Metadata::Offset))]);
    let error = Decoder::new(&stream).expect_err("an offset doesn't fit an INT");
    assert_eq!(error.to_string(), "column o takes METADATA 'offset', which needs BIGINT, not INT");
}

/// `1000 / v` as a column: fails where v is 0.
fn computed_stream(required: bool) -> Stream {
    let expression = Arc::new(BinaryExpr::new(
        Arc::new(Literal::new(ScalarValue::Int64(Some(1000)))),
        Operator::Divide,
        Arc::new(ColumnExpr::new("v", 0)),
    ));
    let computed = Origin::Computed(Computed { sql: "1000 / v".to_owned(), expression });
    stream(vec![column("v", ColumnType::BigInt), Column { required, ..from("share", ColumnType::BigInt, computed) }])
}

#[test]
fn a_failing_expression_rejects_only_its_record() {
    let messages: Vec<String> =
        (-5..8).map(|v| if v == 3 { "{}".to_owned() } else { format!(r#"{{"v":{v}}}"#) }).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    let decoded = decode_all(&computed_stream(false), &messages);
    assert_eq!(decoded.records.num_rows(), 12);
    assert_eq!(integers(&decoded.records, 1)[..5], [-200, -250, -333, -500, -1000].map(Some));
    assert_eq!(rejects(&decoded), ["110 bad_value: share AS 1000 / v: Arrow error: Divide by zero error"]);
    let decoded = decode_all(&computed_stream(true), &messages);
    assert_eq!(decoded.records.num_rows(), 11);
    assert_eq!(rejects(&decoded)[1], "116 null: share AS 1000 / v is null, but declared NOT NULL");
    assert_eq!(offsets(&decoded)[5..], [112, 114, 118, 120, 122, 124]);
}

#[test]
fn an_expression_of_another_type_than_its_column_is_refused() {
    let expression: Arc<dyn PhysicalExpr> =
        Arc::new(CastExpr::new(Arc::new(ColumnExpr::new("v", 0)), DataType::Int32, None));
    let computed = Origin::Computed(Computed { sql: "CAST(v AS INT)".to_owned(), expression });
    let stream = stream(vec![column("v", ColumnType::BigInt), from("w", ColumnType::BigInt, computed)]);
    let error = Decoder::new(&stream).expect_err("an INT isn't a BIGINT");
    assert_eq!(error.to_string(), "column w is computed wrongly: it gives Int32, the column is BIGINT; add a cast");
}

#[test]
fn csv_cells_follow_the_rules_of_json() {
    let stream = stream(vec![
        required("t", ColumnType::Timestamp),
        column("s", ColumnType::Text),
        column("v", ColumnType::Int),
        column("a", ColumnType::Array(Box::new(ColumnType::BigInt))),
        column("gone", ColumnType::Text),
    ]);
    let mut decoder = Decoder::with_csv_header(&stream, b"\xef\xbb\xbfv,t,s,a").expect("the header has the columns");
    let rows: [&[u8]; 8] = [
        b"1,1970-01-01 00:00:01,\"a,\"\"b\"\"\",\"[1,2]\"",
        b"2.0,1,,",
        b"x,1,,",
        b"1,,,",
        b"1,1",
        b"",
        b"1,1,\"open,",
        b"1,1,\"\",",
    ];
    let decoded = decoder.decode(&raw(&rows), ResumeOffset(200));
    assert_eq!(offsets(&decoded), [100, 102, 114]);
    assert_eq!(texts(&decoded.records, 1), [Some("a,\"b\"".to_owned()), None, Some(String::new())]);
    insta::assert_snapshot!(rejects(&decoded).join("\n"), @r#"
    104 bad_value: v INT: x isn't a number
    106 null: t is null, but declared NOT NULL
    108 undecodable: 2 cells, but 4 in the header
    110 empty: no value, or an empty one
    112 undecodable: a quoted cell has no end
    "#);
    let error = Decoder::with_csv_header(&stream, b"v,s").expect_err("t is required");
    assert_eq!(error.to_string(), "column t is NOT NULL, but the file has no \"t\"; it has: v, s");
}

/// One column of every type, nested ones, and paths into objects.
fn wide_stream() -> Stream {
    let path = |name: &str, column_type, path: &[&str]| {
        from(name, column_type, Origin::Path(path.iter().map(|part| (*part).to_owned()).collect()))
    };
    let field = |name: &str, column_type| FieldType { name: name.to_owned(), column_type };
    let point = ColumnType::Struct(vec![
        field("x", ColumnType::Double),
        field("tags", ColumnType::Array(Box::new(ColumnType::Text))),
    ]);
    stream(vec![
        required("t", ColumnType::Timestamp),
        column("flag", ColumnType::Boolean),
        column("small", ColumnType::Int),
        column("big", ColumnType::BigInt),
        column("single", ColumnType::Float),
        column("double", ColumnType::Double),
        column("money", ColumnType::Decimal { precision: 12, scale: 3 }),
        column("text", ColumnType::Text),
        column("bytes", ColumnType::Bytes),
        column("day", ColumnType::Date),
        column("id", ColumnType::Uuid),
        column("list", ColumnType::Array(Box::new(ColumnType::BigInt))),
        column("point", point.clone()),
        column("points", ColumnType::Array(Box::new(point))),
        path("inner", ColumnType::BigInt, &["o", "inner"]),
        path("deep", ColumnType::Text, &["o", "p", "deep"]),
        path("whole", ColumnType::Struct(vec![field("deep", ColumnType::Text)]), &["o", "p"]),
    ])
}

fn agree(stream: &Stream, decoder: &mut Decoder, messages: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let decoded = decoder.decode(&raw(&messages), ResumeOffset(0));
    let mut good = reference::cells(&decoded.records, stream.columns.len()).into_iter();
    let mut bad = decoded.rejects.iter();
    for message in messages {
        let shown = String::from_utf8_lossy(message).into_owned();
        match reference::decode(stream, message) {
            Ok(cells) => prop_assert_eq!(Some(cells), good.next(), "{}", shown),
            Err(reason) => {
                let reject = bad.next();
                prop_assert_eq!(Some(reason), reject.map(|reject| reject.reason), "{} {:?}", shown, reject);
            }
        }
    }
    prop_assert!(good.next().is_none() && bad.next().is_none());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn decoding_equals_the_slow_decoder(seed in any::<u64>()) {
        let stream = wide_stream();
        let mut decoder = Decoder::new(&stream).expect("the stream of the test fits together");
        let mut messages = messages::Messages::new(seed, &stream);
        // The same decoder twice: what it has learned about the layout must not show.
        for _ in 0..2 {
            let batch: Vec<Vec<u8>> = (0..20).map(|_| messages.next_message()).collect();
            agree(&stream, &mut decoder, &batch)?;
        }
    }

    #[test]
    fn no_bytes_panic(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let stream = wide_stream();
        let mut decoder = Decoder::new(&stream).expect("the stream of the test fits together");
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let decoded = decoder.decode(&raw(&messages), ResumeOffset(0));
        prop_assert_eq!(decoded.records.num_rows() + decoded.rejects.len(), messages.len());
        prop_assert!(decoded.rejects.iter().all(|reject| reject.reason != RejectReason::Future));
    }
}

#[test]
fn random_messages_are_good_and_bad_often_enough() {
    let stream = wide_stream();
    let mut messages = messages::Messages::new(1, &stream);
    let good = (0..2_000).filter(|_| reference::decode(&stream, &messages.next_message()).is_ok()).count();
    assert!((400..1_600).contains(&good), "{good} of 2,000 are good");
}

#[test]
fn deep_nesting_is_undecodable_not_fatal() {
    let stream = wide_stream();
    let deep = format!("{{\"t\":1,\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let decoded = decode_all(&stream, &[&deep]);
    assert_eq!(decoded.rejects[0].reason, RejectReason::Undecodable);
}
