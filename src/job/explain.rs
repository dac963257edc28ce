//! What a plan does, in words and numbers: for people, and as a document with stable names for programs.
//! Pure: says what the plan says, decides nothing.

mod difference;
mod text;

use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::displayable;
use serde::Serialize;

use super::above::Above;
use super::plan::{Aggregate, Insert, Kept, Key, Plan, Publish, ResultColumn};
use crate::event::{
    Column, FormatKind, LiveFace, Metadata, Origin, PartitionField, Stream, TableName, TimestampUnit, Transform,
};
use crate::windows::{Window, WindowEdge, WindowExplanation};

pub use difference::{describe, difference};

/// A job's plan, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job's name.
    pub job: String,
    /// Its version.
    pub fingerprint: String,
    /// The streams that it reads.
    pub streams: Vec<StreamExplanation>,
    /// What it publishes.
    pub inserts: Vec<InsertExplanation>,
}

/// A stream: its faces, and what decides which records count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamExplanation {
    /// Name in the job file.
    pub name: String,
    /// Where live records come from, as in the job file.
    pub live: String,
    /// The history table, if there is one.
    pub history: Option<String>,
    /// Where records go that can't be read.
    pub rejects: String,
    /// Declared columns.
    pub columns: Vec<ColumnExplanation>,
    /// The event-time column.
    pub event_time: String,
    /// How far behind `seen` a record may be, in microseconds.
    pub bound_us: i64,
    /// WHEN: what marker records are told by; none: every record is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// Time at its end after which a partition leaves the watermark, in milliseconds; none: it never does.
    pub idle_after_ms: Option<u64>,
    /// How far ahead of the log's timestamp an event time may be, in microseconds; none: any.
    pub max_future_us: Option<i64>,
}

/// A column of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnExplanation {
    /// Name.
    pub name: String,
    /// Declared type.
    #[serde(rename = "type")]
    pub column_type: String,
    /// A null rejects the record.
    pub required: bool,
    /// Where it comes from, unless from the field of its own name.
    pub from: Option<String>,
}

/// An UNNEST.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnnestExplanation {
    /// Each element of it is a row.
    pub list: String,
    /// Which rows stay.
    pub filter: Option<String>,
}

/// One INSERT.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsertExplanation {
    /// The result table.
    pub result: String,
    /// The stream that it reads.
    pub stream: String,
    /// WHERE.
    pub filter: Option<String>,
    /// UNNEST: the list whose elements are rows, and which of them stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unnest: Option<UnnestExplanation>,
    /// The window.
    pub window: WindowExplanation,
    /// The window above it, which takes its results; the result's rows are of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<WindowExplanation>,
    /// ALLOW LATENESS, in microseconds.
    pub allowed_lateness_us: i64,
    /// Group keys beside the window.
    pub keys: Vec<NamedExpression>,
    /// Aggregates.
    pub aggregates: Vec<AggregateExplanation>,
    /// What else is read: other streams of the same window, other windows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_reads: Vec<AlsoReads>,
    /// HAVING.
    pub having: Option<String>,
    /// Whether a window keeps its records one by one: the columns that the query uses are then the keys.
    pub keeps_records: bool,
    /// What is done with the rows of closed windows, one operator a line, the last first.
    pub above: Vec<String>,
    /// Result columns.
    pub columns: Vec<ResultExplanation>,
    /// How the result is partitioned.
    pub partitions: Vec<String>,
    /// The window column by which ranges of a backfill are meant.
    pub range_column: String,
    /// Columns that rows of a file are sorted by.
    pub sorted_by: Vec<String>,
    /// Where late records go.
    pub late: String,
    /// When rows become visible: `each_window` or `whole_partitions`.
    pub publish: &'static str,
    /// What is kept, and for how long.
    pub state: StateExplanation,
    /// What a backfill reads.
    pub backfill: BackfillExplanation,
}

/// Records that an INSERT reads beside the first ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlsoReads {
    /// The stream.
    pub stream: String,
    /// WHERE.
    pub filter: Option<String>,
    /// The window; none where the records come to those before.
    pub window: Option<WindowExplanation>,
    /// Group keys beside the window.
    pub keys: Vec<NamedExpression>,
    /// Aggregates.
    pub aggregates: Vec<AggregateExplanation>,
    /// Whether a window keeps its records one by one.
    pub keeps_records: bool,
    /// Where late records go.
    pub late: String,
}

/// An expression under a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedExpression {
    /// The name.
    pub name: String,
    /// The expression.
    pub expression: String,
}

/// One aggregate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AggregateExplanation {
    /// The call.
    pub expression: String,
    /// FILTER.
    pub filter: Option<String>,
}

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultExplanation {
    /// Name.
    pub name: String,
    /// Type, as a stream would declare it.
    #[serde(rename = "type")]
    pub column_type: String,
    /// What it is computed from.
    pub expression: String,
}

/// What is kept for open windows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateExplanation {
    /// Columns that tell one set of accumulators from another.
    pub per: Vec<String>,
    /// Accumulators of a set.
    pub accumulators: usize,
    /// Event time from the start of a window to the newest record, in microseconds, after which its state is gone, if all
    /// partitions stand at the same time.
    pub held_us: i64,
}

/// What a backfill reads beside its range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackfillExplanation {
    /// Event time before the range, at most, in microseconds.
    pub warm_up_us: i64,
    /// Event time after the range, at most, in microseconds.
    pub run_out_us: i64,
}

/// Explains a plan.
pub fn explain(plan: &Plan) -> Explanation {
    let first_result = plan.inserts.first().map(|insert| &insert.table);
    Explanation {
        job: plan.name.clone(),
        fingerprint: plan.fingerprint.clone(),
        streams: plan.streams.iter().map(|stream| explain_stream(stream, first_result)).collect(),
        inserts: plan.inserts.iter().map(|insert| explain_insert(plan, insert)).collect(),
    }
}

fn explain_stream(stream: &Stream, first_result: Option<&TableName>) -> StreamExplanation {
    // Rejects are stored once: beside the history, which `archive` writes, else beside the first result.
    let rejects = stream.history.as_ref().or(first_result).map(|table| table.with_suffix("_rejects").to_string());
    StreamExplanation {
        name: stream.name.clone(),
        live: live_face(&stream.live),
        history: stream.history.as_ref().map(ToString::to_string),
        rejects: rejects.unwrap_or_default(),
        columns: stream.columns.iter().map(explain_column).collect(),
        event_time: stream.columns[stream.event_time].name.clone(),
        bound_us: stream.bound.0,
        marker: stream.marker.as_ref().map(|marker| marker.sql.clone()),
        idle_after_ms: stream.idle_after.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
        max_future_us: stream.max_future.map(|future| future.0),
    }
}

fn explain_column(column: &Column) -> ColumnExplanation {
    let from = match &column.origin {
        Origin::Path(path) if *path == [column.name.as_str()] => None,
        Origin::Path(path) => Some(format!("FROM '{}'", path.join("."))),
        Origin::Metadata(metadata) => Some(format!("FROM METADATA '{}'", metadata_name(metadata))),
        Origin::Computed(computed) => Some(format!("AS {}", computed.sql)),
        Origin::Rest => Some("FROM all that is not declared".to_owned()),
    };
    let column_type = column.column_type.to_string();
    ColumnExplanation { name: column.name.clone(), column_type, required: column.required, from }
}

fn metadata_name(metadata: &Metadata) -> String {
    match metadata {
        Metadata::Timestamp => "timestamp".to_owned(),
        Metadata::Key => "key".to_owned(),
        Metadata::Partition => "partition".to_owned(),
        Metadata::Offset => "offset".to_owned(),
        Metadata::Header(name) => format!("header:{name}"),
    }
}

fn live_face(face: &LiveFace) -> String {
    let (place, format) = match face {
        LiveFace::Kafka { topic, format } => (format!("KAFKA '{topic}'"), format),
        LiveFace::File { path, format } => (format!("FILE '{path}'"), format),
    };
    let kind = match format.kind {
        FormatKind::Json => "JSON",
        FormatKind::Csv => "CSV",
        FormatKind::Parquet => "PARQUET",
    };
    let unit = format.timestamp_unit.map(|unit| match unit {
        TimestampUnit::Seconds => "timestamp_unit = 's'",
        TimestampUnit::Milliseconds => "timestamp_unit = 'ms'",
        TimestampUnit::Microseconds => "timestamp_unit = 'us'",
    });
    let rest = format.keep_rest.then_some("keep_rest = true");
    let options: Vec<&str> = unit.into_iter().chain(rest).collect();
    let options = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    format!("{place} FORMAT {kind}{options}")
}

fn explain_insert(plan: &Plan, insert: &Insert) -> InsertExplanation {
    let leg = &insert.legs[0];
    let stream = &plan.streams[leg.inputs[0].stream];
    let range = &insert.partitions[insert.range.partition];
    let name = |column: &ResultColumn| column.name.clone();
    let types = insert.result_schema.fields().iter().map(|field| type_name(field.data_type()));
    // Without a window the SELECT list is over the records themselves.
    let expression = |index: usize, column: &ResultColumn| match insert.window.is_without_end() {
        true => sql(&leg.keys()[index].expression),
        false => sql(&column.expression),
    };
    let columns = insert.columns.iter().enumerate().zip(types).map(|((index, column), column_type)| {
        ResultExplanation { name: column.name.clone(), column_type, expression: expression(index, column) }
    });
    let keys = leg.keys().iter();
    InsertExplanation {
        result: insert.table.to_string(),
        stream: stream.name.clone(),
        filter: leg.inputs[0].filter.as_ref().map(sql),
        unnest: leg.inputs[0]
            .unnest
            .as_ref()
            .map(|unnest| UnnestExplanation { list: sql(&unnest.list), filter: unnest.filter.as_ref().map(sql) }),
        window: leg.window.explain(),
        within: leg.within.map(|within| within.explain()),
        allowed_lateness_us: insert.allowed.0,
        keys: explain_keys(leg.keys()),
        aggregates: leg.aggregates().iter().map(explain_aggregate).collect(),
        also_reads: also_reads(plan, insert),
        having: insert.having.as_ref().map(sql),
        keeps_records: leg.kept != Kept::Groups,
        above: insert.above.as_ref().map(explain_above).unwrap_or_default(),
        columns: columns.collect(),
        partitions: insert.partitions.iter().map(PartitionField::to_string).collect(),
        range_column: match insert.range.edge {
            _ if insert.window.is_without_end() => range.column.clone(),
            WindowEdge::Start => "window_start".to_owned(),
            WindowEdge::End => "window_end".to_owned(),
            WindowEdge::Time => "window_time".to_owned(),
        },
        sorted_by: insert.sort.iter().map(|column| name(&insert.columns[*column])).collect(),
        late: insert.late_of(leg.inputs[0].stream).to_string(),
        publish: match insert.publish {
            Publish::EachWindow => "each_window",
            Publish::WholePartitions => "whole_partitions",
        },
        state: StateExplanation {
            per: keys.map(|key| key.name.clone()).chain([kept_for(&insert.window).to_owned()]).collect(),
            accumulators: leg.aggregates().len(),
            held_us: if insert.window.is_without_end() {
                0
            } else {
                insert.window.longest().0.saturating_add(stream.bound.0).saturating_add(insert.allowed.0)
            },
        },
        backfill: read_around(insert, range.transform),
    }
}

fn explain_keys(keys: &[Key]) -> Vec<NamedExpression> {
    keys.iter().map(|key| NamedExpression { name: key.name.clone(), expression: sql(&key.expression) }).collect()
}

/// All inputs but the first.
fn also_reads(plan: &Plan, insert: &Insert) -> Vec<AlsoReads> {
    let inputs = insert.legs.iter().flat_map(|leg| leg.inputs.iter().enumerate().map(move |input| (leg, input)));
    let explained = inputs.skip(1).map(|(leg, (number, input))| AlsoReads {
        stream: plan.streams[input.stream].name.clone(),
        filter: input.filter.as_ref().map(sql),
        window: (number == 0).then(|| leg.window.explain()),
        keys: explain_keys(&input.keys),
        aggregates: input.aggregates.iter().map(explain_aggregate).collect(),
        keeps_records: leg.kept != Kept::Groups,
        late: insert.late_of(input.stream).to_string(),
    });
    explained.collect()
}

fn kept_for(window: &Window) -> &'static str {
    if window.shares_panes() { "pane" } else { "window" }
}

/// The operators as DataFusion shows them.
fn explain_above(above: &Above) -> Vec<String> {
    let operators = above.operators();
    let text = displayable(operators.as_ref()).indent(false).to_string();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn explain_aggregate(aggregate: &Aggregate) -> AggregateExplanation {
    let function = &aggregate.function;
    let expression = function.human_display().unwrap_or_else(|| function.name()).to_owned();
    AggregateExplanation { expression, filter: aggregate.filter.as_ref().map(sql) }
}

fn read_around(insert: &Insert, partition: Transform) -> BackfillExplanation {
    let around = insert.window.read_around(insert.range.edge, partition);
    BackfillExplanation { warm_up_us: around.warm_up.0 + insert.reach_of_nested().0, run_out_us: around.run_out.0 }
}

/// The type as a stream would declare it; types that none can declare under Arrow's name.
fn type_name(data_type: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Binary => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::FixedSizeBinary(16) => "UUID".to_owned(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The expression as SQL.
fn sql(expression: &std::sync::Arc<dyn PhysicalExpr>) -> String {
    struct Sql<'a>(&'a dyn PhysicalExpr);
    impl std::fmt::Display for Sql<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt_sql(f)
        }
    }
    Sql(expression.as_ref()).to_string()
}
