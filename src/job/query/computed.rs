//! Expressions of CREATE STREAM: computed columns, `col TYPE AS expr`, and the watermark's `WHEN condition`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{self, Expr, ObjectNamePart, VisitMut, VisitorMut};

use super::catalog::{Catalog, parser_options};
use super::error::problem;
use super::expression::{bind, coerce, unqualified};
use super::names::{Clause, Names};
use super::shape::identifier;
use super::types::sql_name;
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
    bound(expr, &schema(declared), problems)
}

/// Plans the condition that tells marker records. It may name all `declared` columns, computed ones too, and is bound to
/// [`crate::event::Stream::declared_schema`].
pub fn plan_when(expr: &Spanned<Expr>, declared: &[Column], problems: &mut Problems) -> Option<Computed> {
    let readable: Vec<String> = declared.iter().map(|column| column.name.clone()).collect();
    let names = Names { qualifier: None, columns: &readable, window_columns: &[], aliases: &[], fallback: expr.span };
    let uses = names.check(&expr.value, Clause::When, problems)?;
    let schema = schema(declared);
    let when = bound(expr, &schema, problems)?;
    let data_type = when.expression.data_type(&schema).unwrap_or(DataType::Null);
    if data_type != DataType::Boolean {
        let message = format!("WHEN needs a condition, and this is {}", sql_name(&data_type));
        problems.add(expr.span, message, "compare it with something: x > 0, x IS NOT NULL");
        return None;
    }
    if !uses.record {
        let help = "name a column, as in WHEN kind = 'tick'; without WHEN every record moves the watermark";
        problems.add(expr.span, "this is the same for every record, so it tells no marker records", help);
        return None;
    }
    Some(when)
}

fn schema(declared: &[Column]) -> Schema {
    let field = |column: &Column| Field::new(&column.name, column.column_type.arrow(), true);
    Schema::new(declared.iter().map(field).collect::<Vec<Field>>())
}

fn bound(expr: &Spanned<Expr>, schema: &Schema, problems: &mut Problems) -> Option<Computed> {
    match planned(&expr.value, schema.clone()) {
        Ok(expression) => Some(Computed { sql: canonical(&expr.value), expression }),
        Err(error) => {
            problems.push(problem(&error, expr.span));
            None
        }
    }
}

fn planned(expression: &Expr, schema: Schema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
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
