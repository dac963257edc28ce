//! A logical plan taken apart: what is done to records, what to the rows of closed windows, and the result's columns.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, logical_plan};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::{Records, Refusal};
use super::error::problem;
use super::expression::{bind, cast, unaliased, unqualified};
use super::float_key::{float_key, has_float};
use super::partitions::Named;
use super::sets::Sets;
use super::types::result_type;
use crate::event::timestamp_type;
use crate::job::Problems;
use crate::job::above::Above;
use crate::job::plan::{Aggregate, GroupingSet, Input, Kept, Key, Leg, ResultColumn};
use crate::windows::{COUNT_WINDOW_COLUMNS, WINDOW_COLUMNS, Window};

/// The pieces of an INSERT that come from the query.
pub(super) struct Parts {
    /// What is read.
    pub legs: Vec<Leg>,
    /// What is done above the window.
    pub above: Option<Above>,
    /// HAVING.
    pub having: Option<Arc<dyn PhysicalExpr>>,
    /// SELECT list.
    pub columns: Vec<ResultColumn>,
    /// Names and types of the SELECT list; all nullable.
    pub result_schema: SchemaRef,
}

/// Where to point at.
pub(super) struct Places<'a> {
    /// The items of the SELECT list.
    pub items: &'a [Span],
    /// The expressions of GROUP BY as written; those of the window that we added come behind them.
    pub groups: &'a [Span],
    /// WHERE.
    pub filter: Span,
    /// HAVING.
    pub having: Span,
    /// The query.
    pub query: Span,
}

/// The window's columns, as they stand in rows of closed windows.
pub(super) fn window_fields(names: &[&str]) -> Vec<Field> {
    let instant = |name: &&str| WINDOW_COLUMNS.contains(name);
    let data_type = |name: &&str| if instant(name) { timestamp_type() } else { DataType::Utf8 };
    names.iter().map(|name| Field::new(*name, data_type(name), false)).collect()
}

/// Takes `plan` apart, which reads `window`; `names` are those of the result's columns.
pub(super) fn parts(
    plan: &LogicalPlan,
    (window, records): (Window, &Records<'_>),
    names: &[&str],
    places: &Places<'_>,
    problems: &mut Problems,
) -> Option<Parts> {
    let Some(layers) = Layers::of(plan) else {
        let help = "write SELECT … FROM TUMBLE(…) [WHERE …] GROUP BY window_start, window_end, … [HAVING …]";
        problems.add(places.query, "the query isn't one aggregation over one window", help);
        return None;
    };
    let grouped = match Grouped::new(&layers, records, places) {
        Ok(grouped) => grouped,
        Err((refusal, span)) => {
            refusal.tell(span, problems);
            return None;
        }
    };
    let closed = grouped.over_closed(&layers);
    let mut tell = |bound: Result<Option<Arc<dyn PhysicalExpr>>>, span| {
        bound.unwrap_or_else(|error| {
            problems.push(problem(&error, span));
            None
        })
    };
    let filter = tell(layers.filter(records), places.filter);
    let having = tell(closed.having(&layers), places.having);
    let mut columns = Vec::with_capacity(names.len());
    let mut fields = Vec::with_capacity(names.len());
    for ((expression, name), span) in layers.select.iter().zip(names).zip(places.items) {
        match closed.column(expression) {
            Ok((data_type, expression)) => {
                fields.push(Field::new(*name, data_type, true));
                columns.push(ResultColumn { name: (*name).to_owned(), expression });
            }
            Err(refusal) => refusal.tell(*span, problems),
        }
    }
    let Grouped { keys, aggregates, sets, closed_schema, .. } = grouped;
    let input = Input { stream: records.stream_index, filter, unnest: None, keys, aggregates };
    Some(Parts {
        legs: vec![Leg { inputs: vec![input], window, within: None, kept: Kept::Groups, sets, closed_schema }],
        having,
        columns,
        result_schema: Arc::new(Schema::new(fields)),
        above: None,
    })
}

/// Result columns by which files are sorted: window columns, then plain keys, then the others; and how many of them tell a
/// row: window columns and plain keys.
pub(super) fn sort(columns: &[Named], parts: &Parts) -> (Vec<usize>, usize) {
    let keys = match (&parts.above, parts.legs.as_slice()) {
        // A key that isn't in a set is null there, as it may be in another.
        (None, [leg]) if leg.sets.is_empty() => {
            let window_columns = leg.window_columns().len();
            window_columns..window_columns + leg.keys().len()
        }
        // What came of the keys isn't looked for.
        _ => 0..0,
    };
    let rank = |index: usize| {
        let plain = parts.columns[index].expression.downcast_ref::<datafusion_physical_expr::expressions::Column>();
        match (columns[index].edge, plain) {
            (Some(_), _) => 0,
            (None, Some(column)) if keys.contains(&column.index()) => 1,
            _ => 2,
        }
    };
    let mut order: Vec<usize> = (0..parts.columns.len()).collect();
    order.sort_by_key(|index| (rank(*index), *index));
    let identity = order.iter().take_while(|index| rank(**index) < 2).count();
    (order, identity)
}

/// The layers of a plan of the only form that can be run.
struct Layers<'p> {
    select: &'p [Expr],
    having: Option<&'p Expr>,
    aggregate: &'p logical_plan::Aggregate,
    filter: Option<&'p Expr>,
}

impl<'p> Layers<'p> {
    fn of(plan: &'p LogicalPlan) -> Option<Layers<'p>> {
        let LogicalPlan::Projection(projection) = plan else { return None };
        let (having, below) = filter(&projection.input);
        let LogicalPlan::Aggregate(aggregate) = below else { return None };
        let (filter, below) = filter(&aggregate.input);
        let below = match below {
            LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
            other => other,
        };
        matches!(below, LogicalPlan::TableScan(_)).then_some(Layers {
            select: &projection.expr,
            having,
            aggregate,
            filter,
        })
    }

    /// Where the aggregate of that index stands: in the first item of the SELECT list that has it, else in HAVING.
    fn aggregate_span(&self, aggregate: usize, places: &Places<'_>) -> Span {
        let (_, field) = self.aggregate.schema.qualified_field(distinct(&self.aggregate.group_expr).len() + aggregate);
        let item =
            self.select.iter().position(|item| item.column_refs().iter().any(|column| column.name == *field.name()));
        item.and_then(|item| places.items.get(item)).copied().unwrap_or(places.having)
    }

    /// Where a group expression stands; the query, where equal ones were put together, so that we can't count.
    fn group_span(&self, index: usize, distinct: usize, places: &Places<'_>) -> Span {
        let all = distinct == self.aggregate.group_expr.len();
        places.groups.get(index).filter(|_| all).copied().unwrap_or(places.query)
    }

    fn filter(&self, records: &Records<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        self.filter.map(|filter| bind(unqualified(filter.clone())?, &records.columns)).transpose()
    }
}

fn filter(plan: &LogicalPlan) -> (Option<&Expr>, &LogicalPlan) {
    match plan {
        LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
        other => (None, other),
    }
}

/// GROUP BY and aggregates.
pub(super) struct Grouped {
    pub keys: Vec<Key>,
    pub aggregates: Vec<Aggregate>,
    pub sets: Vec<GroupingSet>,
    pub closed_schema: SchemaRef,
    /// For each column of DataFusion's aggregate what it is over the closed schema.
    pub meanings: Vec<Expr>,
}

impl Grouped {
    /// Fails with the place that is meant.
    fn new(layers: &Layers<'_>, records: &Records<'_>, places: &Places<'_>) -> Result<Grouped, (Refusal, Span)> {
        // Distinct, as in the aggregate's schema.
        let groups = distinct(&layers.aggregate.group_expr);
        let count = groups.len();
        let groups = groups.into_iter().enumerate().map(|(index, expression)| {
            let span = layers.group_span(index, count, places);
            Ok((unqualified(expression.clone()).map_err(|error| (error.into(), span))?, span))
        });
        let calls = layers.aggregate.aggr_expr.iter().enumerate().map(|(index, expression)| {
            let span = layers.aggregate_span(index, places);
            Ok((unqualified(expression.clone()).map_err(|error| (error.into(), span))?, span))
        });
        Grouped::of(groups.collect::<Result<_, _>>()?, None, calls.collect::<Result<_, _>>()?, records)
    }

    /// Groups, the sets of them if there are several, and aggregates over the record's columns and the window's,
    /// unqualified, each with its place.
    pub(super) fn of(
        groups: Vec<(Expr, Span)>,
        sets: Option<&Sets>,
        calls: Vec<(Expr, Span)>,
        records: &Records<'_>,
    ) -> Result<Grouped, (Refusal, Span)> {
        let mut fields = window_fields(records.window_columns);
        let mut taken: HashSet<String> = COUNT_WINDOW_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        let (mut keys, mut aggregates, mut meanings) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (expression, span)) in groups.into_iter().enumerate() {
            let at = |error: DataFusionError| (Refusal::DataFusion(error), span);
            if over_window(&expression) {
                meanings.push(expression);
                continue;
            }
            let name = free_name(&expression, &mut taken);
            let (bound, data_type, meaning) = key(expression, &name, records).map_err(at)?;
            meanings.push(meaning);
            keys.push((Key { name, expression: bound }, data_type, index));
        }
        // Those that tell windows apart come first.
        let place = |key: &Key| records.partition_by.iter().position(|other| other == &key.expression);
        keys.sort_by_key(|(key, ..)| place(key).unwrap_or(usize::MAX));
        fields.extend(keys.iter().map(|(key, data_type, _)| Field::new(&key.name, data_type.clone(), true)));
        let of_key: Vec<usize> = keys.iter().map(|(.., index)| *index).collect();
        let mut keys: Vec<Key> = keys.into_iter().map(|(key, ..)| key).collect();
        let sets = sets.map_or_else(Vec::new, |sets| {
            let (key, field, meaning) = sets.key(numbered("grouping set", &mut taken));
            keys.push(key);
            fields.push(field);
            meanings.push(meaning);
            sets.of_keys(&of_key)
        });
        for (expression, span) in calls {
            let at = |refusal: Refusal| (refusal, span);
            let name = free_name(&expression, &mut taken);
            let Expr::AggregateFunction(call) = expression else {
                return Err(at(DataFusionError::Plan(format!("`{expression}` isn't an aggregate")).into()));
            };
            let aggregate = records.aggregate(call, &name).map_err(at)?;
            fields.push(Field::new(&name, aggregate.function.field().data_type().clone(), true));
            meanings.push(Expr::Column(Column::new_unqualified(name)));
            aggregates.push(aggregate);
        }
        Ok(Grouped { keys, aggregates, sets, closed_schema: Arc::new(Schema::new(fields)), meanings })
    }

    fn over_closed<'g>(&'g self, layers: &Layers<'g>) -> OverClosed<'g> {
        let columns =
            DFSchema::try_from(Arc::clone(&self.closed_schema)).expect("names of the closed schema are distinct");
        OverClosed { meanings: &self.meanings, aggregate: layers.aggregate, columns: Arc::new(columns) }
    }
}

/// Each expression once, in order.
pub(super) fn distinct(expressions: &[Expr]) -> Vec<&Expr> {
    let mut seen = HashSet::new();
    expressions.iter().filter(|expression| seen.insert(*expression)).collect()
}

/// Whether an expression uses window columns (and then, as was checked, nothing else).
pub(super) fn over_window(expression: &Expr) -> bool {
    expression.column_refs().iter().any(|column| COUNT_WINDOW_COLUMNS.contains(&column.name.as_str()))
}

/// A group key: how it is computed, its type, and what stands for it above.
pub(super) fn key(
    expression: Expr,
    name: &str,
    records: &Records<'_>,
) -> Result<(Arc<dyn PhysicalExpr>, DataType, Expr)> {
    let data_type = expression.get_type(records.columns.as_ref())?;
    let column = Expr::Column(Column::new_unqualified(name));
    let expression = if has_float(&data_type) { float_key(expression) } else { expression };
    // Keys are kept in checkpoints: in one type for one kind of value. Above it is the type that the query was planned with.
    let kept = match &data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        _ => return Ok((records.bind(expression)?, data_type, column)),
    };
    Ok((records.bind(cast(expression, &kept))?, kept, cast(column, &data_type)))
}

/// A name for a column of the closed schema: the expression's own, with a number behind it if that is taken.
fn free_name(expression: &Expr, taken: &mut HashSet<String>) -> String {
    let plain = match expression {
        Expr::Column(column) => column.name.clone(),
        Expr::AggregateFunction(call) if is_count_all(call) => "count(*)".to_owned(),
        other => other.schema_name().to_string(),
    };
    numbered(&plain, taken)
}

/// The name, with a number behind it if it is taken.
fn numbered(plain: &str, taken: &mut HashSet<String>) -> String {
    let mut name = plain.to_owned();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{plain} #{number}");
        number += 1;
    }
    name
}

fn is_count_all(call: &datafusion_expr::expr::AggregateFunction) -> bool {
    let parameters = &call.params;
    let plain = !parameters.distinct && parameters.filter.is_none();
    plain
        && call.func.name() == "count"
        && matches!(parameters.args.as_slice(), [Expr::Literal(value, _)] if !value.is_null())
}

/// Expressions over the rows of closed windows.
struct OverClosed<'g> {
    meanings: &'g [Expr],
    aggregate: &'g logical_plan::Aggregate,
    columns: DFSchemaRef,
}

impl OverClosed<'_> {
    /// `expression`, which names columns of DataFusion's aggregate, over the closed schema.
    fn rebased(&self, expression: Expr) -> Result<Expr> {
        let rewritten = expression.transform_down(|expression| {
            Ok(match expression {
                Expr::Column(column) => {
                    let index = self.aggregate.schema.index_of_column(&column)?;
                    Transformed::new(self.meanings[index].clone(), true, TreeNodeRecursion::Jump)
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(unaliased(rewritten.data))
    }

    fn having(&self, layers: &Layers<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        layers.having.map(|having| bind(self.rebased(having.clone())?, &self.columns)).transpose()
    }

    fn column(&self, expression: &Expr) -> Result<(DataType, Arc<dyn PhysicalExpr>), Refusal> {
        result_column(self.rebased(expression.clone())?, &self.columns)
    }
}

/// A column of the result over `columns`, cast to a type that Iceberg has.
pub(super) fn result_column(
    expression: Expr,
    columns: &DFSchemaRef,
) -> Result<(DataType, Arc<dyn PhysicalExpr>), Refusal> {
    let from = expression.get_type(columns.as_ref())?;
    let to = result_type(&from).map_err(|(message, help)| Refusal::Words(message, help))?;
    // Checked where it can fail, as every cast is.
    let expression = if from == to { expression } else { cast(expression, &to) };
    Ok((to, bind(expression, columns)?))
}
