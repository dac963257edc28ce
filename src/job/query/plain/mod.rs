//! A SELECT without a window: each record is a result of its own, or as many rows as its UNNEST gives. CTEs and subqueries
//! are put together to one filter and one SELECT list over the record.
//!
//! Invariant: nothing is kept from one record to the next. What would need that is refused, in `clauses` by its place, and
//! else by what DataFusion makes of the query.

mod clauses;
mod unnest;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DFSchemaRef};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_sql::planner::SqlToRel;
use datafusion_sql::sqlparser::ast::{self, Query, SelectItem, SetExpr, Statement};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::Refusal;
use super::catalog::{Catalog, parser_options};
use super::composed::{self, Flat, Visible};
use super::expression::bind;
use super::names::did_you_mean;
use super::output::result_column;
use super::partitions::{self, Named};
use crate::event::{Micros, PartitionField, Stream, Transform};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, StreamDefinition};
use crate::job::plan::{Input, Insert, Kept, Key, LateTable, Leg, Publish, RangeColumn, ResultColumn, Unnest};
use crate::windows::{Window, WindowEdge};
use unnest::Unnesting;

/// Plans an INSERT whose query has no window. `None` when something is wrong: `problems` says what.
pub(super) fn plan(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<Insert> {
    let read = clauses::check(insert, problems)?;
    let Some(index) = streams.iter().position(|stream| stream.name == read.name) else {
        let declared = stream_definitions.iter().map(|definition| definition.name.value.as_str());
        if !declared.clone().any(|declared| declared == read.name) {
            let names = streams.iter().map(|stream| stream.name.as_str()).chain(declared);
            let help = did_you_mean(&read.name, names, format!("declare it: CREATE STREAM {} (…)", read.name));
            problems.add(read.span, format!("unknown stream `{}`", read.name), help);
        }
        return None;
    };
    let stream = streams[index].as_ref();
    clauses_behind(insert, problems);
    let planned = Planned::new(insert, stream, problems)?;
    let time = &stream.columns[stream.event_time].name;
    let (fields, range) = partitions_of(insert, &planned.named, time, problems)?;
    if !partitions::check_types(insert, &fields, &planned.schema, problems) || !problems.is_empty() {
        return None;
    }
    let Planned { named, filter, unnest, keys, schema } = planned;
    let schema = Arc::new(schema);
    // By event time first: ranges of it are what is looked for.
    let mut sort: Vec<usize> = (0..named.len()).collect();
    sort.sort_by_key(|&column| (named[column].edge.is_none(), column));
    let identity = named.iter().filter(|column| column.edge.is_some()).count();
    let late = insert.late_into.as_ref().map(|late| late.value.clone());
    let late = late.unwrap_or_else(|| insert.table.value.with_suffix("_late"));
    let column = |(index, key): (usize, &Key)| ResultColumn {
        name: key.name.clone(),
        expression: Arc::new(Column::new(&key.name, index)),
    };
    Some(Insert {
        table: insert.table.value.clone(),
        window: Window::EachRecord,
        allowed: Micros(0),
        columns: keys.iter().enumerate().map(column).collect(),
        legs: vec![Leg {
            inputs: vec![Input { stream: index, filter, unnest, keys, aggregates: Vec::new() }],
            window: Window::EachRecord,
            within: None,
            kept: Kept::Rows,
            sets: Vec::new(),
            closed_schema: Arc::clone(&schema),
        }],
        above: None,
        having: None,
        result_schema: schema,
        partitions: fields,
        range,
        sort,
        identity,
        late: vec![LateTable { stream: index, table: late }],
        publish: Publish::EachWindow,
    })
}

/// Refuses the clauses behind the query that are about windows.
fn clauses_behind(insert: &InsertDefinition, problems: &mut Problems) {
    if let Some(allowed) = &insert.allow_lateness {
        let help = "leave it out: each record is published at the next checkpoint, however late it comes";
        problems.add(allowed.span, "without a window nothing is late, so there is no lateness to allow", help);
    }
    if let Some(publish) = insert.publish.as_ref().filter(|publish| publish.value == Publish::WholePartitions) {
        let help =
            "leave it out, or write a query over a window: its partitions are whole when the watermark has passed them";
        problems.add(publish.span, "without a window no partition is ever whole: a record may always come", help);
    }
}

/// The parts of an INSERT that come from its query.
struct Planned {
    /// The result's columns.
    named: Vec<Named>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    unnest: Option<Unnest>,
    /// The SELECT list, over the record and what UNNEST adds.
    keys: Vec<Key>,
    schema: Schema,
}

impl Planned {
    fn new(insert: &InsertDefinition, stream: &Stream, problems: &mut Problems) -> Option<Planned> {
        let place = composed::place(insert);
        let mut query = insert.query.as_ref().clone();
        name_fields(&mut query);
        let unnesting = Unnesting::take_out(&mut query, stream, place, problems)?;
        let before = problems.len();
        composed::check_functions(&query, vec![stream.name.clone()], place, problems);
        composed::names_are_given(&insert.query, place, problems);
        if problems.len() > before {
            return None;
        }
        match Self::of(&query, unnesting, stream, (&composed::items(&insert.query), place)) {
            Ok(planned) => Some(planned),
            Err((refusal, span)) => {
                refusal.tell(span, problems);
                None
            }
        }
    }

    fn of(
        query: &Query,
        unnesting: Option<Unnesting>,
        stream: &Stream,
        (items, place): (&[Span], Span),
    ) -> Result<Planned, (Refusal, Span)> {
        let at = |refusal: Refusal| (refusal, place);
        let schema = match &unnesting {
            Some(unnesting) => Arc::clone(&unnesting.schema),
            None => stream.record_schema(),
        };
        let columns: DFSchemaRef = Arc::new(DFSchema::try_from(Arc::clone(&schema)).map_err(|error| at(error.into()))?);
        let plan = logical_plan(query, stream, &schema).map_err(at)?;
        let flat =
            Flat::of(&plan).filter(|flat| flat.table == stream.name).ok_or_else(|| at(needs_state("the query")))?;
        let conditions = flat.filters.into_iter().flat_map(split_conjunction_owned);
        let (of_elements, of_records): (Vec<Expr>, Vec<Expr>) = conditions.partition(unnest::is_added);
        let bound = |conditions: Vec<Expr>| {
            conjunction(conditions)
                .map(|condition| bind(condition, &columns))
                .transpose()
                .map_err(|error| at(error.into()))
        };
        let filter = bound(of_records)?;
        let of_elements = bound(of_elements)?;
        let unnest = unnesting.map(|unnesting| Unnest {
            list: unnesting.list,
            with_ordinality: unnesting.with_ordinality,
            schema: Arc::clone(&schema),
            filter: of_elements,
        });
        let time = &stream.columns[stream.event_time].name;
        let (mut named, mut keys, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (expression, field)) in flat.columns.into_iter().zip(plan.schema().fields()).enumerate() {
            let name = field.name().clone();
            let is_time = matches!(&expression, Expr::Column(column) if column.name == *time);
            let span = items.get(index).copied().filter(|span| *span != Span::empty()).unwrap_or(place);
            let (data_type, expression): (DataType, _) =
                result_column(expression, &columns).map_err(|refusal| (refusal, span))?;
            fields.push(Field::new(&name, data_type, true));
            named.push(Named { name: name.clone(), edge: is_time.then_some(WindowEdge::Start) });
            keys.push(Key { name, expression });
        }
        Ok(Planned { named, filter, unnest, keys, schema: Schema::new(fields) })
    }
}

/// Gives each `a.b` of the SELECT list the name of its last part, as a result has it.
fn name_fields(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) = &*item else { continue };
        let Some(alias) = parts.last().cloned() else { continue };
        *item = SelectItem::ExprWithAlias { expr: ast::Expr::CompoundIdentifier(parts.clone()), alias };
    }
}

/// DataFusion's plan of the query, with the types of all expressions settled.
fn logical_plan(query: &Query, stream: &Stream, schema: &arrow::datatypes::SchemaRef) -> Result<LogicalPlan, Refusal> {
    let columns: Vec<String> = stream.columns.iter().map(|column| column.name.clone()).collect();
    let visible = Visible { relation: &stream.name, window: None, columns: &columns };
    let query = composed::prepared(query, &[visible]);
    let catalog = Catalog::new([(stream.name.as_str(), Arc::clone(schema))]);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
    Ok(TypeCoercion::new().analyze(plan, &ConfigOptions::default())?)
}

/// What is said of anything that looks at several records.
fn needs_state(what: &str) -> Refusal {
    let (message, help) = clauses::needs_state(what, None);
    Refusal::Words(message, help)
}

/// The partitioning of the result, and the field that ranges are meant by: a time transform of the event time.
fn partitions_of(
    insert: &InsertDefinition,
    columns: &[Named],
    time: &str,
    problems: &mut Problems,
) -> Option<(Vec<PartitionField>, RangeColumn)> {
    let edge = WindowEdge::Start;
    let selected = columns.iter().find(|column| column.edge.is_some());
    let Some(selected) = selected else {
        let span = insert
            .partitioned_by
            .as_ref()
            .and_then(|fields| fields.first())
            .map_or(insert.table.span, |field| field.span);
        let message =
            format!("without a window a result is partitioned by the event time, and `{time}` isn't in it unchanged");
        problems.add(span, message, format!("select {time}, or {time} AS name; backfills replace partitions of it"));
        return None;
    };
    let Some(written) = &insert.partitioned_by else {
        let field = PartitionField { column: selected.name.clone(), transform: Transform::Day };
        return Some((vec![field], RangeColumn { partition: 0, edge }));
    };
    let fields = partitions::known(written, columns, problems)?;
    let is_time = |field: &PartitionField| {
        field.transform.is_time() && columns.iter().any(|column| column.name == field.column && column.edge.is_some())
    };
    if let Some(partition) = fields.iter().position(is_time) {
        return Some((fields, RangeColumn { partition, edge }));
    }
    let span = written.first().map_or(insert.table.span, |field| field.span);
    let message =
        "PARTITIONED BY needs a time transform of the event time, so that a backfill can replace whole partitions";
    problems.add(span, message, format!("add hour({0}), day({0}) or month({0})", selected.name));
    None
}
