//! The functions of a query of several layers, each known and each depending on the log alone. Columns are left to
//! DataFusion, which knows which layer has which.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Query, Spanned as _, TableFactor, Value, ValueWithSpan, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::catalog::FUNCTIONS;
use super::super::names;
use crate::job::Problems;

/// Checks all functions of `query`; `None` when one was refused.
pub(super) fn check(query: &Query, fallback: Span, problems: &mut Problems) -> Option<()> {
    let before = problems.len();
    // The walk never breaks off.
    let _ = query.visit(&mut Walk { problems, fallback });
    (problems.len() == before).then_some(())
}

struct Walk<'a> {
    problems: &'a mut Problems,
    fallback: Span,
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, sample: Some(_), .. } = table {
            let help = "filter by a function of a column, in WHERE";
            self.problems.add(name.span(), "TABLESAMPLE would leave records to chance", help);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let refusal = match expression {
            Expr::Function(function) => {
                let name = names::function_name(function);
                let is_window_function = function.over.is_some() && FUNCTIONS.windows.contains_key(&name);
                if is_window_function { None } else { names::refused_function(&name) }
            }
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                Some((format!("`{name}` has no value"), "a job has no parameters: write the value itself".to_owned()))
            }
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => Some((
                "a subquery in an expression isn't supported yet".to_owned(),
                "write the condition over columns of the SELECT in FROM".to_owned(),
            )),
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
