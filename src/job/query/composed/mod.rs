//! Queries of several layers: CTEs and subqueries, rows without aggregates, window functions, DISTINCT, a second
//! aggregate, LIMIT. DataFusion plans the whole; the layer next to the window is taken out, as it is what a window keeps
//! of its records, and the rest runs over the rows of closed windows ([`crate::job::Above`]).
//!
//! Invariant: what is above stays inside one window: every group, partition and DISTINCT holds the window. LIMIT is per
//! window.

mod flat;
mod functions;
mod inside;
mod leg;
mod prepare;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Column, DFSchema, DFSchemaRef};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::{AnalyzerRule, Optimizer, OptimizerContext};
use datafusion_sql::planner::SqlToRel;
use datafusion_sql::sqlparser::ast::{self, SetExpr, Spanned as _, Statement};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::{Records, Refusal};
use super::catalog::{Catalog, parser_options};
use super::expression::bind;
use super::output::{self, Grouped, Parts};
use super::partitions::Named;
use super::shape;
use crate::event::Stream;
use crate::job::Problems;
use crate::job::above::{Above, Closed, closed_table};
use crate::job::definition::{InsertDefinition, WindowCall};
use crate::job::plan::{self, Input, ResultColumn};
use crate::windows::{WINDOW_COLUMNS, Window};
use flat::Flat;
use leg::Leg;

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

/// Plans a query of several layers over one window of `stream`. `None` when something is wrong: `problems` says what.
pub(super) fn plan(
    insert: &InsertDefinition,
    call: &WindowCall,
    window: Window,
    stream: (usize, &Stream),
    problems: &mut Problems,
) -> Option<(Parts, Vec<Named>)> {
    let fallback = place(insert);
    let before = problems.len();
    if let Some(second) = insert.windows.get(1) {
        let help = "write one INSERT for each, or join the results where they are read";
        problems.add(second.span, "several windows in one query aren't supported yet", help);
    }
    if let Some(order_by) = insert.query.order_by.as_ref().filter(|_| insert.query.limit_clause.is_none()) {
        problems.add(order_by.span(), shape::ORDER_ALONE.0, shape::ORDER_ALONE.1);
    }
    functions::check(&insert.query, &call.relation, fallback, problems);
    names_are_given(&insert.query, fallback, problems);
    if problems.len() > before {
        return None;
    }
    let parts = Planned::new(insert, call, stream)
        .map_err(|refusal| (refusal, fallback))
        .and_then(|planned| planned.parts(window, &items(&insert.query), fallback));
    match parts {
        Ok(parts) => Some(parts),
        Err((refusal, span)) => {
            refusal.tell(span, problems);
            None
        }
    }
}

/// A query planned by DataFusion, types settled, columns that nobody uses left out.
struct Planned<'a> {
    plan: LogicalPlan,
    relation: &'a str,
    records: Records<'a>,
}

impl<'a> Planned<'a> {
    fn new(
        insert: &InsertDefinition,
        call: &'a WindowCall,
        (stream_index, stream): (usize, &'a Stream),
    ) -> Result<Planned<'a>, Refusal> {
        let schema = stream.record_schema();
        let fields =
            schema.fields().iter().cloned().chain(output::window_fields(&WINDOW_COLUMNS).into_iter().map(Arc::new));
        let input: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let declared: Vec<&str> = stream.columns.iter().map(|column| column.name.as_str()).collect();
        let query = prepare::prepared(&insert.query, &call.relation, &declared);
        let catalog = Catalog::new([(call.relation.as_str(), input)]);
        let planner = SqlToRel::new_with_options(&catalog, parser_options());
        let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
        let plan = TypeCoercion::new().analyze(plan, &ConfigOptions::default())?;
        let unused = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
        let plan = unused.optimize(plan, &OptimizerContext::new(), |_, _| {})?;
        let columns = Arc::new(DFSchema::try_from(Arc::clone(&schema))?);
        Ok(Planned {
            plan,
            relation: &call.relation,
            records: Records {
                stream,
                stream_index,
                schema,
                columns,
                window_columns: &WINDOW_COLUMNS,
                partition_by: Vec::new(),
            },
        })
    }

    /// The pieces of the INSERT, and the names of the result's columns.
    fn parts(self, window: Window, items: &[Span], fallback: Span) -> Result<(Parts, Vec<Named>), (Refusal, Span)> {
        let at = |refusal: Refusal| (refusal, fallback);
        let Leg { filter, grouped, kept, above } = leg::take(self.plan, self.relation, &self.records, fallback)?;
        let edges = inside::edges(&above, &window).map_err(at)?;
        let names: Vec<String> = above.schema().fields().iter().map(|field| field.name().clone()).collect();
        let columns = names.iter().zip(&edges).map(|(name, edge)| Named { name: name.clone(), edge: *edge });
        let named: Vec<Named> = columns.collect();
        let finish = match Flat::of(&above, &closed_table(0)) {
            Some(flat) => Finish::simple(flat, &grouped.closed_schema),
            None => Finish::above(above, &grouped.closed_schema),
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
        let Grouped { keys, aggregates, closed_schema, .. } = grouped;
        let input = Input { stream: self.records.stream_index, filter, keys, aggregates };
        let parts = Parts {
            legs: vec![plan::Leg { inputs: vec![input], window, within: None, kept, closed_schema }],
            above: finish.above,
            having: finish.having,
            columns,
            result_schema: Arc::new(Schema::new(fields)),
        };
        Ok((parts, named))
    }
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
    fn simple(flat: Flat, closed: &SchemaRef) -> Result<Finish, Refusal> {
        let schema = Arc::new(DFSchema::try_from(Arc::clone(closed))?);
        let having = conjunction(flat.filters).map(|condition| bind(condition, &schema)).transpose()?;
        Ok(Finish { above: None, having, columns: flat.columns, schema })
    }

    /// Operators.
    fn above(plan: LogicalPlan, closed: &SchemaRef) -> Result<Finish, Refusal> {
        let closed = Closed { schema: Arc::clone(closed), window: 0..2 };
        let above = Above::new(plan, vec![closed])?;
        let schema = above.schema();
        let columns = schema.fields().iter().map(|field| Expr::Column(Column::new_unqualified(field.name())));
        let columns = columns.collect();
        Ok(Finish { above: Some(above), having: None, columns, schema: Arc::new(DFSchema::try_from(schema)?) })
    }
}

/// Places of the items of the outermost SELECT list; empty where its columns can't be counted from the text.
fn items(query: &ast::Query) -> Vec<Span> {
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
fn names_are_given(query: &ast::Query, fallback: Span, problems: &mut Problems) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
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

/// The columns of a record that `expressions` use, in the order of the record.
fn used_columns(expressions: &[Expr], records: &Records<'_>) -> Vec<Expr> {
    let used = |name: &str| {
        expressions.iter().any(|expression| expression.column_refs().iter().any(|column| column.name == name))
    };
    let columns = records.schema.fields().iter().filter(|field| used(field.name()));
    columns.map(|field| Expr::Column(Column::new_unqualified(field.name()))).collect()
}
