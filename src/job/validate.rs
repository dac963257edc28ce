//! From a `CREATE STREAM` as written to a [`Stream`] that every part of the program can rely on.
//! Everything that can be judged without a query is judged here; all problems of a stream are found at once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{CastExpr, Literal};
use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::tokenizer::Span;

use super::definition::{ColumnDefinition, OriginDefinition, Spanned, StreamDefinition, WatermarkDefinition};
use super::problem::{Problem, Problems};
use super::query::{plan_computed, plan_when};
use super::suggest::did_you_mean;
use crate::event::{
    Column, ColumnType, Computed, FormatKind, LiveFace, Metadata, Micros, OFFSET, Origin, PARTITION, REST, SEEN,
    Stream, TIMESTAMP,
};

/// MAX FUTURE where a job doesn't say otherwise.
const MAX_FUTURE_DEFAULT: Micros = Micros::from_seconds(3600);

/// Columns that windows add; a stream can't have its own of that name.
const WINDOW_NAMES: [&str; 4] = ["window_start", "window_end", "window_time", "window_reason"];

/// Validates all streams; those that are fine, in their order. A stream that wasn't parsed whole (`is_broken` tells) isn't
/// blamed for what may be missing because of that.
pub(super) fn validate_streams(
    definitions: &[StreamDefinition],
    is_broken: impl Fn(&str) -> bool,
    problems: &mut Problems,
) -> Vec<Arc<Stream>> {
    let mut streams: Vec<Arc<Stream>> = Vec::new();
    for (index, definition) in definitions.iter().enumerate() {
        let name = &definition.name;
        problems.set_file(definition.file);
        let twice = definitions[..index].iter().any(|other| other.name.value.eq_ignore_ascii_case(&name.value));
        if twice {
            problems.add(name.span, format!("a second stream `{}`", name.value), "give one of them another name");
        }
        let whole = if is_broken(&name.value) { Whole::No } else { Whole::Yes };
        let valid = validate(definition, whole, problems).filter(|_| !twice);
        streams.extend(valid.map(Arc::new));
    }
    problems.set_file(0);
    streams
}

/// Whether all of a statement could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

fn validate(definition: &StreamDefinition, whole: Whole, problems: &mut Problems) -> Option<Stream> {
    let wrong_before = problems.len();
    check_stream_name(&definition.name, problems);
    check_names(&definition.columns, problems);
    let live = live_face(definition, whole, problems);
    if let Some(live) = &live {
        for column in &definition.columns {
            check_origin(column, live, problems);
        }
    }
    let watermark = watermark(definition, whole, problems);
    if whole == Whole::No {
        return None;
    }
    let columns = plan_columns(&definition.columns, problems)?;
    let when = definition.watermark.as_ref().and_then(|watermark| watermark.when.as_deref());
    let marker = when.and_then(|when| plan_when(when, &columns, problems));
    if problems.len() > wrong_before {
        return None;
    }
    let (watermark, event_time) = watermark?;
    let live = live?;
    let max_future = match &live {
        // A file has no record timestamps to compare with.
        LiveFace::File { .. } => None,
        LiveFace::Kafka { .. } => watermark.max_future.unwrap_or(Some(MAX_FUTURE_DEFAULT)),
    };
    Some(Stream {
        name: definition.name.value.clone(),
        columns,
        event_time,
        bound: watermark.bound,
        marker,
        idle_after: watermark.idle_after,
        max_future,
        live,
        accepts_compacted: definition.accepts_compacted,
        history: definition.history.as_ref().map(|history| history.value.clone()),
    })
}

fn check_stream_name(name: &Spanned<String>, problems: &mut Problems) {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.value.is_empty()
        || !name.value.chars().all(plain)
        || name.value.starts_with(|first: char| first.is_ascii_digit())
    {
        let help = "names of streams are letters, digits and `_`: they become part of names of tables";
        problems.add(name.span, format!("`{}` can't be the name of a stream", name.value), help);
    }
}

fn check_names(columns: &[ColumnDefinition], problems: &mut Problems) {
    for (index, column) in columns.iter().enumerate() {
        let name = &column.name.value;
        let before = columns[..index].iter().find(|other| other.name.value.eq_ignore_ascii_case(name));
        if let Some(before) = before {
            let (message, help) = match before.name.value == *name {
                true => (format!("a second column `{name}`"), "give one of them another name: name TYPE FROM 'field'"),
                false => (
                    format!(
                        "`{}` and `{name}` differ in their case only, and many readers of tables can't tell them apart",
                        before.name.value
                    ),
                    "give one of them another name: name TYPE FROM 'field'",
                ),
            };
            problems.add(column.name.span, message, help);
        }
        if let Some((message, help)) = refused_name(name) {
            problems.add(column.name.span, message, help);
        }
    }
}

fn refused_name(name: &str) -> Option<(String, String)> {
    let small = name.to_ascii_lowercase();
    let other = |name: &str| format!("give it another name: name TYPE FROM '{name}'");
    if [PARTITION, OFFSET, TIMESTAMP, SEEN].iter().any(|system| small.starts_with(system)) {
        let message = format!(
            "`{name}` can't be a column: names that begin with _partition, _offset, _timestamp or _seen are the history's own"
        );
        return Some((message, other(name)));
    }
    if small == REST {
        let message = format!("`{name}` can't be a column: the history keeps undeclared fields under that name");
        return Some((message, other(name)));
    }
    if WINDOW_NAMES.contains(&small.as_str()) {
        return Some((format!("`{name}` can't be a column: windows add one of that name"), other(name)));
    }
    if name.is_empty() || name.contains('.') || name.chars().any(char::is_control) {
        let help = "names have no dots; a field inside another one is read by: name TYPE FROM 'outer.inner'";
        return Some((format!("`{name}` can't be the name of a column"), help.to_owned()));
    }
    None
}

fn live_face(definition: &StreamDefinition, whole: Whole, problems: &mut Problems) -> Option<LiveFace> {
    if definition.live.is_none() && whole == Whole::Yes {
        let message = format!("stream `{}` has no LIVE FROM", definition.name.value);
        let help = "write LIVE FROM KAFKA 'topic' FORMAT JSON, or LIVE FROM FILE 'path.jsonl', behind the columns";
        problems.add(definition.name.span, message, help);
    }
    Some(definition.live.as_ref()?.value.clone())
}

/// Whether what a column comes from is there, and of the column's type.
fn check_origin(column: &ColumnDefinition, live: &LiveFace, problems: &mut Problems) {
    let kind = match live {
        LiveFace::Kafka { format, .. } | LiveFace::File { format, .. } => format.kind,
    };
    let column_type = &column.column_type;
    let name = &column.name.value;
    match &column.origin {
        OriginDefinition::Path(path) if kind == FormatKind::Csv => {
            if path.len() > 1 {
                let message =
                    format!("`{name}` is read from `{}`, and CSV has no fields inside others", path.join("."));
                problems.add(column.name.span, message, "name one column of the file's header");
            }
            if matches!(column_type.value, ColumnType::Array(_) | ColumnType::Struct(_)) {
                let help = "declare it as TEXT";
                problems.add(column_type.span, format!("CSV has no values of type {}", column_type.value), help);
            }
        }
        OriginDefinition::Metadata(metadata) => check_metadata(column, metadata, live, problems),
        OriginDefinition::Path(_) | OriginDefinition::Computed(_) => {}
    }
}

fn check_metadata(column: &ColumnDefinition, metadata: &Spanned<Metadata>, live: &LiveFace, problems: &mut Problems) {
    let column_type = &column.column_type;
    let (what, fits, types) = match &metadata.value {
        Metadata::Timestamp => ("the timestamp", column_type.value == ColumnType::Timestamp, "TIMESTAMP"),
        Metadata::Key => {
            ("the key", matches!(column_type.value, ColumnType::Text | ColumnType::Bytes), "TEXT or BYTES")
        }
        Metadata::Partition => ("the partition", column_type.value == ColumnType::Int, "INT"),
        Metadata::Offset => ("the offset", column_type.value == ColumnType::BigInt, "BIGINT"),
        Metadata::Header(_) => {
            ("a header", matches!(column_type.value, ColumnType::Text | ColumnType::Bytes), "TEXT or BYTES")
        }
    };
    if !fits {
        let message = format!("{what} of a record is {types}, not {}", column_type.value);
        let help =
            format!("declare {} {types}; compute anything else from it: name TYPE AS expression", column.name.value);
        problems.add(column_type.span, message, help);
    }
    let in_files = matches!(metadata.value, Metadata::Partition | Metadata::Offset);
    if column.required && !in_files && matches!(live, LiveFace::File { .. }) {
        let message =
            format!("rows of a file have no such thing as {what} of a record, so every one would be rejected");
        problems.add(metadata.span, message, "leave out NOT NULL: the column is then null for files");
    }
}

/// The watermark clause and the index of its column, when both are fine.
fn watermark<'a>(
    definition: &'a StreamDefinition,
    whole: Whole,
    problems: &mut Problems,
) -> Option<(&'a WatermarkDefinition, usize)> {
    let Some(watermark) = &definition.watermark else {
        if whole == Whole::No {
            return None;
        }
        let message = format!("stream `{}` has no watermark, so no window could ever close", definition.name.value);
        problems.add(definition.name.span, message, missing_watermark_help(&definition.columns));
        return None;
    };
    let name = &watermark.column;
    let found = definition.columns.iter().position(|column| column.name.value == name.value);
    let Some(index) = found else {
        if whole == Whole::No {
            return None;
        }
        let names = definition.columns.iter().map(|column| column.name.value.as_str());
        let help = did_you_mean(&name.value, names, "declare it: name TIMESTAMP NOT NULL");
        problems.add(name.span, format!("the watermark's column `{}` isn't declared", name.value), help);
        return None;
    };
    let column = &definition.columns[index];
    if column.column_type.value != ColumnType::Timestamp {
        let message = format!("the event time `{}` is {}, not TIMESTAMP", name.value, column.column_type.value);
        let help = format!(
            "declare {} TIMESTAMP NOT NULL: RFC 3339 texts and integer seconds, milliseconds or microseconds are read as such",
            name.value
        );
        problems.add(column.column_type.span, message, help);
        return None;
    }
    if !column.required {
        let message = format!("the event time `{}` may be null, and such a record belongs to no window", name.value);
        let help = format!("declare {} TIMESTAMP NOT NULL: records without it are then rejected", name.value);
        problems.add(column.name.span, message, help);
        return None;
    }
    Some((watermark, index))
}

fn missing_watermark_help(columns: &[ColumnDefinition]) -> String {
    let timestamps: Vec<&ColumnDefinition> =
        columns.iter().filter(|column| column.column_type.value == ColumnType::Timestamp).collect();
    let name = match timestamps.as_slice() {
        [column] => column.name.value.as_str(),
        _ => "t",
    };
    format!(
        "write WATERMARK FOR {name} AS {name} - INTERVAL '15 seconds' behind the columns, with {name} TIMESTAMP NOT NULL"
    )
}

/// The columns with their expressions planned; `None` if one can't be.
fn plan_columns(definitions: &[ColumnDefinition], problems: &mut Problems) -> Option<Vec<Column>> {
    let mut columns: Vec<Column> = definitions.iter().map(unplanned).collect();
    let schema = Schema::new(
        columns
            .iter()
            .map(|column| arrow::datatypes::Field::new(&column.name, column.column_type.arrow(), true))
            .collect::<Vec<_>>(),
    );
    let mut planned = Vec::new();
    let mut fine = true;
    for (index, definition) in definitions.iter().enumerate() {
        let OriginDefinition::Computed(expression) = &definition.origin else { continue };
        match plan_one(definition, expression, &columns, &schema, problems) {
            Some(computed) => planned.push((index, computed)),
            None => fine = false,
        }
    }
    for (index, computed) in planned {
        columns[index].origin = Origin::Computed(computed);
    }
    fine.then_some(columns)
}

/// The column; a computed one still without its expression, which can't name it or another computed one.
fn unplanned(definition: &ColumnDefinition) -> Column {
    let origin = match &definition.origin {
        OriginDefinition::Path(path) => Origin::Path(path.clone()),
        OriginDefinition::Metadata(metadata) => Origin::Metadata(metadata.value.clone()),
        OriginDefinition::Computed(_) => {
            Origin::Computed(Computed { sql: String::new(), expression: Arc::new(Literal::new(ScalarValue::Null)) })
        }
    };
    Column {
        name: definition.name.value.clone(),
        column_type: definition.column_type.value.clone(),
        required: definition.required,
        origin,
    }
}

fn plan_one(
    definition: &ColumnDefinition,
    expression: &Spanned<Expr>,
    columns: &[Column],
    schema: &Schema,
    problems: &mut Problems,
) -> Option<Computed> {
    let computed = plan_computed(expression, columns, problems)?;
    let declared = definition.column_type.value.arrow();
    let Ok(actual) = computed.expression.data_type(schema) else {
        problems.add(expression.span, "this expression has no type", "cast it: CAST(… AS TYPE)");
        return None;
    };
    if actual == declared {
        return Some(computed);
    }
    if !widens(&actual, &declared) {
        problems.push(other_type(definition, expression.span, &actual));
        return None;
    }
    let cast: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(computed.expression, declared, None));
    Some(Computed { sql: computed.sql, expression: cast })
}

/// Whether every value of `from` is one of `to`.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, Null,
        UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    match (from, to) {
        (Null, _)
        | (Utf8View | LargeUtf8, Utf8)
        | (BinaryView | LargeBinary, Binary)
        | (Int8 | Int16 | UInt8 | UInt16, Int32 | Int64)
        | (Int32 | UInt32, Int64)
        | (Int8 | Int16 | UInt8 | UInt16, Float32)
        | (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 | Float32, Float64) => true,
        // Coarser instants, and finer ones, which are cut like those of messages.
        (DataType::Timestamp(_, _), DataType::Timestamp(_, _)) => true,
        (Decimal128(p, s), Decimal128(precision, scale)) => {
            s <= scale && i32::from(*p) - i32::from(*s) <= i32::from(*precision) - i32::from(*scale)
        }
        _ => false,
    }
}

fn other_type(definition: &ColumnDefinition, span: Span, actual: &DataType) -> Problem {
    let declared = &definition.column_type.value;
    let name = &definition.name.value;
    let (actual_name, help) = match declarable(actual) {
        Some(declarable) => (
            declarable.to_string(),
            format!("declare {name} {declarable}, or write CAST(… AS {declared}), which gives NULL where it fails"),
        ),
        None => (actual.to_string(), format!("write CAST(… AS {declared}), which gives NULL where it fails")),
    };
    Problem::new(span, format!("`{name}` is declared as {declared}, but this is {actual_name}"), help)
}

/// The type that a column must be declared with to carry `data_type`.
fn declarable(data_type: &DataType) -> Option<ColumnType> {
    Some(match data_type {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => ColumnType::Int,
        DataType::Int64 | DataType::UInt32 => ColumnType::BigInt,
        DataType::Float16 | DataType::Float32 => ColumnType::Float,
        DataType::Float64 => ColumnType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            ColumnType::Decimal { precision: *precision, scale: *scale }
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => ColumnType::Text,
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => ColumnType::Bytes,
        DataType::Date32 => ColumnType::Date,
        DataType::Timestamp(_, _) => ColumnType::Timestamp,
        DataType::List(item) => ColumnType::Array(Box::new(declarable(item.data_type())?)),
        _ => return None,
    })
}
