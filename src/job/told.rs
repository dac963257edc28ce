//! Which columns of a result tell the rows of a window that one key has for itself, so that these can be replaced.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{CastExpr, Column};

use super::plan::{Insert, ResultColumn};
use crate::windows::WindowEdge;

impl Insert {
    /// For an INSERT of one leg: the columns of the result (indices) by which the rows of one key's window are found again: the one that ranges go by,
    /// then `window_start`, `window_end` and the keys that have windows of their own, as far as the result has them.
    /// Planning sees to it that all are there where they are needed.
    pub fn told_by(&self) -> Vec<usize> {
        // As they stand in closed rows.
        let range = match self.range.edge {
            WindowEdge::Start => 0,
            WindowEdge::End => 1,
            WindowEdge::Time => 2,
        };
        let leg = &self.legs[0];
        let keys = leg.window_columns().len();
        let wanted = [range, 0, 1].into_iter().chain(keys..keys + leg.partition_keys());
        let mut columns: Vec<usize> = Vec::new();
        for closed in wanted {
            let found = holding(&self.columns, &leg.closed_schema, closed);
            columns.extend(found.filter(|found| !columns.contains(found)));
        }
        columns
    }
}

/// The first result column that has the values of a column of closed rows.
pub(super) fn holding(columns: &[ResultColumn], closed_schema: &SchemaRef, closed: usize) -> Option<usize> {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_bytes =
        |data_type: &DataType| matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let of_type = closed_schema.field(closed).data_type();
    let same_values = |cast: &DataType| (is_text(of_type) && is_text(cast)) || (is_bytes(of_type) && is_bytes(cast));
    columns.iter().position(|column| {
        let mut expression: &Arc<dyn PhysicalExpr> = &column.expression;
        while let Some(cast) = expression.downcast_ref::<CastExpr>().filter(|cast| same_values(cast.cast_type())) {
            expression = cast.expr();
        }
        expression.downcast_ref::<Column>().is_some_and(|column| column.index() == closed)
    })
}
