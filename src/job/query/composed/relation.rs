//! What the window calls of a query stand for: tables of records, chosen from one stream or several, or of windowed results,
//! each with the columns of the window beside them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Column, DFSchema, DFSchemaRef};
use datafusion_expr::logical_plan::builder::LogicalTableSource;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, LogicalPlan, TableSource, lit};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_sql::planner::SqlToRel;
use datafusion_sql::sqlparser::ast::{Query, Statement};

use super::super::aggregate::{Chosen, Records, Refusal};
use super::super::catalog::{Catalog, GROUPING, parser_options};
use super::super::error::problem;
use super::super::expression::unaliased;
use super::super::output::window_fields;
use super::super::window::{arguments, window, window_columns};
use super::flat::Flat;
use super::inside::inside;
use super::nested::windowed;
use super::partition;
use super::prepare::{Visible, prepared};
use crate::event::{OFFSET, PARTITION, Stream};
use crate::job::Problems;
use crate::job::definition::WindowCall;
use crate::windows::{WINDOW_COLUMNS, Window, WindowEdge};

/// Columns that put records of several streams or branches in order: the stream's name, and the number of the branch.
const STREAM: &str = "_stream";
const BRANCH: &str = "_branch";

/// What a window call stands for.
pub(super) struct Relation<'a> {
    pub(super) call: &'a WindowCall,
    pub(super) window: Window,
    /// PARTITION BY, over the columns of its input.
    pub(super) partition_by: Vec<Expr>,
    /// Where its records come from; none, where they are rows of windows.
    pub(super) inputs: Vec<RelationInput<'a>>,
    /// What `*` stands for.
    pub(super) visible: Vec<String>,
    source: Source,
}

/// One branch of a relation's records.
pub(super) struct RelationInput<'a> {
    pub(super) records: Records<'a>,
    /// Conditions of its own, over the columns of the record.
    pub(super) filter: Option<Expr>,
}

enum Source {
    /// Records, and the window's columns.
    Records(SchemaRef),
    /// Rows of windows: their plan.
    Windowed(Box<LogicalPlan>),
}

/// The streams of a job, with their indices.
#[derive(Clone, Copy)]
pub(super) struct Streams<'a>(pub(super) &'a [Arc<Stream>]);

impl<'a> Streams<'a> {
    pub(super) fn find(self, name: &str) -> Option<(usize, &'a Stream)> {
        let index = self.0.iter().position(|stream| stream.name == name)?;
        Some((index, self.0[index].as_ref()))
    }
}

impl<'a> Relation<'a> {
    /// A window of the records of a stream. `None` when something is wrong: `problems` says what.
    pub(super) fn of_stream(
        call: &'a WindowCall,
        (stream_index, stream): (usize, &'a Stream),
        problems: &mut Problems,
    ) -> Option<Relation<'a>> {
        let window = window(call, stream, problems)?;
        let schema = stream.record_schema();
        let columns =
            Arc::new(DFSchema::try_from(Arc::clone(&schema)).expect("a stream's columns have distinct names"));
        let partition_by = partition::partition_by(call, &columns, problems)?;
        let mut records = Records {
            stream,
            stream_index,
            schema: Arc::clone(&schema),
            columns,
            chosen: None,
            window_columns: window_columns(call),
            partition_by: Vec::new(),
        };
        match partition::bound(&partition_by, &records) {
            Ok(keys) => records.partition_by = keys,
            Err(error) => {
                problems.push(problem(&error, call.span));
                return None;
            }
        }
        Some(Relation {
            call,
            window,
            partition_by,
            inputs: vec![RelationInput { records, filter: None }],
            visible: stream.columns.iter().map(|column| column.name.clone()).collect(),
            source: Source::Records(with_window(schema.fields().iter().cloned(), call)),
        })
    }

    /// A window of what `query` gives, which reads streams, or the relations `before`.
    pub(super) fn of_query(
        call: &'a WindowCall,
        query: &Query,
        streams: Streams<'a>,
        before: &[Relation<'a>],
        problems: &mut Problems,
    ) -> Option<Relation<'a>> {
        let window = arguments(call, problems)?;
        let planned = planned(query, streams, before).map_err(Refusal::from);
        let plan = planned.map_err(|refusal| refusal.tell(call.input.span(), problems)).ok()?;
        let made = match reads_windows(&plan, before) {
            false => {
                let columns = columns_of(&plan).map_err(|error| problems.push(problem(&error, call.span))).ok()?;
                let partition_by = partition::partition_by(call, &columns, problems)?;
                Relation::of_records((call, window), &plan, (&columns, partition_by), streams)
            }
            true => Relation::of_windows((call, window), plan, before),
        };
        made.map_err(|refusal| refusal.tell(call.input.span(), problems)).ok()
    }

    fn of_records(
        (call, window): (&'a WindowCall, Window),
        plan: &LogicalPlan,
        (columns, partition_by): (&DFSchemaRef, Vec<Expr>),
        streams: Streams<'a>,
    ) -> Result<Relation<'a>, Refusal> {
        let branches = Flat::branches(plan).ok_or_else(not_flat)?;
        let fields = plan.schema().fields();
        let visible: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        if let Some(name) = window_columns(call).iter().find(|name| visible.iter().any(|column| column == *name)) {
            let message = format!("the query has a column `{name}`, which the window adds too");
            return Err(Refusal::Words(message, "name the column differently, with AS".to_owned()));
        }
        let time = place_of_time(call, &visible)?;
        let several = branches.len() > 1;
        let order: &[&str] = if several { &[STREAM, PARTITION, OFFSET, BRANCH] } else { &[PARTITION, OFFSET] };
        let order: Vec<String> =
            std::iter::once(visible[time].as_str()).chain(order.iter().copied()).map(str::to_owned).collect();
        let mut inputs = Vec::with_capacity(branches.len());
        for (number, flat) in branches.into_iter().enumerate() {
            let (stream_index, stream) = streams.find(&flat.table).ok_or_else(not_flat)?;
            let event_time = &stream.columns[stream.event_time].name;
            if flat.columns[time] != Expr::Column(Column::new_unqualified(event_time)) {
                let message = format!("`{}` isn't the time of stream `{}`, unchanged", call.time.value, stream.name);
                let help = format!("windows go by the stream's watermark column: select `{event_time}` in that place");
                return Err(Refusal::Words(message, help));
            }
            let mut meanings = flat.columns;
            meanings.push(lit(stream.name.as_str()));
            meanings.extend([PARTITION, OFFSET].map(|name| Expr::Column(Column::new_unqualified(name))));
            meanings.push(lit(number as i64));
            let schema = stream.record_schema();
            let record = Arc::new(DFSchema::try_from(Arc::clone(&schema))?);
            let mut records = Records {
                stream,
                stream_index,
                schema,
                columns: Arc::clone(columns),
                chosen: Some(Chosen { columns: meanings, record, order: order.clone() }),
                window_columns: window_columns(call),
                partition_by: Vec::new(),
            };
            records.partition_by = partition::bound(&partition_by, &records)?;
            inputs.push(RelationInput { records, filter: conjunction(flat.filters) });
        }
        partition::of_inputs(&window, &inputs)?;
        let source = Source::Records(with_window(columns.fields().iter().cloned(), call));
        Ok(Relation { call, window, partition_by, inputs, visible, source })
    }

    /// Windows of windowed results: their time is the `window_time` of these.
    fn of_windows(
        (call, window): (&'a WindowCall, Window),
        plan: LogicalPlan,
        before: &[Relation<'a>],
    ) -> Result<Relation<'a>, Refusal> {
        let below = inside(&plan, before)?;
        let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let time = place_of_time(call, &names)?;
        if below.edges[time] != Some(WindowEdge::Time) {
            let message = format!("`{}` isn't the window_time of the windows below", call.time.value);
            let help = "a window over a windowed result goes by its window_time: select that, and name it here";
            return Err(Refusal::Words(message, help.to_owned()));
        }
        let refused = match (window, below.window) {
            (Window::Tumbling(_) | Window::Calendar(_), _) if below.is_nested => {
                Some("windows over windows over windows aren't supported yet".to_owned())
            }
            (Window::Tumbling(_) | Window::Calendar(_), _) => None,
            (other, _) => Some(format!("{} over a windowed result isn't supported yet", other.name())),
        };
        if let Some(message) = refused {
            let help = "write TUMBLE over one window function, or read the result's table where it is needed";
            return Err(Refusal::Words(message, help.to_owned()));
        }
        if has_limit(&plan) {
            let message = "LIMIT below another window isn't supported".to_owned();
            let help = "number the rows with ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY …)";
            return Err(Refusal::Words(message, help.to_owned()));
        }
        let visible = names.into_iter().filter(|name| !WINDOW_COLUMNS.contains(&name.as_str())).collect();
        let source = Source::Windowed(Box::new(windowed(plan, time, window)?));
        Ok(Relation { call, window, partition_by: Vec::new(), inputs: Vec::new(), visible, source })
    }

    fn table(&self) -> Arc<dyn TableSource> {
        match &self.source {
            Source::Records(schema) => Arc::new(LogicalTableSource::new(Arc::clone(schema))),
            Source::Windowed(plan) => Arc::new(Inlined { plan: plan.as_ref().clone() }),
        }
    }
}

/// A table that is a plan.
struct Inlined {
    plan: LogicalPlan,
}

impl TableSource for Inlined {
    fn schema(&self) -> SchemaRef {
        Arc::new(self.plan.schema().as_arrow().clone())
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// DataFusion's plan of `query`, types settled, over `relations` and, for windows' inputs, the declared columns of `streams`.
pub(super) fn planned(
    query: &Query,
    streams: Streams<'_>,
    relations: &[Relation<'_>],
) -> datafusion_common::Result<LogicalPlan> {
    let mut tables: BTreeMap<String, Arc<dyn TableSource>> = BTreeMap::new();
    for stream in streams.0 {
        let declared: Vec<usize> = (0..stream.columns.len()).collect();
        let schema = Arc::new(stream.record_schema().project(&declared)?);
        tables.insert(stream.name.clone(), Arc::new(LogicalTableSource::new(schema)));
    }
    tables.extend(relations.iter().map(|relation| (relation.call.relation.clone(), relation.table())));
    let visible: Vec<Visible<'_>> = relations
        .iter()
        .map(|relation| Visible {
            relation: &relation.call.relation,
            window: Some(relation.window),
            columns: &relation.visible,
        })
        .collect();
    let catalog = Catalog::of(tables);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(prepared(query, &visible))))?;
    let plan = match any_node(&plan, uses_grouping) {
        true => ResolveGroupingFunction::new().analyze(plan, &ConfigOptions::default())?,
        false => plan,
    };
    TypeCoercion::new().analyze(plan, &ConfigOptions::default())
}

/// Whether a layer asks which grouping set a row is of.
fn uses_grouping(node: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(aggregate) = node else { return false };
    let is_grouping = |call: &Expr| matches!(call, Expr::AggregateFunction(call) if call.func.name() == GROUPING);
    aggregate.aggr_expr.iter().any(|call| is_grouping(&unaliased(call.clone())))
}

/// Whether a plan reads one of the `relations`.
fn reads_windows(plan: &LogicalPlan, relations: &[Relation<'_>]) -> bool {
    any_node(plan, |node| match node {
        LogicalPlan::TableScan(scan) => {
            relations.iter().any(|relation| relation.call.relation == scan.table_name.table())
        }
        _ => false,
    })
}

fn has_limit(plan: &LogicalPlan) -> bool {
    any_node(plan, |node| matches!(node, LogicalPlan::Limit(_)))
}

fn any_node(plan: &LogicalPlan, is: impl Fn(&LogicalPlan) -> bool) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= is(node);
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && found
}

fn place_of_time(call: &WindowCall, columns: &[String]) -> Result<usize, Refusal> {
    columns.iter().position(|column| *column == call.time.value).ok_or_else(|| {
        let message = format!("the query has no column `{}`, by which windows are made of it", call.time.value);
        Refusal::Words(message, format!("select it; the query's columns are {}", columns.join(", ")))
    })
}

fn not_flat() -> Refusal {
    let message = "a query as a window's input chooses records and columns of streams, and no more".to_owned();
    let help = "write SELECT … FROM stream [WHERE …] [UNION ALL …]; group, join and sort above the window";
    Refusal::Words(message, help.to_owned())
}

/// The columns that a window sees of a query.
fn columns_of(plan: &LogicalPlan) -> datafusion_common::Result<DFSchemaRef> {
    let columns = with_hidden(plan.schema().fields());
    Ok(Arc::new(DFSchema::try_from(Schema::new(columns))?))
}

/// Columns of a query, and those by which records have an order.
fn with_hidden(fields: &Fields) -> Vec<Arc<Field>> {
    let hidden = [
        Field::new(STREAM, DataType::Utf8, false),
        Field::new(PARTITION, DataType::Int32, true),
        Field::new(OFFSET, DataType::Int64, true),
        Field::new(BRANCH, DataType::Int64, false),
    ];
    let seen = fields.iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    seen.chain(hidden).map(Arc::new).collect()
}

fn with_window(fields: impl Iterator<Item = Arc<Field>>, call: &WindowCall) -> SchemaRef {
    let window = window_fields(window_columns(call)).into_iter().map(Arc::new);
    Arc::new(Schema::new(fields.chain(window).collect::<Vec<_>>()))
}
