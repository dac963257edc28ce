//! One set of groups: keys resolved to group numbers, and one accumulator per aggregate over those numbers. Or rows, each
//! by itself.
//! Invariant: after anything is emitted the set is empty, and may be filled again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::concat;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_expr::EmitTo;

use super::identities::Identities;
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};

/// Keys and accumulators of one span of rows.
pub(super) struct Groups {
    aggregation: Arc<Aggregation>,
    keys: Keys,
    accumulators: Numbered,
    /// Group number of each row of the batch at hand; kept for its allocation.
    numbers: Vec<usize>,
    /// Number of groups.
    count: usize,
}

/// How keys are told apart.
enum Keys {
    /// Equal ones are one group; without key columns all rows are group 0.
    Grouped(Identities),
    /// Every row is a group; the columns of each batch.
    Rows(Vec<Vec<ArrayRef>>),
}

impl Groups {
    pub(super) fn new(aggregation: &Arc<Aggregation>) -> Result<Groups, PaneError> {
        let keys = match aggregation.groups {
            true => Keys::Grouped(Identities::new(&aggregation.keys)?),
            false => Keys::Rows(Vec::new()),
        };
        let accumulators = Numbered::new(aggregation)?;
        Ok(Groups { aggregation: Arc::clone(aggregation), keys, accumulators, numbers: Vec::new(), count: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Grouped(identities) => identities.bytes(),
            Keys::Rows(batches) => batches.iter().flatten().map(|column| column.get_array_memory_size()).sum(),
        };
        keys + self.accumulators.bytes() + self.numbers.capacity() * size_of::<usize>()
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
        self.resolve(keys, rows)?;
        self.accumulators.update(&self.numbers, self.count, arguments, filters)
    }

    /// Adds the groups of a state batch, laid out as [`Aggregation::state_schema`].
    pub(super) fn merge(&mut self, state: &RecordBatch) -> Result<(), PaneError> {
        let (keys, states) = state.columns().split_at(self.aggregation.keys.fields().len());
        self.resolve(keys, state.num_rows())?;
        self.accumulators.merge(&self.numbers, self.count, states)
    }

    /// Takes everything out as a state batch; the set is empty afterwards.
    pub(super) fn take_state(&mut self) -> Result<RecordBatch, PaneError> {
        let rows = self.len();
        if rows == 0 {
            // Some accumulators have no columns for no groups.
            return Ok(RecordBatch::new_empty(self.aggregation.state_schema()));
        }
        let mut columns = self.take_keys()?;
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
        let mut columns = self.take_keys()?;
        let results = self.accumulators.take_results(EmitTo::All, &columns)?;
        columns.extend(results);
        let schema = self.aggregation.closed_schema();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("accumulators emit what their return fields say"))
    }

    fn resolve(&mut self, keys: &[ArrayRef], rows: usize) -> Result<(), PaneError> {
        match &mut self.keys {
            Keys::Grouped(identities) => {
                identities.resolve(keys, rows, &mut self.numbers)?;
                self.count = identities.len();
            }
            Keys::Rows(batches) => {
                batches.push(keys.to_vec());
                self.count += rows;
            }
        }
        Ok(())
    }

    /// There is a group.
    fn take_keys(&mut self) -> Result<Vec<ArrayRef>, PaneError> {
        self.count = 0;
        match &mut self.keys {
            Keys::Grouped(identities) => identities.take(),
            Keys::Rows(batches) => {
                let batches = std::mem::take(batches);
                let column = |index: usize| {
                    let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch[index].as_ref()).collect();
                    concat(&parts).map_err(|error| PaneError::Keys(error.into()))
                };
                (0..self.aggregation.keys.fields().len()).map(column).collect()
            }
        }
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("count", &self.len()).finish_non_exhaustive()
    }
}
