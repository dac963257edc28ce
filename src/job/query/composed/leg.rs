//! The layers of a query next to its windows: groups of records, or the records themselves. They are taken out of the plan,
//! which then reads the rows of closed windows in their place.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchemaRef, Result, TableReference};
use datafusion_expr::logical_plan::builder::LogicalTableSource;
use datafusion_expr::logical_plan::{self, Projection, TableScan};
use datafusion_expr::utils::{conjunction, grouping_set_to_exprlist};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::aggregate::{Records, Refusal};
use super::super::expression::{bind, over};
use super::super::output::{Grouped, over_window, window_fields};
use super::super::sets::Sets;
use super::super::window::by_partition_keys;
use super::flat::Flat;
use super::partition;
use super::relation::{Relation, RelationInput};
use super::used_columns;
use crate::event::OFFSET;
use crate::job::above::closed_table;
use crate::job::plan::{self, Kept, Key};
use crate::windows::{COUNT_WINDOW_COLUMNS, Window};

/// A query, cut.
pub(super) struct Legs {
    /// What is kept until windows close.
    pub legs: Vec<plan::Leg>,
    /// The rest of the plan, over the rows of closed windows.
    pub above: LogicalPlan,
}

/// Cuts `plan`, which reads `relations`; `within` is the window above theirs.
pub(super) fn take(
    plan: LogicalPlan,
    relations: &[Relation<'_>],
    within: Option<Window>,
    fallback: Span,
) -> Result<Legs, Refusal> {
    let mut legs: Vec<plan::Leg> = Vec::new();
    let mut refusal = None;
    let above = plan.transform_down(|node| {
        let taken = match Taken::of(&node, relations, fallback) {
            None => return Ok(Transformed::no(node)),
            Some(Ok(taken)) => taken,
            Some(Err(refused)) => {
                refusal.get_or_insert(refused);
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Stop));
            }
        };
        let (leg, mut taken) = taken.numbered(legs.len(), within);
        match legs.iter().position(|other| other.keeps_what(&leg)) {
            // What is read twice is kept once.
            Some(known) => taken.number = known,
            None => legs.push(leg),
        }
        let rest = taken.in_place_of(node.schema())?;
        Ok(Transformed::new(rest, true, TreeNodeRecursion::Jump))
    });
    match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(Legs { legs, above: above?.data }),
    }
}

/// A layer that reads a window.
struct Read {
    window: Window,
    kept: Kept,
    /// For each input.
    inputs: Vec<(plan::Input, Grouped)>,
    /// Conditions over the rows of closed windows.
    having: Option<Expr>,
}

/// What is known of a leg when it is out of the plan.
struct Taken {
    number: usize,
    /// Layout of the rows that take its place.
    schema: SchemaRef,
    having: Option<Expr>,
    /// What the columns of the layer are over those rows.
    meanings: Vec<Expr>,
}

impl Taken {
    fn of(node: &LogicalPlan, relations: &[Relation<'_>], fallback: Span) -> Option<Result<Read, Refusal>> {
        let (flat, aggregate) = match node {
            LogicalPlan::Aggregate(aggregate) => (Flat::of(&aggregate.input)?, Some(aggregate)),
            other => (Flat::of(other)?, None),
        };
        let relation = relations.iter().find(|relation| relation.call.relation == flat.table)?;
        Some(match aggregate {
            Some(aggregate) => Read::groups(&flat, aggregate, relation, fallback),
            None => Read::rows(&flat, relation),
        })
    }

    /// What stands in the plan instead: the same columns, made of the rows of closed windows.
    fn in_place_of(&self, schema: &DFSchemaRef) -> Result<LogicalPlan> {
        let source = Arc::new(LogicalTableSource::new(Arc::clone(&self.schema)));
        let table = TableReference::bare(closed_table(self.number));
        let mut below = LogicalPlan::TableScan(TableScan::try_new(table, source, None, Vec::new(), None)?);
        if let Some(condition) = &self.having {
            let filter = logical_plan::Filter::try_new(condition.clone(), Arc::new(below))?;
            below = LogicalPlan::Filter(filter);
        }
        let columns = schema
            .iter()
            .zip(&self.meanings)
            .map(|((qualifier, field), meaning)| meaning.clone().alias_qualified(qualifier.cloned(), field.name()));
        let projection = Projection::try_new_with_schema(columns.collect(), Arc::new(below), Arc::clone(schema))?;
        Ok(LogicalPlan::Projection(projection))
    }
}

impl Read {
    fn numbered(self, number: usize, within: Option<Window>) -> (plan::Leg, Taken) {
        let Read { window, kept, inputs, having } = self;
        let (inputs, mut grouped): (Vec<plan::Input>, Vec<Grouped>) = inputs.into_iter().unzip();
        let Grouped { sets, closed_schema, meanings, .. } = grouped.swap_remove(0);
        let leg = plan::Leg { inputs, window, within, kept, sets, closed_schema };
        let taken = Taken { number, schema: leg.gathered_schema(), having, meanings };
        (leg, taken)
    }

    fn groups(
        flat: &Flat,
        aggregate: &logical_plan::Aggregate,
        relation: &Relation<'_>,
        fallback: Span,
    ) -> Result<Read, Refusal> {
        if let Some(column) = flat.filters.iter().flat_map(Expr::column_refs).find(|column| is_window_column(column)) {
            let message = format!("`{}` can't be used in WHERE, which goes before the window", column.name);
            return Err(Refusal::Words(message, "write the condition in HAVING".to_owned()));
        }
        let schema = aggregate.input.schema();
        let placed = |expression: &Expr| Ok((flat.over_table(expression.clone(), schema)?, fallback));
        let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
        let groups = groups.into_iter().map(placed).collect::<Result<Vec<_>>>()?;
        let sets = Sets::of(aggregate)?;
        sets.iter().try_for_each(|sets| all_hold_the_window(sets, &groups))?;
        let mixes = |expression: &Expr| {
            over_window(expression) && expression.column_refs().iter().any(|column| !is_window_column(column))
        };
        if let Some((expression, _)) = groups.iter().find(|(expression, _)| mixes(expression)) {
            let message = format!("`{expression}` mixes columns of the window and of the record in GROUP BY");
            let help = "group by each of them, and put them together in the SELECT list";
            return Err(Refusal::Words(message, help.to_owned()));
        }
        let calls = aggregate.aggr_expr.iter().map(placed).collect::<Result<Vec<_>>>()?;
        if let Some((call, _)) = calls.iter().find(|(call, _)| over_window(call)) {
            let message = format!("`{call}` uses the window inside an aggregate");
            return Err(Refusal::Words(
                message,
                "it is the same for all records: use it beside the aggregate".to_owned(),
            ));
        }
        let of_input = |input: &RelationInput<'_>| {
            let grouped = Grouped::of(groups.clone(), sets.as_ref(), calls.clone(), &input.records);
            let grouped = grouped.map_err(|(refusal, _)| refusal)?;
            let taken = plan::Input {
                stream: input.records.stream_index,
                filter: filter(&flat.filters, input)?,
                unnest: None,
                keys: grouped.keys.clone(),
                aggregates: grouped.aggregates.clone(),
            };
            Ok((taken, grouped))
        };
        let inputs = relation.inputs.iter().map(of_input).collect::<Result<Vec<_>, Refusal>>()?;
        // The branches of a relation differ in what its columns mean, not in which of them are keys.
        let window = partition::of_groups(relation, &relation.inputs[0], &inputs[0].1)?;
        Ok(Read { window, kept: Kept::Groups, inputs, having: None })
    }

    fn rows(flat: &Flat, relation: &Relation<'_>) -> Result<Read, Refusal> {
        partition::of_rows(relation)?;
        let (having, before): (Vec<Expr>, Vec<Expr>) = flat.filters.iter().cloned().partition(over_window);
        let above: Vec<Expr> = flat.columns.iter().chain(&having).cloned().collect();
        let is_by_data = matches!(relation.window, Window::ByData(_));
        let of_input = |input: &RelationInput<'_>| {
            let keys = keys_of_rows(&above, &input.records)?;
            let mut fields = window_fields(input.records.window_columns);
            for key in &keys {
                let data_type = key.expression.data_type(&input.records.schema)?;
                fields.push(Field::new(&key.name, data_type, true));
            }
            let aggregates = if is_by_data { vec![input.records.count_of_equals()?] } else { Vec::new() };
            let grouped = Grouped {
                keys: keys.clone(),
                aggregates: Vec::new(),
                sets: Vec::new(),
                closed_schema: Arc::new(Schema::new(fields)),
                meanings: flat.columns.clone(),
            };
            let (stream, filter) = (input.records.stream_index, filter(&before, input)?);
            Ok((plan::Input { stream, filter, unnest: None, keys, aggregates }, grouped))
        };
        let inputs = relation.inputs.iter().map(of_input).collect::<Result<Vec<_>, Refusal>>()?;
        let window = by_partition_keys(relation.window, relation.partition_by.len());
        let kept = if is_by_data { Kept::Counted } else { Kept::Rows };
        Ok(Read { window, kept, inputs, having: conjunction(having) })
    }
}

/// What windows are told apart by, and the columns of records that `above` uses, as keys.
fn keys_of_rows(above: &[Expr], records: &Records<'_>) -> Result<Vec<Key>> {
    let mut columns = used_columns(above, records);
    if columns.is_empty() && records.partition_by.is_empty() {
        // Something must stand for each row.
        columns.push(Expr::Column(Column::new_unqualified(OFFSET)));
    }
    let key = |column: Expr| {
        let name = column.schema_name().to_string();
        Ok(Key { name, expression: records.bind(column)? })
    };
    // Their names are nobody's: they hold a space.
    let of_windows = records.partition_by.iter().enumerate().map(|(number, expression)| {
        Ok(Key { name: format!("partition {number}"), expression: Arc::clone(expression) })
    });
    of_windows.chain(columns.into_iter().map(key)).collect()
}

/// Refuses sets of which some lack what others hold of the window: the rows of windows always have all of it.
fn all_hold_the_window(sets: &Sets, groups: &[(Expr, Span)]) -> Result<(), Refusal> {
    let in_all = |index: usize| sets.holds().iter().all(|set| set[index]);
    let lacked = groups.iter().enumerate().find(|(index, (group, _))| over_window(group) && !in_all(*index));
    let Some((_, (group, _))) = lacked else { return Ok(()) };
    let message = format!("`{group}` isn't in every grouping set");
    let help = "write GROUP BY window_start, window_end, and the sets of keys behind them, as ROLLUP (…)";
    Err(Refusal::Words(message, help.to_owned()))
}

fn is_window_column(column: &Column) -> bool {
    COUNT_WINDOW_COLUMNS.contains(&column.name.as_str())
}

/// `conditions` over the relation's columns, and the input's own.
fn filter(conditions: &[Expr], input: &RelationInput<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(chosen) = &input.records.chosen else {
        return conjunction(conditions.to_vec()).map(|condition| input.records.bind(condition)).transpose();
    };
    let over_record = |condition: &Expr| over(condition.clone(), &input.records.columns, &chosen.columns);
    let conditions = conditions.iter().map(over_record).collect::<Result<Vec<_>>>()?;
    let all = input.filter.iter().cloned().chain(conditions);
    conjunction(all).map(|condition| bind(condition, &chosen.record)).transpose()
}
