//! What a query does above its windows, without the names given on the way: operators and their expressions.

use std::sync::Arc;

use datafusion_physical_expr::PhysicalSortExpr;
use datafusion_physical_expr::window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::aggregates::AggregateExec;
use datafusion_physical_plan::filter::FilterExec;
use datafusion_physical_plan::joins::HashJoinExec;
use datafusion_physical_plan::limit::GlobalLimitExec;
use datafusion_physical_plan::projection::ProjectionExec;
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::streaming::StreamingTableExec;
use datafusion_physical_plan::union::UnionExec;
use datafusion_physical_plan::windows::{WindowAggExec, WindowUDFExpr};
use serde_json::{Value, json};

use super::{canonical_expression, canonical_function};

/// The operators of `plan`, the last first.
pub(super) fn canonical_operators(plan: &Arc<dyn ExecutionPlan>) -> Value {
    let children: Vec<Value> = plan.children().into_iter().map(canonical_operators).collect();
    json!([plan.name(), canonical_operator(plan.as_ref()), children])
}

fn canonical_operator(plan: &dyn ExecutionPlan) -> Value {
    if let Some(table) = plan.downcast_ref::<StreamingTableExec>() {
        // Which leg is said only where there are several, so that queries of one are what they were.
        return match format!("{:?}", table.partitions()).as_str() {
            "[leg 0]" => json!(table.projection()),
            leg => json!([leg, table.projection()]),
        };
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().map(|column| canonical_expression(&column.expr)).collect();
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return canonical_expression(filter.predicate());
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let keys: Vec<Value> = aggregate.group_expr().expr().iter().map(|(key, _)| canonical_expression(key)).collect();
        let calls = aggregate.aggr_expr().iter().zip(aggregate.filter_expr());
        let calls: Vec<Value> = calls
            .map(|(function, filter)| canonical_function(function, &function.expressions(), filter.as_ref()))
            .collect();
        let sets = aggregate.group_expr();
        return if sets.has_grouping_set() { json!([keys, calls, sets.groups()]) } else { json!([keys, calls]) };
    }
    if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
        return window.window_expr().iter().map(canonical_window_function).collect();
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return json!([canonical_order(sort.expr()), sort.fetch()]);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let on = join.on().iter().map(|(left, right)| json!([canonical_expression(left), canonical_expression(right)]));
        let filter = join.filter().map(|filter| canonical_expression(filter.expression()));
        let kind = format!("{} {:?}", join.join_type(), join.null_equality());
        return json!([kind, on.collect::<Vec<_>>(), filter]);
    }
    if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
        return json!([limit.skip(), limit.fetch()]);
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return json!(canonical_order(merge.expr()));
    }
    if plan.downcast_ref::<UnionExec>().is_some() {
        return json!(null);
    }
    // An operator that isn't known here: a needless new version is better than a missed one.
    json!(datafusion_physical_plan::displayable(plan).one_line().to_string())
}

fn canonical_window_function(call: &Arc<dyn WindowExpr>) -> Value {
    let call = call.as_ref();
    let standard = call.as_any().downcast_ref::<StandardWindowExpr>().and_then(|standard| {
        let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
        Some(function.fun().name().to_owned())
    });
    let aggregate = call.as_any().downcast_ref::<PlainAggregateWindowExpr>().map(|plain| {
        let function = plain.get_aggregate_expr();
        format!("{} {} {}", function.fun().name(), function.is_distinct(), function.ignore_nulls())
    });
    json!({
        "function": standard.or(aggregate).unwrap_or_else(|| call.name().to_owned()),
        "arguments": call.expressions().iter().map(canonical_expression).collect::<Vec<_>>(),
        "partition": call.partition_by().iter().map(canonical_expression).collect::<Vec<_>>(),
        "order": canonical_order(call.order_by()),
        "frame": format!("{:?}", call.get_window_frame()),
    })
}

fn canonical_order<'o>(order: impl IntoIterator<Item = &'o PhysicalSortExpr>) -> Vec<Value> {
    let sort = |sort: &PhysicalSortExpr| {
        json!([canonical_expression(&sort.expr), sort.options.descending, sort.options.nulls_first])
    };
    order.into_iter().map(sort).collect()
}
