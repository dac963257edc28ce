//! From a logical plan over closed windows to operators, one for one. There is nothing to choose: one partition, in memory.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;
use datafusion_common::{DFSchemaRef, JoinSide, Result, ScalarValue, not_impl_err, plan_datafusion_err};
use datafusion_expr::expr::{NullTreatment, WindowFunction};
use datafusion_expr::logical_plan::{self, Distinct, FetchType, SkipType};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::{Column, lit};
use datafusion_physical_expr::window::WindowExpr;
use datafusion_physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion_physical_plan::filter::FilterExec;
use datafusion_physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion_physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion_physical_plan::limit::GlobalLimitExec;
use datafusion_physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::streaming::StreamingTableExec;
use datafusion_physical_plan::union::UnionExec;
use datafusion_physical_plan::windows::{WindowAggExec, create_window_expr};

use super::leg_of;
use super::rows::Rows;
use crate::job::query::{Sets, bind};

type Operators = Arc<dyn ExecutionPlan>;

/// The operators of `plan`, which read `rows`.
pub(super) fn operators(plan: &LogicalPlan, rows: &[Arc<Rows>]) -> Result<Operators> {
    let below = |plan: &LogicalPlan| operators(plan, rows);
    match plan {
        LogicalPlan::TableScan(scan) => {
            let rows = leg_of(scan.table_name.table()).and_then(|leg| rows.get(leg));
            let rows = rows.ok_or_else(|| plan_datafusion_err!("unknown table {}", scan.table_name))?;
            let table: Vec<Arc<dyn datafusion_physical_plan::streaming::PartitionStream>> = vec![Arc::clone(rows) as _];
            let columns = scan.projection.as_ref();
            Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(rows.schema()), table, columns, [], false, None)?))
        }
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Projection(projection) => project(projection, below(&projection.input)?),
        LogicalPlan::Filter(filter) => {
            let predicate = bind(filter.predicate.clone(), filter.input.schema())?;
            Ok(Arc::new(FilterExec::try_new(predicate, below(&filter.input)?)?))
        }
        LogicalPlan::Aggregate(aggregate) => group(aggregate, below(&aggregate.input)?),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input_operators = below(input)?;
            let columns = columns(&input_operators.schema());
            grouped(PhysicalGroupBy::new_single(columns), Vec::new(), input_operators)
        }
        LogicalPlan::Window(window) => over(window, below(&window.input)?),
        LogicalPlan::Sort(sort) => {
            let input = below(&sort.input)?;
            let order = order(&sort.expr, sort.input.schema())?;
            Ok(ordered(order, input, sort.fetch))
        }
        LogicalPlan::Limit(limit) => cut(limit, below(&limit.input)?),
        LogicalPlan::Union(union) => {
            let sorted = |input: &Arc<LogicalPlan>| Ok(ordered(Vec::new(), below(input)?, None));
            merged(union.inputs.iter().map(sorted).collect::<Result<_>>()?)
        }
        LogicalPlan::Join(join) => joined(join, below(&join.left)?, below(&join.right)?),
        other => not_impl_err!("{} above a window", other.display()),
    }
}

fn project(projection: &logical_plan::Projection, input: Operators) -> Result<Operators> {
    let names = projection.schema.fields().iter().map(|field| field.name().clone());
    let columns = projection.expr.iter().zip(names).map(|(expression, alias)| {
        Ok(ProjectionExpr { expr: bind(unaliased(expression).clone(), projection.input.schema())?, alias })
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Result<Vec<_>>>()?, input)?))
}

/// The expression behind names given to it.
fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn group(aggregate: &logical_plan::Aggregate, input: Operators) -> Result<Operators> {
    let schema = aggregate.input.schema();
    let names = aggregate.schema.fields().iter().map(|field| field.name().clone());
    let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
    let keys = keys.into_iter().zip(names).map(|(key, name)| Ok((bind(unaliased(key).clone(), schema)?, name)));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let keys = match Sets::of(aggregate)? {
        None => PhysicalGroupBy::new_single(keys),
        Some(sets) => by_sets(keys, &sets, &input.schema())?,
    };
    let names = aggregate.schema.fields().iter().skip(keys.num_group_exprs()).map(|field| field.name().clone());
    let functions =
        aggregate.aggr_expr.iter().zip(names).map(|(call, name)| aggregated(call, name, schema, &input.schema()));
    grouped(keys, functions.collect::<Result<Vec<_>>>()?, input)
}

fn by_sets(keys: Vec<(Arc<dyn PhysicalExpr>, String)>, sets: &Sets, input: &Schema) -> Result<PhysicalGroupBy> {
    let null = |(key, name): &(Arc<dyn PhysicalExpr>, String)| {
        let null = ScalarValue::try_new_null(&key.data_type(input)?)?;
        Ok((lit(null), name.clone()))
    };
    let nulls = keys.iter().map(null).collect::<Result<Vec<_>>>()?;
    let lacks = sets.holds().iter().map(|holds| holds.iter().map(|holds| !holds).collect());
    Ok(PhysicalGroupBy::new(keys, nulls, lacks.collect(), true))
}

type Filtered = (Arc<AggregateFunctionExpr>, Option<Arc<dyn PhysicalExpr>>);

fn grouped(keys: PhysicalGroupBy, functions: Vec<Filtered>, input: Operators) -> Result<Operators> {
    let (functions, filters) = functions.into_iter().unzip();
    let schema = input.schema();
    Ok(Arc::new(AggregateExec::try_new(AggregateMode::Single, keys, functions, filters, input, schema)?))
}

fn aggregated(call: &Expr, name: String, schema: &DFSchemaRef, input: &Arc<Schema>) -> Result<Filtered> {
    let Expr::AggregateFunction(call) = unaliased(call) else {
        return not_impl_err!("{call} as an aggregate");
    };
    let parameters = &call.params;
    let arguments =
        parameters.args.iter().map(|argument| bind(argument.clone(), schema)).collect::<Result<Vec<_>>>()?;
    let mut by = order(&parameters.order_by, schema)?;
    if crate::job::query::goes_by_order(call.func.name()) {
        // Ties, and functions of an order without one, fall by all columns.
        by.extend(by_all_columns(input));
    } else if !call.func.supports_within_group_clause() {
        by.clear();
    }
    let function = AggregateExprBuilder::new(Arc::clone(&call.func), arguments)
        .schema(Arc::clone(input))
        .alias(name)
        .order_by(by)
        .with_distinct(parameters.distinct)
        .with_ignore_nulls(parameters.null_treatment == Some(NullTreatment::IgnoreNulls))
        .build()?;
    let filter = parameters.filter.as_ref().map(|filter| bind(filter.as_ref().clone(), schema)).transpose()?;
    Ok((Arc::new(function), filter))
}

/// Window functions (OVER), all over the same partitions and order.
fn over(window: &logical_plan::Window, input: Operators) -> Result<Operators> {
    let schema = window.input.schema();
    let calls = window.window_expr.iter().map(|expression| match unaliased(expression) {
        Expr::WindowFunction(call) => Ok(call.as_ref()),
        other => not_impl_err!("{other} as a window function"),
    });
    let calls: Vec<&WindowFunction> = calls.collect::<Result<_>>()?;
    let first = calls.first().ok_or_else(|| plan_datafusion_err!("a window without functions"))?;
    let mut by: Vec<PhysicalSortExpr> = Vec::new();
    for key in &first.params.partition_by {
        by.push(ascending(bind(key.clone(), schema)?));
    }
    by.extend(order(&first.params.order_by, schema)?);
    let sorted = ordered(by, input, None);
    let names = window.schema.fields().iter().skip(schema.fields().len()).map(|field| field.name().clone());
    let functions = calls.iter().zip(names).map(|(call, name)| window_function(call, name, schema, &sorted.schema()));
    let functions: Vec<Arc<dyn WindowExpr>> = functions.collect::<Result<_>>()?;
    Ok(Arc::new(WindowAggExec::try_new(functions, sorted, false)?))
}

fn window_function(
    call: &WindowFunction,
    name: String,
    schema: &DFSchemaRef,
    input: &Arc<Schema>,
) -> Result<Arc<dyn WindowExpr>> {
    let parameters = &call.params;
    let all = |expressions: &[Expr]| -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        expressions.iter().map(|expression| bind(expression.clone(), schema)).collect()
    };
    create_window_expr(
        &call.fun,
        name,
        &all(&parameters.args)?,
        &all(&parameters.partition_by)?,
        &order(&parameters.order_by, schema)?,
        Arc::new(parameters.window_frame.clone()),
        Arc::clone(input),
        parameters.null_treatment == Some(NullTreatment::IgnoreNulls),
        parameters.distinct,
        parameters.filter.as_ref().map(|filter| bind(filter.as_ref().clone(), schema)).transpose()?,
    )
}

fn cut(limit: &logical_plan::Limit, input: Operators) -> Result<Operators> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?) else {
        return not_impl_err!("LIMIT and OFFSET that aren't numbers");
    };
    // What comes first must not depend on how the operators below happened to put it.
    let input =
        if matches!(limit.input.as_ref(), LogicalPlan::Sort(_)) { input } else { ordered(Vec::new(), input, None) };
    Ok(Arc::new(GlobalLimitExec::new(input, skip, fetch)))
}

/// Sorted inputs as one partition.
fn merged(sorted: Vec<Operators>) -> Result<Operators> {
    let all = UnionExec::try_new(sorted)?;
    let order = LexOrdering::new(by_all_columns(&all.schema()));
    let order = order.ok_or_else(|| plan_datafusion_err!("UNION ALL of rows without columns"))?;
    Ok(Arc::new(SortPreservingMergeExec::new(order, all)))
}

fn joined(join: &logical_plan::Join, left: Operators, right: Operators) -> Result<Operators> {
    if join.on.is_empty() {
        return not_impl_err!("a join without equal columns");
    }
    let filter = join.filter.as_ref().map(|filter| join_filter(filter, join)).transpose()?;
    let on = join
        .on
        .iter()
        .map(|(one, other)| Ok((bind(one.clone(), join.left.schema())?, bind(other.clone(), join.right.schema())?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let (kind, mode, nulls) = (&join.join_type, PartitionMode::CollectLeft, join.null_equality);
    Ok(Arc::new(HashJoinExec::try_new(left, right, on, filter, kind, None, mode, nulls, join.null_aware)?))
}

/// What else must hold for a pair of rows: it is evaluated over all columns of both.
fn join_filter(filter: &Expr, join: &logical_plan::Join) -> Result<JoinFilter> {
    let both = Arc::new(join.left.schema().join(join.right.schema())?);
    let side = |plan: &LogicalPlan, side: JoinSide| {
        (0..plan.schema().fields().len()).map(move |index| ColumnIndex { index, side }).collect::<Vec<_>>()
    };
    let columns = [side(&join.left, JoinSide::Left), side(&join.right, JoinSide::Right)].concat();
    let schema = Arc::new(both.as_arrow().clone());
    Ok(JoinFilter::new(bind(filter.clone(), &both)?, columns, schema))
}

/// `input` in the order of `by`, ties by all columns.
fn ordered(mut by: Vec<PhysicalSortExpr>, input: Operators, fetch: Option<usize>) -> Operators {
    by.extend(by_all_columns(&input.schema()));
    match LexOrdering::new(by) {
        Some(order) => Arc::new(SortExec::new(order, input).with_fetch(fetch)),
        None => input,
    }
}

fn order(by: &[datafusion_expr::expr::Sort], schema: &DFSchemaRef) -> Result<Vec<PhysicalSortExpr>> {
    by.iter()
        .map(|sort| {
            let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
            Ok(PhysicalSortExpr { expr: bind(sort.expr.clone(), schema)?, options })
        })
        .collect()
}

fn by_all_columns(schema: &Schema) -> Vec<PhysicalSortExpr> {
    columns(schema).into_iter().map(|(column, _)| ascending(column)).collect()
}

fn columns(schema: &Schema) -> Vec<(Arc<dyn PhysicalExpr>, String)> {
    let columns = schema.fields().iter().enumerate();
    columns.map(|(index, field)| (Arc::new(Column::new(field.name(), index)) as _, field.name().clone())).collect()
}

fn ascending(expr: Arc<dyn PhysicalExpr>) -> PhysicalSortExpr {
    PhysicalSortExpr { expr, options: SortOptions { descending: false, nulls_first: false } }
}
