//! The fingerprint of a plan: its version. Equal for every text that means the same, different for every other one.

mod above;

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_physical_expr::expressions::{Column, Literal};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::declaration::Declaration;
use super::plan::{Aggregate, Input, Insert, Kept, Leg, Plan, Publish};
use crate::event::Stream;
use above::canonical_operators;

/// Version of what follows, and of what the engine makes of a plan: raised when the same plan would give other rows or
/// other state.
const FORMAT: u32 = 1;

/// The fingerprint of `plan`, whose own `fingerprint` is not looked at: 32 hexadecimal digits.
pub(super) fn fingerprint(plan: &Plan) -> String {
    format!("{:032x}", xxh3_128(canonical(plan).to_string().as_bytes()))
}

/// Everything that decides what a plan computes, as JSON. serde_json's maps are sorted, so the text is canonical.
fn canonical(plan: &Plan) -> Value {
    json!({
        "format": FORMAT,
        "streams": plan.streams.iter().map(|stream| canonical_stream(stream)).collect::<Vec<_>>(),
        "inserts": plan.inserts.iter().map(canonical_insert).collect::<Vec<_>>(),
    })
}

fn canonical_stream(stream: &Stream) -> Value {
    let mut declaration = Declaration::of(stream);
    // What history keeps beside the columns decides nothing about records.
    declaration.format.keep_rest = false;
    let declaration = serde_json::to_value(declaration).expect("a declaration always serialises");
    let computed: Vec<Value> = stream
        .columns
        .iter()
        .filter_map(|column| match &column.origin {
            crate::event::Origin::Computed(computed) => Some(canonical_expression(&computed.expression)),
            _ => None,
        })
        .collect();
    let mut canonical = json!({
        "name": stream.name,
        "declaration": declaration,
        "computed": computed,
        // IDLE AFTER decides when windows are published, never what is in them, but it belongs to the time clause.
        "idle_after_us": stream.idle_after.map(|idle| idle.as_micros().to_string()),
        "history": stream.history.as_ref().map(ToString::to_string),
    });
    // Said only where it is, as below.
    if let Some(marker) = &stream.marker {
        canonical["marker"] = canonical_expression(&marker.expression);
    }
    canonical
}

fn canonical_insert(insert: &Insert) -> Value {
    let mut canonical = json!({
        "table": insert.table.to_string(),
        "window": insert.window.canonical(),
        "allowed_us": insert.allowed.0,
        "having": insert.having.as_ref().map(canonical_expression),
        "columns": insert.columns.iter()
            .map(|column| json!([column.name, canonical_expression(&column.expression)]))
            .collect::<Vec<_>>(),
        "result": canonical_types(&insert.result_schema),
        "partitions": insert.partitions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "range": insert.range.partition,
        "sort": insert.sort,
        "publish": match insert.publish {
            Publish::EachWindow => "each_window",
            Publish::WholePartitions => "whole_partitions",
        },
    });
    // Said only where they are, so that jobs without them are what they were before there was such a thing.
    match insert.legs.as_slice() {
        [leg] if leg.inputs.len() == 1 && leg.within.is_none() => {
            merge(&mut canonical, canonical_leg(leg));
            merge(&mut canonical, canonical_input(&leg.inputs[0]));
        }
        legs => {
            let whole = |leg: &Leg| {
                let mut canonical = canonical_leg(leg);
                canonical["window"] = leg.window.canonical();
                canonical["inputs"] = leg.inputs.iter().map(canonical_input).collect();
                canonical
            };
            canonical["legs"] = legs.iter().map(whole).collect();
        }
    }
    match insert.late.as_slice() {
        [late] => canonical["late"] = json!(late.table.to_string()),
        late => canonical["late"] = late.iter().map(|late| json!([late.stream, late.table.to_string()])).collect(),
    }
    if let Some(above) = &insert.above {
        canonical["above"] = canonical_operators(&above.operators());
    }
    canonical
}

/// Adds the entries of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn canonical_leg(leg: &Leg) -> Value {
    let mut canonical = json!({ "closed": canonical_types(&leg.closed_schema) });
    if leg.kept != Kept::Groups {
        canonical["rows"] = json!(true);
    }
    if !leg.sets.is_empty() {
        canonical["sets"] = leg.sets.iter().map(|set| json!([set.holds, set.id])).collect();
    }
    canonical
}

fn canonical_input(input: &Input) -> Value {
    let mut canonical = json!({
        "stream": input.stream,
        "filter": input.filter.as_ref().map(canonical_expression),
        "keys": input.keys.iter().map(|key| canonical_expression(&key.expression)).collect::<Vec<_>>(),
        "aggregates": input.aggregates.iter().map(canonical_aggregate).collect::<Vec<_>>(),
    });
    if let Some(unnest) = &input.unnest {
        canonical["unnest"] = json!({
            "list": canonical_expression(&unnest.list),
            "ordinality": unnest.with_ordinality,
            "filter": unnest.filter.as_ref().map(canonical_expression),
        });
    }
    canonical
}

fn canonical_aggregate(aggregate: &Aggregate) -> Value {
    canonical_function(&aggregate.function, &aggregate.arguments, aggregate.filter.as_ref())
}

fn canonical_function(
    function: &AggregateFunctionExpr,
    arguments: &[Arc<dyn PhysicalExpr>],
    filter: Option<&Arc<dyn PhysicalExpr>>,
) -> Value {
    let order: Vec<Value> = function
        .order_bys()
        .iter()
        .map(|sort| json!([canonical_expression(&sort.expr), sort.options.descending, sort.options.nulls_first]))
        .collect();
    json!({
        // Not its display name, which may hold a local alias.
        "function": function.fun().name(),
        "distinct": function.is_distinct(),
        "ignore_nulls": function.ignore_nulls(),
        "reversed": function.is_reversed(),
        "type": function.field().data_type().to_string(),
        "order": order,
        "arguments": arguments.iter().map(canonical_expression).collect::<Vec<_>>(),
        "filter": filter.map(canonical_expression),
    })
}

/// The types of a schema; its names stand in the result's columns, and elsewhere they may hold local aliases.
fn canonical_types(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.data_type().to_string()).collect()
}

/// An expression without the names of its inputs (they may be local aliases; their indices decide), and with the types of
/// its constants, which its display leaves out: `1` and `'1'` look the same in it.
fn canonical_expression(expression: &Arc<dyn PhysicalExpr>) -> Value {
    let mut constants: Vec<String> = Vec::new();
    expression
        .apply(|node| {
            if let Some(literal) = node.downcast_ref::<Literal>() {
                constants.push(format!("{:?}", literal.value()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("the visitor never fails");
    let nameless = Arc::clone(expression).transform(|node| {
        let index = node.downcast_ref::<Column>().map(Column::index);
        Ok(match index {
            Some(index) => Transformed::yes(Arc::new(Column::new("", index)) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    });
    // An expression that can't be rebuilt keeps its names: a needless new version is better than a missed one.
    let text = nameless.map_or_else(|_| expression.to_string(), |nameless| nameless.data.to_string());
    json!([text, constants])
}
