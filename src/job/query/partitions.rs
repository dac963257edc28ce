//! PARTITIONED BY: which columns of the result, and by which of them ranges of time are meant.

use arrow::datatypes::{DataType, Schema};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::names::did_you_mean;
use super::types::sql_name;
use crate::event::{PartitionField, Transform};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, Spanned};
use crate::job::plan::RangeColumn;
use crate::windows::{ByData, Window, WindowEdge};

/// A column of the result, as far as partitions need it.
pub(super) struct Named {
    /// Its name.
    pub name: String,
    /// Which instant of the window it is, if it is one.
    pub edge: Option<WindowEdge>,
}

/// The partitioning of the result, and the field that ranges are meant by.
pub(super) fn partitions(
    insert: &InsertDefinition,
    columns: &[Named],
    window: &Window,
    problems: &mut Problems,
) -> Option<(Vec<PartitionField>, RangeColumn)> {
    let Some(written) = &insert.partitioned_by else { return by_default(insert, columns, window, problems) };
    let fields = known(written, columns, problems)?;
    let range = fields.iter().enumerate().find_map(|(partition, field)| {
        let edge = columns.iter().find(|column| column.name == field.column)?.edge?;
        (field.transform.is_time() && window.ranges_by(edge)).then_some(RangeColumn { partition, edge })
    });
    if let Some(range) = range {
        return Some((fields, range));
    }
    let span = written.first().map_or(insert.table.span, |field| field.span);
    let edge_of = |field: &PartitionField| columns.iter().find(|column| column.name == field.column)?.edge;
    if fields.iter().any(|field| field.transform.is_time() && edge_of(field).is_some()) {
        problems.add(
            span,
            "PARTITIONED BY needs a time transform of window_end or window_time: windows of CUMULATE that begin together \
             are told by their ends",
            "select window_time, and write day(window_time); others may stand beside it",
        );
        return None;
    }
    problems.add(
        span,
        "PARTITIONED BY needs a time transform of the window, so that a backfill can replace whole partitions",
        way_out(columns),
    );
    None
}

/// The fields of PARTITIONED BY, all of columns of the result, each once.
pub(super) fn known(
    written: &[Spanned<PartitionField>],
    columns: &[Named],
    problems: &mut Problems,
) -> Option<Vec<PartitionField>> {
    let mut unknown = false;
    for field in written {
        if !columns.iter().any(|column| column.name == field.value.column) {
            let names = columns.iter().map(|column| column.name.as_str());
            let listed = format!("columns of the result: {}", names.clone().collect::<Vec<_>>().join(", "));
            let help = did_you_mean(&field.value.column, names, listed);
            problems.add(field.span, format!("the result has no column `{}`", field.value.column), help);
            unknown = true;
        }
    }
    if unknown {
        return None;
    }
    let fields: Vec<PartitionField> = written.iter().map(|field| field.value.clone()).collect();
    for (second, field) in fields.iter().enumerate() {
        if fields[..second].contains(field) {
            problems.add(written[second].span, format!("`{field}` stands twice in PARTITIONED BY"), "leave one out");
            return None;
        }
    }
    Some(fields)
}

fn way_out(columns: &[Named]) -> String {
    match columns.iter().find(|column| column.edge.is_some()) {
        Some(column) => format!("add hour({0}), day({0}) or month({0})", column.name),
        None => "select window_start, and add hour(window_start), day(window_start) or month(window_start)".to_owned(),
    }
}

/// `day(window_start)`, where that is in the result; where starts tell no windows, a later instant of them; for sessions
/// `day(window_end)`, as one without end would hold all others back by its start.
fn by_default(
    insert: &InsertDefinition,
    columns: &[Named],
    window: &Window,
    problems: &mut Problems,
) -> Option<(Vec<PartitionField>, RangeColumn)> {
    let is_told = window.ranges_by(WindowEdge::Start);
    let (edges, name): (&[WindowEdge], &str) = match (is_told, window) {
        (_, Window::ByData(ByData::Session(_))) => (&[WindowEdge::End], "window_end"),
        (true, _) => (&[WindowEdge::Start], "window_start"),
        (false, _) => (&[WindowEdge::Time, WindowEdge::End], "window_time"),
    };
    for &edge in edges {
        if let Some(found) = columns.iter().find(|column| column.edge == Some(edge)) {
            let field = PartitionField { column: found.name.clone(), transform: Transform::Day };
            return Some((vec![field], RangeColumn { partition: 0, edge }));
        }
    }
    let help = match columns.iter().find(|column| column.edge.is_some_and(|edge| window.ranges_by(edge))) {
        Some(column) => format!("select {name}, or write PARTITIONED BY (day({}))", column.name),
        None => format!("select {name}"),
    };
    let message = format!("a result is partitioned by day({name}), and it has no {name}");
    problems.add(insert.table.span, message, help);
    None
}

/// Checks that every transform can be had of its column's type. False: something was refused.
pub(super) fn check_types(
    insert: &InsertDefinition,
    fields: &[PartitionField],
    schema: &Schema,
    problems: &mut Problems,
) -> bool {
    let mut fine = true;
    for (index, field) in fields.iter().enumerate() {
        let Ok(column) = schema.field_with_name(&field.column) else { continue };
        if let Some(help) = unfit(field.transform, column.data_type()) {
            let written = insert.partitioned_by.as_ref().and_then(|written| written.get(index));
            let span: Span = written.map_or(insert.table.span, |field| field.span);
            problems.add(span, format!("`{field}`: `{}` is {}", field.column, sql_name(column.data_type())), help);
            fine = false;
        }
    }
    fine
}

/// What the transform takes, if it doesn't take values of the type.
fn unfit(transform: Transform, data_type: &DataType) -> Option<&'static str> {
    use DataType::{Boolean, Date32, Float32, Float64, Int32, Int64, List, Struct, Timestamp, Utf8};
    let (takes, what) = match transform {
        Transform::Identity => (
            !matches!(data_type, List(_) | Struct(_) | Float32 | Float64),
            "partitions are made of whole numbers, texts, dates, times and BOOLEAN",
        ),
        Transform::Hour => (matches!(data_type, Timestamp(..)), "hour takes a TIMESTAMP"),
        Transform::Day | Transform::Month => {
            (matches!(data_type, Timestamp(..) | Date32), "day and month take a TIMESTAMP or a DATE")
        }
        Transform::Truncate(_) => (
            matches!(data_type, Int32 | Int64 | Utf8 | DataType::Decimal128(..) | DataType::Binary),
            "truncate takes TEXT, INT, BIGINT, DECIMAL or BYTES",
        ),
        Transform::Bucket(_) => (
            !matches!(data_type, List(_) | Struct(_) | Float32 | Float64 | Boolean),
            "bucket takes whole numbers, DECIMAL, TEXT, BYTES, UUID, DATE or TIMESTAMP",
        ),
    };
    (!takes).then_some(what)
}
