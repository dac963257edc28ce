//! What windows that the data makes are told apart by (PARTITION BY), in queries of several layers: which group keys it is, and
//! what can't stand above such windows.
//!
//! Invariant: above SESSION and SLIDING a group holds the rows of all windows with its bounds, whatever their keys. They are
//! over at the same watermark, so they come together. Windows of COUNT_WINDOW that end together don't, so there a group is of
//! one key.

use std::sync::Arc;

use datafusion_common::{DFSchema, DFSchemaRef, Result, TableReference};
use datafusion_expr::Expr;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::planner::{PlannerContext, SqlToRel};

use super::super::aggregate::{Records, Refusal};
use super::super::catalog::{Catalog, parser_options};
use super::super::error::problem;
use super::super::expression::{coerce, unqualified};
use super::super::names::{Clause, Names};
use super::super::output::{self, Grouped};
use super::super::window::{by_partition_keys, window_columns};
use super::relation::{Relation, RelationInput};
use crate::job::Problems;
use crate::job::definition::WindowCall;
use crate::job::plan::Leg;
use crate::windows::{ByData, Window};

/// The expressions of PARTITION BY over the `columns` that the window's input has, without qualifiers.
pub(super) fn partition_by(call: &WindowCall, columns: &DFSchemaRef, problems: &mut Problems) -> Option<Vec<Expr>> {
    let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
    let qualifier = call.input.name().unwrap_or(&call.relation);
    let names = Names {
        qualifier: Some(qualifier),
        columns: &names,
        window_columns: window_columns(call),
        aliases: &[],
        fallback: call.span,
    };
    let mut keys = Vec::with_capacity(call.partition_by.len());
    for written in &call.partition_by {
        names.check(&written.value, Clause::PartitionBy, problems)?;
        match key(&written.value, qualifier, columns) {
            Ok(key) => keys.push(key),
            Err(error) => {
                problems.push(problem(&error, written.span));
                return None;
            }
        }
    }
    Some(keys)
}

fn key(written: &datafusion_sql::sqlparser::ast::Expr, qualifier: &str, columns: &DFSchemaRef) -> Result<Expr> {
    let schema = Arc::clone(columns.inner());
    let qualified = DFSchema::try_from_qualified_schema(TableReference::bare(qualifier), &schema)?;
    let catalog = Catalog::new([(qualifier, schema)]);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    let logical = planner.sql_to_expr(written.clone(), &qualified, &mut PlannerContext::new())?;
    unqualified(coerce(logical, &qualified)?)
}

/// The same over the records of one input, as group keys are made.
pub(super) fn bound(keys: &[Expr], records: &Records<'_>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    keys.iter().map(|key| Ok(output::key(key.clone(), "", records)?.0)).collect()
}

/// The window of groups: told apart by those of its keys that stand in PARTITION BY, which must be all.
pub(super) fn of_groups(
    relation: &Relation<'_>,
    input: &RelationInput<'_>,
    grouped: &Grouped,
) -> Result<Window, Refusal> {
    let Window::ByData(kind) = &relation.window else { return Ok(relation.window) };
    let by = &input.records.partition_by;
    let is_missing = |key: &Arc<dyn PhysicalExpr>| !grouped.keys.iter().any(|other| &other.expression == key);
    if let Some(missing) = by.iter().position(is_missing) {
        let written = &relation.call.partition_by[missing].value;
        let message = format!("`{written}` has windows of its own, so GROUP BY must name it");
        return Err(Refusal::Words(message, format!("add it: GROUP BY window_start, window_end, {written}")));
    }
    if !grouped.sets.is_empty() {
        return of_sets(relation, kind, input, grouped);
    }
    let count = grouped.keys.iter().filter(|key| by.contains(&key.expression)).count();
    if let (ByData::Sliding(_), Some(key)) = (kind, grouped.keys.get(count)) {
        let key = &key.name;
        let message = format!("SLIDING makes windows for each key of PARTITION BY, and `{key}` is only in GROUP BY");
        return Err(Refusal::Words(message, "add it to PARTITION BY, or leave it out of GROUP BY".to_owned()));
    }
    Ok(by_partition_keys(relation.window, count))
}

/// Grouping sets: a record counts once in each, which must be the same windows in all.
fn of_sets(
    relation: &Relation<'_>,
    kind: &ByData,
    input: &RelationInput<'_>,
    grouped: &Grouped,
) -> Result<Window, Refusal> {
    let by = &input.records.partition_by;
    let ByData::Session(_) = kind else {
        let message =
            format!("grouping sets over {} aren't supported: each set would count the records anew", kind.name());
        let help = "group by all the keys there, and by several sets of them in a query above";
        return Err(Refusal::Words(message, help.to_owned()));
    };
    let count = grouped.keys.iter().filter(|key| by.contains(&key.expression)).count();
    let lacking = |key: usize| grouped.sets.iter().any(|set| !set.holds[key]);
    if let Some(key) = (0..count).find(|&key| lacking(key)) {
        let message = format!("`{}` has windows of its own, and isn't in every grouping set", grouped.keys[key].name);
        let help = "write GROUP BY window_start, window_end, what is in PARTITION BY, and the sets of keys behind them";
        return Err(Refusal::Words(message, help.to_owned()));
    }
    Ok(by_partition_keys(relation.window, count))
}

/// Refuses inputs of which it can't be told what comes first.
pub(super) fn of_inputs(window: &Window, inputs: &[RelationInput<'_>]) -> Result<(), Refusal> {
    if let (Window::ByData(ByData::Counting(_)), true) = (window, inputs.len() > 1) {
        let message = "UNION ALL below COUNT_WINDOW isn't supported: two of its rows may have one position".to_owned();
        let help = "choose records of one stream by one condition: SELECT … WHERE this OR that";
        return Err(Refusal::Words(message, help.to_owned()));
    }
    Ok(())
}

/// Refuses records by themselves where a window keeps sums.
pub(super) fn of_rows(relation: &Relation<'_>) -> Result<(), Refusal> {
    let Window::ByData(ByData::Sliding(_)) = &relation.window else { return Ok(()) };
    let message = "SLIDING keeps sums of its records, and this asks for the records: each would stand in the windows of all \
                   that come within the size behind it";
    let help = "group by window_start, window_end and the keys: array_agg(x) has the values of a window";
    Err(Refusal::Words(message.to_owned(), help.to_owned()))
}

/// The keys that groups above must hold: where windows of several keys don't close together.
pub(super) fn own_keys<'r>(relation: &'r Relation<'_>) -> &'r [Expr] {
    match &relation.window {
        Window::ByData(ByData::Counting(_)) => &relation.partition_by,
        _ => &[],
    }
}

/// Which of [`own_keys`] an expression over the relation's columns is.
pub(super) fn own_key(relation: &Relation<'_>, expression: &Expr) -> Option<usize> {
    own_keys(relation).iter().position(|key| key == expression)
}

/// Whether several windows may begin and end together.
pub(super) fn has_windows_beside_each_other(relation: &Relation<'_>) -> bool {
    match &relation.window {
        // One of them holds fewer than others.
        Window::ByData(ByData::Counting(_)) => true,
        Window::ByData(_) => !relation.partition_by.is_empty(),
        _ => false,
    }
}

/// Refuses joins of windows that don't close together.
pub(super) fn of_joined(legs: &[Leg]) -> Result<(), Refusal> {
    let is_counted = |leg: &Leg| matches!(leg.window, Window::ByData(ByData::Counting(_))) && leg.within.is_none();
    if legs.len() < 2 || !legs.iter().any(is_counted) {
        return Ok(());
    }
    let message =
        "COUNT_WINDOW can't be joined: from where on a key's windows are whole is found for each side by itself";
    let help = "write it as one: count(*) OVER (PARTITION BY window_start, window_end, key) beside the records";
    Err(Refusal::Words(message.to_owned(), help.to_owned()))
}
