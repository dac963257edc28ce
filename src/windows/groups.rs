//! One set of groups: keys resolved to group numbers, and accumulators over those numbers.
//! Invariant: after anything is emitted the set is empty, and may be filled again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_expr::EmitTo;

use super::identities::Identities;
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};

/// Keys and accumulators of one span of rows.
pub(super) struct Groups {
    aggregation: Arc<Aggregation>,
    keys: Identities,
    accumulators: Numbered,
    /// Group number of each row of the batch at hand; kept for its allocation.
    numbers: Vec<usize>,
}

impl Groups {
    pub(super) fn new(aggregation: &Arc<Aggregation>) -> Result<Groups, PaneError> {
        Ok(Groups {
            aggregation: Arc::clone(aggregation),
            keys: Identities::new(&aggregation.keys)?,
            accumulators: Numbered::new(aggregation)?,
            numbers: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.bytes() + self.numbers.capacity() * size_of::<usize>()
    }

    /// Adds rows. Keys and arguments are whole columns of one batch.
    pub(super) fn update(
        &mut self,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<(), PaneError> {
        let columns = keys.iter().chain(arguments.iter().flatten());
        let rows = columns.map(|column| column.len()).next().unwrap_or(1);
        self.keys.resolve(keys, rows, &mut self.numbers)?;
        self.accumulators.update(&self.numbers, self.keys.len(), arguments, filters)
    }

    /// Adds the groups of a state batch, laid out as [`Aggregation::state_schema`].
    pub(super) fn merge(&mut self, state: &RecordBatch) -> Result<(), PaneError> {
        let (keys, states) = state.columns().split_at(self.aggregation.keys.fields().len());
        self.keys.resolve(keys, state.num_rows(), &mut self.numbers)?;
        self.accumulators.merge(&self.numbers, self.keys.len(), states)
    }

    /// Takes everything out as a state batch; the set is empty afterwards.
    pub(super) fn take_state(&mut self) -> Result<RecordBatch, PaneError> {
        let rows = self.len();
        if rows == 0 {
            // Some accumulators have no columns for no groups.
            return Ok(RecordBatch::new_empty(self.aggregation.state_schema()));
        }
        let mut columns = self.keys.take()?;
        columns.extend(self.accumulators.take_states(EmitTo::All)?);
        let schema = self.aggregation.state_schema();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("accumulators emit what their state fields say"))
    }

    /// Takes everything out as results: keys, then aggregates, laid out as [`Aggregation::closed_schema`].
    pub(super) fn take_results(&mut self) -> Result<RecordBatch, PaneError> {
        let rows = self.len();
        if rows == 0 {
            // Some accumulators have no type for no groups.
            return Ok(RecordBatch::new_empty(self.aggregation.closed_schema()));
        }
        let mut columns = self.keys.take()?;
        let results = self.accumulators.take_results(EmitTo::All, &columns)?;
        columns.extend(results);
        let schema = self.aggregation.closed_schema();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("accumulators emit what their return fields say"))
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("count", &self.len()).finish_non_exhaustive()
    }
}
