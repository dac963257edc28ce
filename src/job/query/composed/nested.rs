//! Windows over windowed results: a function of the `window_time` of a row that tells the window above it, and the plan that
//! puts the window's columns beside the row's.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result, plan_datafusion_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::super::expression::unaliased;
use crate::event::{EventTime, TIMESTAMP_ZONE, timestamp_type};
use crate::windows::{WINDOW_COLUMNS, Window, WindowEdge};

/// The edges of a window, in the order of [`WINDOW_COLUMNS`].
const EDGES: [WindowEdge; 3] = [WindowEdge::Start, WindowEdge::End, WindowEdge::Time];

/// The window above that holds an instant: one edge of it.
#[derive(Debug, Clone)]
struct WindowOf {
    window: Window,
    edge: WindowEdge,
    /// Tells the window too, as expressions are compared and put into fingerprints by their names.
    name: String,
    signature: Signature,
}

impl PartialEq for WindowOf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for WindowOf {}

impl Hash for WindowOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl WindowOf {
    fn call(window: Window, edge: WindowEdge, time: Expr) -> Expr {
        let name = format!("{edge:?} of {}", window.canonical()).to_lowercase();
        let signature = Signature::exact(vec![timestamp_type()], Volatility::Immutable);
        let function = ScalarUDF::from(WindowOf { window, edge, name, signature });
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![time]))
    }
}

impl ScalarUDFImpl for WindowOf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = arguments.args[0].to_array(arguments.number_rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let edge = |time: i64| {
            let start = EventTime(self.window.start_of(time));
            self.window.edge_from(self.edge, start).0
        };
        let edges: TimestampMicrosecondArray = times.unary(edge);
        Ok(ColumnarValue::Array(Arc::new(edges.with_timezone(TIMESTAMP_ZONE))))
    }
}

/// Which edge of a window above `expression` is, if it is one; and which window.
pub(super) fn window_above(expression: &Expr) -> Option<(Window, WindowEdge)> {
    let Expr::ScalarFunction(call) = unaliased(expression.clone()) else { return None };
    let inner: &dyn Any = call.func.inner().as_ref();
    inner.downcast_ref::<WindowOf>().map(|function| (function.window, function.edge))
}

/// Whether an expression tells a window above, anywhere in it.
pub(super) fn makes_windows(expression: &Expr) -> bool {
    let mut makes = false;
    let walked = expression.apply(|expression| {
        makes |= window_above(expression).is_some();
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && makes
}

/// The rows of `plan` with the columns of the `window` above that holds their `time`, an index of a column, in place of those
/// of their own window.
pub(super) fn windowed(plan: LogicalPlan, time: usize, window: Window) -> Result<LogicalPlan> {
    let (qualifier, field) = plan.schema().qualified_field(time);
    let time = Expr::Column(Column::from((qualifier, field)));
    let kept = plan.schema().iter().filter(|(_, field)| !WINDOW_COLUMNS.contains(&field.name().as_str()));
    let kept = kept.map(|column| Expr::Column(Column::from(column)));
    let added = EDGES.into_iter().zip(WINDOW_COLUMNS);
    let added = added.map(|(edge, name)| WindowOf::call(window, edge, time.clone()).alias(name));
    let columns: Vec<Expr> = kept.chain(added).collect();
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| plan_datafusion_err!("windows over a windowed result: {error}"))
}
