//! Queries of several layers: CTEs and subqueries, rows without aggregates, window functions, DISTINCT, a second
//! aggregate, LIMIT, joins of windows, windows of queries and of windowed results. DataFusion plans the whole; the layers
//! next to windows are taken out, as they are what a window keeps of its records, and the rest runs over the rows of closed
//! windows ([`crate::job::Above`]).
//!
//! Invariant: what is above stays inside one window: every group, partition, DISTINCT and join holds the window. LIMIT is per
//! window.

mod flat;
mod functions;
mod inside;
mod leg;
mod nested;
mod partition;
mod prepare;
mod relation;
mod with;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion_sql::sqlparser::ast::{self, SetExpr, Spanned as _};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::{Records, Refusal};
use super::expression::bind;
use super::output::{self, Parts};
use super::partitions::Named;
use super::shape;
use crate::event::Stream;
use crate::job::Problems;
use crate::job::above::{Above, Closed, closed_table};
use crate::job::definition::InsertDefinition;
use crate::job::plan::{Leg, ResultColumn};
use crate::windows::Window;
pub(super) use flat::Flat;
pub(super) use functions::{check as check_functions, check_expression};
use inside::{Inside, inside};
use leg::Legs;
pub(super) use prepare::{Visible, prepared};
use relation::{Relation, Streams, planned};

/// Whether `query` has more layers than one aggregate over one window.
pub(super) fn is_composed(insert: &InsertDefinition) -> bool {
    prepare::is_composed(insert)
}

/// Where to point at when a layer has no place of its own: the outermost SELECT.
pub(super) fn place(insert: &InsertDefinition) -> Span {
    match insert.query.body.as_ref() {
        SetExpr::Select(select) if select.select_token.0.span != Span::empty() => select.select_token.0.span,
        _ => shape::fallback(insert),
    }
}

/// A query, planned.
pub(super) struct Composed {
    /// The pieces of the INSERT.
    pub parts: Parts,
    /// The result's columns.
    pub columns: Vec<Named>,
    /// The window of the result's rows.
    pub window: Window,
}

/// Plans a query of several layers over windows of `streams`; an input that is none of them, nor a query of WITH, is
/// `unknown`. `None` when something is wrong: `problems` says what.
pub(super) fn plan(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    unknown: &dyn Fn(&str, Span, &mut Problems),
    problems: &mut Problems,
) -> Option<Composed> {
    let (streams, fallback) = (Streams(streams), place(insert));
    let before = problems.len();
    if let Some(order_by) = insert.query.order_by.as_ref().filter(|_| insert.query.limit_clause.is_none()) {
        problems.add(order_by.span(), shape::ORDER_ALONE.0, shape::ORDER_ALONE.1);
    }
    let mut relations: Vec<Relation<'_>> = Vec::with_capacity(insert.windows.len());
    for call in &insert.windows {
        relations.push(with::relation(call, insert, (streams, &relations), unknown, problems)?);
    }
    let tables = with::tables(streams, &relations);
    functions::check(&insert.query, tables, fallback, problems);
    names_are_given(&insert.query, fallback, problems);
    if problems.len() > before {
        return None;
    }
    let composed = planned(&insert.query, streams, &relations)
        .and_then(relational)
        .map_err(|error| (error.into(), fallback))
        .and_then(|plan| parts(plan, &relations, &items(&insert.query), fallback));
    composed.map_err(|(refusal, span)| refusal.tell(span, problems)).ok()
}

/// Subqueries in conditions as joins, and the equal columns of joins told; a plan without either is as it was.
fn relational(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut is_needed = false;
    plan.apply_with_subqueries(|node| {
        is_needed |= matches!(node, LogicalPlan::Join(_) | LogicalPlan::Subquery(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !is_needed {
        return Ok(plan);
    }
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ];
    Optimizer::with_rules(rules).optimize(plan, &OptimizerContext::new(), |_, _| {})
}

/// The pieces of the INSERT, from its plan.
fn parts(
    plan: LogicalPlan,
    relations: &[Relation<'_>],
    items: &[Span],
    fallback: Span,
) -> Result<Composed, (Refusal, Span)> {
    let at = |refusal: Refusal| (refusal, fallback);
    if has_subquery(&plan).map_err(|error| at(error.into()))? {
        let message = "a subquery in an expression must be over the same window: else nobody knows when it is whole";
        let help =
            "compare its window_start and window_end with those outside, or write the condition over columns of FROM";
        return Err(at(Refusal::Words(message.to_owned(), help.to_owned())));
    }
    let Inside { window, edges, is_nested, .. } = inside(&plan, relations).map_err(at)?;
    let unused = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
    let plan = unused.optimize(plan, &OptimizerContext::new(), |_, _| {}).map_err(|error| at(error.into()))?;
    let Legs { legs, above } = leg::take(plan, relations, is_nested.then_some(window), fallback).map_err(at)?;
    partition::of_joined(&legs).map_err(at)?;
    if legs.is_empty() {
        let help = "write FROM TUMBLE(stream, time, INTERVAL '1 minute')".to_owned();
        return Err(at(Refusal::Words("the query reads no window".to_owned(), help)));
    }
    let names: Vec<String> = above.schema().fields().iter().map(|field| field.name().clone()).collect();
    names_differ(&names, items).map_err(|(refusal, span)| (refusal, span.unwrap_or(fallback)))?;
    let named = names.iter().zip(edges).map(|(name, edge)| Named { name: name.clone(), edge }).collect();
    let finish = match (legs.as_slice(), Flat::of(&above)) {
        ([leg], Some(flat)) if flat.table == closed_table(0) => Finish::simple(flat, leg),
        (legs, _) => Finish::above(above, legs),
    };
    let finish = finish.map_err(at)?;
    let (mut columns, mut fields) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
    for (index, (name, expression)) in names.iter().zip(finish.columns).enumerate() {
        let span = items.get(index).copied().filter(|span| *span != Span::empty()).unwrap_or(fallback);
        let (data_type, expression) =
            output::result_column(expression, &finish.schema).map_err(|refusal| (refusal, span))?;
        fields.push(Field::new(name, data_type, true));
        columns.push(ResultColumn { name: name.clone(), expression });
    }
    let result_schema = Arc::new(Schema::new(fields));
    // Which keys tell windows apart is known of the legs.
    let window = if is_nested { window } else { legs[0].window };
    let parts = Parts { legs, above: finish.above, having: finish.having, columns, result_schema };
    Ok(Composed { parts, columns: named, window })
}

/// Whether a subquery is left that is no join.
fn has_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                found |= matches!(expression, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Refuses two columns of one name.
fn names_differ(names: &[String], items: &[Span]) -> Result<(), (Refusal, Option<Span>)> {
    let second = names
        .iter()
        .enumerate()
        .find(|(index, name)| names[..*index].iter().any(|other| other.eq_ignore_ascii_case(name)));
    let Some((index, name)) = second else { return Ok(()) };
    let message = format!("the result has two columns `{name}`");
    Err((Refusal::Words(message, "give one another name with AS".to_owned()), items.get(index).copied()))
}

/// What is left to do with the rows of closed windows.
struct Finish {
    above: Option<Above>,
    having: Option<Arc<dyn datafusion_physical_expr::PhysicalExpr>>,
    /// The result's columns over `schema`.
    columns: Vec<Expr>,
    schema: DFSchemaRef,
}

impl Finish {
    /// Conditions and expressions only.
    fn simple(flat: Flat, leg: &Leg) -> Result<Finish, Refusal> {
        let schema = Arc::new(DFSchema::try_from(Arc::clone(&leg.closed_schema))?);
        let having = conjunction(flat.filters).map(|condition| bind(condition, &schema)).transpose()?;
        Ok(Finish { above: None, having, columns: flat.columns, schema })
    }

    /// Operators.
    fn above(plan: LogicalPlan, legs: &[Leg]) -> Result<Finish, Refusal> {
        let closed = legs.iter().map(|leg| Closed { schema: leg.gathered_schema(), window: leg.gathered_by() });
        let above = Above::new(plan, closed.collect())?;
        let schema = above.schema();
        let columns = schema.fields().iter().map(|field| Expr::Column(Column::new_unqualified(field.name())));
        let columns = columns.collect();
        Ok(Finish { above: Some(above), having: None, columns, schema: Arc::new(DFSchema::try_from(schema)?) })
    }
}

/// Places of the items of the outermost SELECT list; empty where its columns can't be counted from the text.
pub(super) fn items(query: &ast::Query) -> Vec<Span> {
    match query.body.as_ref() {
        SetExpr::Select(select) if !select.projection.iter().any(has_star) => {
            select.projection.iter().map(|item| item.span()).collect()
        }
        _ => Vec::new(),
    }
}

fn has_star(item: &ast::SelectItem) -> bool {
    matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..))
}

/// Says which items of the outermost SELECT list have no name.
pub(super) fn names_are_given(query: &ast::Query, fallback: Span, problems: &mut Problems) {
    // What UNION ALL puts together has the names of its first SELECT.
    let mut body = query.body.as_ref();
    let select = loop {
        body = match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(query) => query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => left.as_ref(),
            _ => return,
        };
    };
    for item in &select.projection {
        let ast::SelectItem::UnnamedExpr(expression) = item else { continue };
        if matches!(expression, ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_)) {
            continue;
        }
        let span = if expression.span() == Span::empty() { fallback } else { expression.span() };
        let message = format!("`{expression}` needs a name, as it becomes a column of the result");
        problems.add(span, message, format!("name it with AS: {expression} AS name"));
    }
}

/// The columns that `expressions` use, in the order in which the query sees them.
fn used_columns(expressions: &[Expr], records: &Records<'_>) -> Vec<Expr> {
    let used = |name: &str| {
        expressions.iter().any(|expression| expression.column_refs().iter().any(|column| column.name == name))
    };
    let columns = records.columns.fields().iter().filter(|field| used(field.name()));
    columns.map(|field| Expr::Column(Column::new_unqualified(field.name()))).collect()
}
