//! The layer of a query next to its window: groups of records, or the records themselves. It is taken out of the plan,
//! which then reads the rows of closed windows in its place.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchemaRef, Result, TableReference};
use datafusion_expr::logical_plan::builder::LogicalTableSource;
use datafusion_expr::logical_plan::{self, Projection, TableScan};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::aggregate::{Records, Refusal};
use super::super::expression::bind;
use super::super::output::{Grouped, distinct, over_window, window_fields};
use super::flat::Flat;
use super::used_columns;
use crate::event::OFFSET;
use crate::job::above::closed_table;
use crate::job::plan::{Kept, Key};
use crate::windows::WINDOW_COLUMNS;

/// A query, cut.
pub(super) struct Leg {
    /// WHERE, over the record.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// What is kept until the window closes.
    pub grouped: Grouped,
    /// Groups or rows.
    pub kept: Kept,
    /// The rest of the plan, over the rows of closed windows.
    pub above: LogicalPlan,
}

/// Cuts `plan`, which reads the window `relation`.
pub(super) fn take(
    plan: LogicalPlan,
    relation: &str,
    records: &Records<'_>,
    fallback: Span,
) -> Result<Leg, (Refusal, Span)> {
    let mut taken: Vec<Taken> = Vec::new();
    let mut refusal = None;
    let above = plan.transform_down(|node| {
        let cut = match &node {
            LogicalPlan::Aggregate(aggregate) => {
                Flat::of(&aggregate.input, relation).map(|flat| Taken::groups(flat, aggregate, records, fallback))
            }
            other => Flat::of(other, relation).map(|flat| Taken::rows(flat, records)),
        };
        match cut {
            None => Ok(Transformed::no(node)),
            Some(Ok(leg)) => {
                let rest = leg.in_place_of(node.schema())?;
                taken.push(leg);
                Ok(Transformed::new(rest, true, TreeNodeRecursion::Jump))
            }
            Some(Err(refused)) => {
                refusal.get_or_insert(refused);
                Ok(Transformed::new(node, false, TreeNodeRecursion::Stop))
            }
        }
    });
    if let Some(refusal) = refusal {
        return Err((refusal, fallback));
    }
    let above = above.map_err(|error| (error.into(), fallback))?.data;
    let mut taken = taken.into_iter();
    match (taken.next(), taken.next()) {
        (Some(leg), None) => Ok(Leg { filter: leg.filter, grouped: leg.grouped, kept: leg.kept, above }),
        (Some(_), Some(_)) => {
            let message = "a query that reads its window twice isn't supported yet".to_owned();
            let help = "write one INSERT for each, or join the results where they are read".to_owned();
            Err((Refusal::Words(message, help), fallback))
        }
        (None, _) => {
            let message = "the query reads no window".to_owned();
            let help = "write FROM TUMBLE(stream, time, INTERVAL '1 minute')".to_owned();
            Err((Refusal::Words(message, help), fallback))
        }
    }
}

struct Taken {
    filter: Option<Arc<dyn PhysicalExpr>>,
    grouped: Grouped,
    kept: Kept,
    /// Conditions over the rows of closed windows.
    having: Option<Expr>,
}

impl Taken {
    fn groups(
        flat: Flat,
        aggregate: &logical_plan::Aggregate,
        records: &Records<'_>,
        fallback: Span,
    ) -> Result<Taken, Refusal> {
        if let Some(column) = flat.filters.iter().flat_map(Expr::column_refs).find(|column| is_window_column(column)) {
            let message = format!("`{}` can't be used in WHERE, which goes before the window", column.name);
            return Err(Refusal::Words(message, "write the condition in HAVING".to_owned()));
        }
        let schema = aggregate.input.schema();
        let placed = |expression: &Expr| Ok((flat.over_table(expression.clone(), schema)?, fallback));
        let groups = distinct(&aggregate.group_expr).into_iter().map(placed).collect::<Result<Vec<_>>>()?;
        let mixes = |expression: &Expr| {
            over_window(expression)
                && expression.column_refs().iter().any(|column| records.schema.index_of(&column.name).is_ok())
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
        let grouped = Grouped::of(groups, calls, records).map_err(|(refusal, _)| refusal)?;
        Ok(Taken { filter: filter(flat.filters, records)?, grouped, kept: Kept::Groups, having: None })
    }

    fn rows(flat: Flat, records: &Records<'_>) -> Result<Taken, Refusal> {
        let (having, before): (Vec<Expr>, Vec<Expr>) = flat.filters.into_iter().partition(over_window);
        let above: Vec<Expr> = flat.columns.iter().chain(&having).cloned().collect();
        let mut fields = window_fields(&WINDOW_COLUMNS);
        let mut keys = Vec::new();
        let mut columns = used_columns(&above, records);
        if columns.is_empty() {
            // Something must stand for each row.
            columns.push(Expr::Column(Column::new_unqualified(OFFSET)));
        }
        for column in columns {
            let expression = bind(column.clone(), &records.columns)?;
            let name = column.schema_name().to_string();
            fields.push(Field::new(&name, expression.data_type(&records.schema)?, true));
            keys.push(Key { name, expression });
        }
        let closed_schema = Arc::new(Schema::new(fields));
        let grouped = Grouped { keys, aggregates: Vec::new(), closed_schema, meanings: flat.columns };
        Ok(Taken { filter: filter(before, records)?, grouped, kept: Kept::Rows, having: conjunction(having) })
    }

    /// What stands in the plan instead: the same columns, made of the rows of closed windows.
    fn in_place_of(&self, schema: &DFSchemaRef) -> Result<LogicalPlan> {
        let mut below = scan(&self.grouped.closed_schema)?;
        if let Some(condition) = &self.having {
            let filter = logical_plan::Filter::try_new(condition.clone(), Arc::new(below))?;
            below = LogicalPlan::Filter(filter);
        }
        let columns = schema
            .iter()
            .zip(&self.grouped.meanings)
            .map(|((qualifier, field), meaning)| meaning.clone().alias_qualified(qualifier.cloned(), field.name()));
        let projection = Projection::try_new_with_schema(columns.collect(), Arc::new(below), Arc::clone(schema))?;
        Ok(LogicalPlan::Projection(projection))
    }
}

fn is_window_column(column: &Column) -> bool {
    WINDOW_COLUMNS.contains(&column.name.as_str())
}

fn filter(conditions: Vec<Expr>, records: &Records<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    conjunction(conditions).map(|condition| bind(condition, &records.columns)).transpose()
}

fn scan(closed: &SchemaRef) -> Result<LogicalPlan> {
    let source = Arc::new(LogicalTableSource::new(Arc::clone(closed)));
    let scan = TableScan::try_new(TableReference::bare(closed_table(0)), source, None, Vec::new(), None)?;
    Ok(LogicalPlan::TableScan(scan))
}
