//! How a window's result comes from its panes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::SharedPane;
use crate::windows::{Aggregation, PaneError};

/// A window: from its start, inclusive, to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Microseconds.
    pub start: i64,
    /// Microseconds.
    pub end: i64,
}

/// What is kept of panes that were merged before. All of it can be derived again: a checkpoint holds none of it.
///
/// Invariant: results don't depend on which windows were evaluated before.
pub trait Merging: Default {
    /// The result of one window ([`Aggregation::closed_schema`]), from `panes` by their starts. Called in order of the
    /// ends; once a window was evaluated, only rows that go to a later one may come to its panes
    /// ([`SharedPane::part`]).
    fn evaluate(
        &mut self,
        aggregation: &Arc<Aggregation>,
        panes: &mut BTreeMap<i64, SharedPane>,
        window: Bounds,
    ) -> Result<RecordBatch, PaneError>;

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
}
