//! Rows as accumulators take them.

use arrow::array::{ArrayRef, BooleanArray};

/// Rows as a set of groups takes them.
pub struct Fed {
    /// Key columns.
    pub keys: Vec<ArrayRef>,
    /// For each aggregate its arguments.
    pub arguments: Vec<Vec<ArrayRef>>,
    /// For each aggregate its FILTER.
    pub filters: Vec<Option<BooleanArray>>,
}
