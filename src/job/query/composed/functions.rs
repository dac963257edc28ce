//! The functions and tables of a query of several layers: each function known and depending on the log alone, each table a
//! window or a layer. Columns are left to DataFusion, which knows which layer has which.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned as _, TableFactor,
    Value, ValueWithSpan, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::catalog::{FUNCTIONS, GROUPING};
use super::super::names;
use super::super::shape::identifier;
use crate::job::Problems;

/// Checks all functions and tables of `query`, which may read the tables of those names.
pub(in crate::job::query) fn check(query: &Query, tables: Vec<String>, fallback: Span, problems: &mut Problems) {
    let mut layers = Layers { names: tables };
    // The walks never break off.
    let _ = query.visit(&mut layers);
    let _ = query.visit(&mut Walk { layers: &layers.names, problems, fallback });
}

/// Checks the functions of one expression.
pub(in crate::job::query) fn check_expression(expression: &Expr, fallback: Span, problems: &mut Problems) {
    // The walk never breaks off.
    let _ = expression.visit(&mut Walk { layers: &[], problems, fallback });
}

/// Gathers the names of all CTEs.
struct Layers {
    names: Vec<String>,
}

impl Visitor for Layers {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let layers = query.with.iter().flat_map(|with| &with.cte_tables);
        self.names.extend(layers.map(|layer| identifier(&layer.alias.name)));
        ControlFlow::Continue(())
    }
}

struct Walk<'a> {
    layers: &'a [String],
    problems: &'a mut Problems,
    fallback: Span,
}

impl Walk<'_> {
    /// EXCEPT ALL would have to take away as many rows as there are of the others; DataFusion takes all that are equal.
    fn check_set(&mut self, body: &SetExpr) {
        let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return };
        let is_all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
        if is_all && matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus) {
            let span = if body.span() == Span::empty() { self.fallback } else { body.span() };
            let help = "leave ALL out, or number equal rows with ROW_NUMBER() on both sides";
            self.problems.add(span, format!("{op} ALL isn't supported"), help);
        }
        self.check_set(left);
        self.check_set(right);
    }
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.check_set(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, sample, .. } = table else { return ControlFlow::Continue(()) };
        if sample.is_some() {
            let help = "filter by a function of a column, in WHERE";
            self.problems.add(name.span(), "TABLESAMPLE would leave records to chance", help);
        }
        let written = name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default();
        if !self.layers.contains(&written) {
            let help = "write FROM TUMBLE(stream, time, INTERVAL '1 minute'), or name a view or a query of WITH";
            let help = names::did_you_mean(&written, self.layers.iter().map(String::as_str), help.to_owned());
            self.problems.add(name.span(), format!("unknown table `{written}`"), help);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for join in select.from.iter().flat_map(|table| &table.joins) {
            // DataFusion takes the left side's column, which is null where only the right one has a row.
            let (JoinOperator::FullOuter(on) | JoinOperator::Right(on) | JoinOperator::RightOuter(on)) =
                &join.join_operator
            else {
                continue;
            };
            if matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural) {
                let span = if join.span() == Span::empty() { self.fallback } else { join.span() };
                let message = "the columns of USING would be null where only the right side has a row";
                let help = "write ON a.window_start = b.window_start AND …, and coalesce(a.x, b.x) AS x where both may lack it";
                self.problems.add(span, message, help);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let refusal = match expression {
            Expr::Function(function) => {
                let name = names::function_name(function);
                let is_window_function = function.over.is_some() && FUNCTIONS.windows.contains_key(&name);
                if is_window_function || (function.over.is_none() && name == GROUPING) {
                    None
                } else {
                    names::refused_order(function).or_else(|| names::refused_function(&name))
                }
            }
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                Some((format!("`{name}` has no value"), "a job has no parameters: write the value itself".to_owned()))
            }
            _ => None,
        };
        if let Some((message, help)) = refusal {
            let span = match expression {
                Expr::Function(function) => function.name.span(),
                other => other.span(),
            };
            let span = if span == Span::empty() { self.fallback } else { span };
            self.problems.add(span, message, help);
        }
        ControlFlow::Continue(())
    }
}
