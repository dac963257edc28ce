//! Queries planned, and their expressions evaluated on small batches.

mod aggregates;
mod composed;
mod expressions;
mod plans;
mod records;
mod refusals;
mod sets;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_sql::sqlparser::ast::{Query, Statement};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use crate::event::{
    Column, ColumnType, FieldType, Format, FormatKind, LiveFace, Micros, Origin, PartitionField, Stream,
    TIMESTAMP_ZONE, TableName, Transform,
};
use crate::job::definition::{InsertDefinition, Spanned, WindowCall, WindowFunction, WindowInput};
use crate::job::interval::Length;
use crate::job::plan::Insert;
use crate::job::{Problem, Problems};

use super::plan_insert;

fn span() -> Span {
    Span::new(Location::new(9, 1), Location::new(9, 5))
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned { value, span: span() }
}

/// Columns of the stream `s` of all tests.
fn columns() -> Vec<Column> {
    let column = |name: &str, column_type: ColumnType| Column {
        name: name.to_owned(),
        column_type,
        required: name == "t",
        origin: Origin::Path(vec![name.to_owned()]),
    };
    vec![
        column("host", ColumnType::Text),
        column("bytes", ColumnType::BigInt),
        column("status", ColumnType::Int),
        column("score", ColumnType::Double),
        column("price", ColumnType::Decimal { precision: 10, scale: 2 }),
        column("t", ColumnType::Timestamp),
        column("day", ColumnType::Date),
        column("tags", ColumnType::Array(Box::new(ColumnType::Text))),
        column("place", ColumnType::Struct(vec![FieldType { name: "city".to_owned(), column_type: ColumnType::Text }])),
    ]
}

fn stream() -> Arc<Stream> {
    Arc::new(Stream {
        name: "s".to_owned(),
        columns: columns(),
        event_time: 5,
        bound: Micros(0),
        marker: None,
        idle_after: None,
        max_future: None,
        live: LiveFace::File {
            path: "s.jsonl".to_owned(),
            format: Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false },
        },
        accepts_compacted: false,
        history: None,
    })
}

/// An INSERT around `sql`, which reads the window of `s` as the table `s`.
fn definition(sql: &str) -> InsertDefinition {
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql).expect("the test's SQL is well formed");
    let Statement::Query(query) = statements.remove(0) else { panic!("{sql} is no query") };
    definition_of(query)
}

fn definition_of(query: Box<Query>) -> InsertDefinition {
    InsertDefinition {
        table: spanned(TableName::parse("marts.result").expect("two parts")),
        partitioned_by: None,
        query,
        windows: vec![WindowCall {
            partition_by: Vec::new(),
            relation: "s".to_owned(),
            span: span(),
            function: WindowFunction::Tumble {
                size: spanned(Length::Fixed(Micros::from_seconds(60))),
                offset: None,
                zone: None,
            },
            input: WindowInput::Named(spanned("s".to_owned())),
            time: spanned("t".to_owned()),
        }],
        allow_lateness: None,
        late_into: None,
        publish: None,
    }
}

fn partition(column: &str, transform: Transform) -> Spanned<PartitionField> {
    spanned(PartitionField { column: column.to_owned(), transform })
}

fn plan_of(insert: &InsertDefinition) -> Result<Insert, Vec<Problem>> {
    let mut problems = Problems::default();
    let planned = plan_insert(insert, &[stream()], &[], &mut problems);
    let problems = problems.into_sorted();
    assert_eq!(planned.is_some(), problems.is_empty(), "a plan or problems: {problems:?}");
    planned.ok_or(problems)
}

fn plan(sql: &str) -> Insert {
    plan_of(&definition(sql)).unwrap_or_else(|problems| panic!("{sql}: {problems:#?}"))
}

/// Problems as `line:column-column message (help)`.
fn refused(insert: &InsertDefinition) -> Vec<String> {
    let problems = plan_of(insert).expect_err("the query is refused");
    problems
        .into_iter()
        .map(|problem| {
            let span = problem.span.expect("every problem of a query has a place");
            let (start, end) = (span.start, span.end);
            let help = problem.help.map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{}:{}-{} {}{help}", start.line, start.column, end.column, problem.message)
        })
        .collect()
}

/// Five records; the last is all null but for its time.
fn records() -> RecordBatch {
    let schema = stream().record_schema();
    let second = 1_000_000;
    let times = |values: [i64; 5]| -> ArrayRef {
        Arc::new(
            TimestampMicrosecondArray::from(values.map(|value| value * second).to_vec()).with_timezone(TIMESTAMP_ZONE),
        )
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a.example"), Some("b.example"), Some("a.example"), Some("12"), None])),
        Arc::new(Int64Array::from(vec![Some(10), Some(0), Some(-7), Some(4), None])),
        Arc::new(Int32Array::from(vec![Some(200), Some(404), Some(200), Some(500), None])),
        Arc::new(Float64Array::from(vec![Some(0.0), Some(-0.0), Some(f64::NAN), Some(1.5), None])),
        Arc::new(
            arrow::array::Decimal128Array::from(vec![Some(150), Some(0), Some(-250), Some(1), None])
                .with_precision_and_scale(10, 2)
                .expect("as the column is declared"),
        ),
        times([3600, 3601, 3602, 3603, 3604]),
    ];
    for field in &schema.fields()[columns.len()..] {
        columns.push(match field.name().as_str() {
            "_partition" => Arc::new(Int32Array::from(vec![0, 0, 1, 1, 0])),
            "_offset" => Arc::new(Int64Array::from(vec![0, 1, 0, 1, 2])),
            _ => new_null_array(field.data_type(), 5),
        });
    }
    RecordBatch::try_new(schema, columns).expect("the columns fit the schema")
}

/// Values of an array as text; null is `null`.
fn texts(array: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).expect("all types can be shown");
    (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
}
