//! One expression from DataFusion's logical form to a physical one that is bound to a schema, with our rules built in:
//! a cast that fails gives NULL, and so does the division of integers or decimals by zero; a sum, difference or product of
//! integers that doesn't fit fails, where DataFusion would wrap around to a wrong number; floats are compared as numbers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{Between, Cast, InList, ScalarFunction, TryCast};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr, expressions};

use super::float_key::{FLOAT_KEY, float_key, has_float};
use super::types::cast_is_total;

/// `expression` with the casts that its operators and functions need.
pub(super) fn coerce(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let mut rewriter = TypeCoercionRewriter::new(schema);
    expression.rewrite(&mut rewriter).map(|rewritten| rewritten.data)
}

/// `expression`, which is coerced and names columns of `schema` without qualifiers, ready to be evaluated.
pub fn bind(expression: Expr, schema: &DFSchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let safe = make_safe(expression, schema)?;
    // Some functions (coalesce, arrow_cast) exist only until they are simplified; constants are computed once here.
    let context = SimplifyContext::builder().with_schema(Arc::clone(schema)).build();
    let simplified = ExprSimplifier::new(context).simplify(safe)?;
    // Simplifying can bring casts of its own.
    let safe = make_safe(simplified, schema)?;
    let bound = checked(create_physical_expr(&safe, schema, &ExecutionProps::new())?, schema)?;
    // Constants that a function refuses, such as an unknown unit, show without a record too: better now.
    bound.evaluate(&RecordBatch::new_empty(Arc::clone(schema.inner())))?;
    Ok(bound)
}

/// `expression` with columns that have lost their qualifiers, and without the names that DataFusion keeps inside.
pub(super) fn unqualified(expression: Expr) -> Result<Expr> {
    let rewritten = expression.transform(|expression| {
        Ok(match expression {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(unaliased(rewritten.data))
}

/// `expression` without names around it.
pub(super) fn unaliased(expression: Expr) -> Expr {
    match expression {
        Expr::Alias(alias) => unaliased(*alias.expr),
        other => other,
    }
}

/// `expression`, which names columns of `schema`, with what each of them means.
pub(super) fn over(expression: Expr, schema: &DFSchema, meanings: &[Expr]) -> Result<Expr> {
    let rewritten = expression.transform_down(|expression| {
        Ok(match expression {
            Expr::Column(column) => {
                let index = schema.index_of_column(&column)?;
                Transformed::new(meanings[index].clone(), true, TreeNodeRecursion::Jump)
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(unaliased(rewritten.data))
}

/// A cast that is NULL where the value doesn't fit.
pub(super) fn try_cast(expression: Expr, to: &DataType) -> Expr {
    Expr::TryCast(TryCast::new(Box::new(expression), to.clone()))
}

/// A cast that fails where the value doesn't fit.
pub(super) fn cast(expression: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expression), to.clone()))
}

fn make_safe(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expression.transform_up(|expression| {
        Ok(match expression {
            Expr::Cast(cast) if !cast_is_total(&cast.expr.get_type(schema)?, cast.field.data_type()) => {
                let to = cast.field.data_type().clone();
                Transformed::yes(try_cast(*cast.expr, &to))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Divide | Operator::Modulo), right })
                if can_be_zero(&right, schema)? =>
            {
                let zero = ScalarValue::new_zero(&right.get_type(schema)?)?;
                let or_null = ScalarFunction::new_udf(
                    datafusion_functions::core::nullif(),
                    vec![*right, Expr::Literal(zero, None)],
                );
                let right = Box::new(Expr::ScalarFunction(or_null));
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if is_comparison(op) && (is_float(&left, schema)? || is_float(&right, schema)?) =>
            {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                    left: Box::new(comparable(*left, schema)?),
                    op,
                    right: Box::new(comparable(*right, schema)?),
                }))
            }
            Expr::Between(between) if is_float(&between.expr, schema)? => Transformed::yes(Expr::Between(Between {
                expr: Box::new(comparable(*between.expr, schema)?),
                negated: between.negated,
                low: Box::new(comparable(*between.low, schema)?),
                high: Box::new(comparable(*between.high, schema)?),
            })),
            Expr::InList(list) if is_float(&list.expr, schema)? => {
                let items = list.list.into_iter().map(|item| comparable(item, schema)).collect::<Result<Vec<_>>>()?;
                Transformed::yes(Expr::InList(InList {
                    expr: Box::new(comparable(*list.expr, schema)?),
                    list: items,
                    negated: list.negated,
                }))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(rewritten.data)
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_float(expression: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(has_float(&expression.get_type(schema)?))
}

/// `expression` with one zero and one NaN, if it holds floats: Arrow compares their bits, by which -0.0 isn't 0.0, and a
/// NaN can be the least of all.
fn comparable(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    let is_done = match &expression {
        Expr::ScalarFunction(call) => call.name() == FLOAT_KEY,
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => {
            !value.is_nan() && value.to_bits() != (-0.0_f64).to_bits()
        }
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => {
            !value.is_nan() && value.to_bits() != (-0.0_f32).to_bits()
        }
        _ => !is_float(&expression, schema)?,
    };
    Ok(if is_done { expression } else { float_key(expression) })
}

/// `expression` with arithmetic of integers that fails instead of wrapping around.
fn checked(expression: Arc<dyn PhysicalExpr>, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let rewritten = expression.transform_up(|node| {
        let Some(binary) = node.downcast_ref::<expressions::BinaryExpr>() else { return Ok(Transformed::no(node)) };
        let can_wrap = matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply)
            && binary.data_type(schema.as_arrow())?.is_integer();
        if !can_wrap {
            return Ok(Transformed::no(node));
        }
        let checked = binary.clone().with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(rewritten.data)
}

/// Whether dividing by `divisor` can fail: floats give infinity or NaN, and NULL gives NULL.
fn can_be_zero(divisor: &Expr, schema: &DFSchema) -> Result<bool> {
    let data_type = divisor.get_type(schema)?;
    if !(data_type.is_integer() || data_type.is_decimal()) {
        return Ok(false);
    }
    Ok(match divisor {
        Expr::Literal(value, _) => !value.is_null() && *value == ScalarValue::new_zero(&data_type)?,
        Expr::ScalarFunction(call) => call.name() != "nullif",
        _ => true,
    })
}
