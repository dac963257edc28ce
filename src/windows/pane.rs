//! A pane: the accumulators of one window, for all its keys.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

/// What every pane of one INSERT has in common.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// Key columns, names and types.
    pub keys: SchemaRef,
    /// Aggregate functions, in the order of the result.
    pub functions: Vec<Arc<AggregateFunctionExpr>>,
}

/// The accumulators of one window.
#[derive(Debug)]
pub struct Pane;
