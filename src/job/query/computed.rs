//! Computed columns of a stream: `col TYPE AS expr`.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{self, Expr, ObjectNamePart, VisitMut, VisitorMut};

use super::catalog::{Catalog, parser_options};
use super::error::problem;
use super::expression::{bind, coerce, unqualified};
use super::names::{Clause, Names};
use super::shape::identifier;
use crate::event::{Column, Computed, Origin};
use crate::job::Problems;
use crate::job::definition::Spanned;

/// Plans a computed column. `declared` are the stream's columns in their order, so that the expression is bound to
/// [`crate::event::Stream::declared_schema`]; those with [`Origin::Computed`] can't be named in it.
/// The type is that of the expression: the caller compares it with the declared one.
pub fn plan_computed(expr: &Spanned<Expr>, declared: &[Column], problems: &mut Problems) -> Option<Computed> {
    let readable: Vec<String> = declared
        .iter()
        .filter(|column| !matches!(column.origin, Origin::Computed(_)))
        .map(|column| column.name.clone())
        .collect();
    let names = Names { qualifier: None, columns: &readable, window_columns: &[], aliases: &[], fallback: expr.span };
    names.check(&expr.value, Clause::Computed, problems)?;
    let fields: Vec<Field> =
        declared.iter().map(|column| Field::new(&column.name, column.column_type.arrow(), true)).collect();
    match planned(&expr.value, Schema::new(fields)) {
        Ok(expression) => Some(Computed { sql: canonical(&expr.value), expression }),
        Err(error) => {
            problems.push(problem(&error, expr.span));
            None
        }
    }
}

fn planned(
    expression: &Expr,
    schema: Schema,
) -> Result<Arc<dyn datafusion_physical_expr::PhysicalExpr>, DataFusionError> {
    let columns = Arc::new(DFSchema::try_from(schema)?);
    let catalog = Catalog::new([]);
    let planner = SqlToRel::new_with_options(&catalog, parser_options());
    let logical = planner.sql_to_expr(expression.clone(), &columns, &mut PlannerContext::new())?;
    bind(unqualified(coerce(logical, &columns)?)?, &columns)
}

/// The expression as SQL that doesn't depend on spacing, comments or the case of names.
fn canonical(expression: &Expr) -> String {
    struct Lower;
    impl VisitorMut for Lower {
        type Break = ();

        fn pre_visit_expr(&mut self, expression: &mut Expr) -> std::ops::ControlFlow<()> {
            match expression {
                Expr::Identifier(ident) => ident.value = identifier(ident),
                Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| part.value = identifier(part)),
                Expr::Function(function) => function.name.0.iter_mut().for_each(|part| {
                    if let ObjectNamePart::Identifier(ident) = part {
                        ident.value = identifier(ident);
                    }
                }),
                _ => {}
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let mut expression: ast::Expr = expression.clone();
    // The visitor never breaks off.
    let _ = expression.visit(&mut Lower);
    expression.to_string()
}
