//! One set of groups: keys resolved to group numbers, and one accumulator per aggregate over those numbers. Or rows, each
//! by itself.
//! Invariant: after anything is emitted the set is empty, and may be filled again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::GroupsAccumulatorAdapter;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;

use super::pane::{Aggregation, PaneError};
use crate::functions::{ResultOverflow, one_zero_one_nan};

/// Keys and accumulators of one span of rows.
pub(super) struct Groups {
    aggregation: Arc<Aggregation>,
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Group number of each row of the batch at hand; kept for its allocation.
    numbers: Vec<usize>,
    /// Number of groups.
    count: usize,
}

/// How keys are told apart.
enum Keys {
    /// Without key columns: all rows are group 0.
    None,
    /// Equal ones are one group.
    Interned(Box<dyn GroupValues>),
    /// Every row is a group; the columns of each batch.
    Rows(Vec<Vec<ArrayRef>>),
}

impl Groups {
    pub(super) fn new(aggregation: &Arc<Aggregation>) -> Result<Groups, PaneError> {
        let accumulators = aggregation
            .functions
            .iter()
            .map(|function| accumulator(function).map_err(|source| failed(function, source)))
            .collect::<Result<_, _>>()?;
        let keys = if !aggregation.groups {
            Keys::Rows(Vec::new())
        } else if aggregation.keys.fields().is_empty() {
            Keys::None
        } else {
            let values = new_group_values(Arc::clone(&aggregation.keys), &GroupOrdering::None);
            Keys::Interned(values.map_err(PaneError::Keys)?)
        };
        Ok(Groups { aggregation: Arc::clone(aggregation), keys, accumulators, numbers: Vec::new(), count: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::None => 0,
            Keys::Interned(values) => values.size(),
            Keys::Rows(batches) => batches.iter().flatten().map(|column| column.get_array_memory_size()).sum(),
        };
        let accumulators: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        keys + accumulators + self.numbers.capacity() * size_of::<usize>()
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
        let work = self.accumulators.iter_mut().zip(&self.aggregation.functions).zip(arguments).zip(filters);
        for (((accumulator, function), arguments), filter) in work {
            accumulator
                .update_batch(arguments, &self.numbers, filter.as_ref(), self.count)
                .map_err(|source| failed(function, source))?;
        }
        Ok(())
    }

    /// Adds the groups of a state batch, laid out as [`Aggregation::state_schema`].
    pub(super) fn merge(&mut self, state: &RecordBatch) -> Result<(), PaneError> {
        let keys = self.aggregation.keys.fields().len();
        self.resolve(&state.columns()[..keys], state.num_rows())?;
        let mut column = keys;
        let widths = self.aggregation.state_widths();
        for ((accumulator, function), width) in
            self.accumulators.iter_mut().zip(&self.aggregation.functions).zip(widths)
        {
            accumulator
                .merge_batch(&state.columns()[column..column + width], &self.numbers, None, self.count)
                .map_err(|source| failed(function, source))?;
            column += width;
        }
        Ok(())
    }

    /// Takes everything out as a state batch; the set is empty afterwards.
    pub(super) fn take_state(&mut self) -> Result<RecordBatch, PaneError> {
        let rows = self.count;
        if rows == 0 {
            // Some accumulators have no columns for no groups.
            return Ok(RecordBatch::new_empty(self.aggregation.state_schema()));
        }
        let mut columns = self.take_keys()?;
        for (accumulator, function) in self.accumulators.iter_mut().zip(&self.aggregation.functions) {
            columns.extend(accumulator.state(EmitTo::All).map_err(|source| failed(function, source))?);
        }
        let schema = self.aggregation.state_schema();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("accumulators emit what their state fields say"))
    }

    /// Takes everything out as results: keys, then aggregates, laid out as [`Aggregation::closed_schema`].
    pub(super) fn take_results(&mut self) -> Result<RecordBatch, PaneError> {
        let rows = self.count;
        if rows == 0 {
            // Some accumulators have no type for no groups.
            return Ok(RecordBatch::new_empty(self.aggregation.closed_schema()));
        }
        let mut columns = self.take_keys()?;
        let key_count = columns.len();
        for (accumulator, function) in self.accumulators.iter_mut().zip(&self.aggregation.functions) {
            let results = accumulator.evaluate(EmitTo::All).map_err(|source| match ResultOverflow::find(&source) {
                Some(overflow) => PaneError::Overflow {
                    aggregate: function.name().to_owned(),
                    key: describe_key(&self.aggregation, &columns[..key_count], overflow.group),
                },
                None => failed(function, source),
            })?;
            columns.push(results);
        }
        let schema = self.aggregation.closed_schema();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("accumulators emit what their return fields say"))
    }

    fn resolve(&mut self, keys: &[ArrayRef], rows: usize) -> Result<(), PaneError> {
        match &mut self.keys {
            Keys::None => {
                self.numbers.clear();
                self.numbers.resize(rows, 0);
                self.count = self.count.max(usize::from(rows > 0));
            }
            Keys::Rows(batches) => {
                batches.push(keys.to_vec());
                self.count += rows;
            }
            Keys::Interned(values) => {
                let floats = |key: &ArrayRef| matches!(key.data_type(), DataType::Float32 | DataType::Float64);
                if keys.iter().any(floats) {
                    let keys: Vec<ArrayRef> = keys.iter().map(one_zero_one_nan).collect();
                    values.intern(&keys, &mut self.numbers).map_err(PaneError::Keys)?;
                } else {
                    values.intern(keys, &mut self.numbers).map_err(PaneError::Keys)?;
                }
                self.count = values.len();
            }
        }
        Ok(())
    }

    fn take_keys(&mut self) -> Result<Vec<ArrayRef>, PaneError> {
        let rows = std::mem::take(&mut self.count);
        let values = match &mut self.keys {
            Keys::None => return Ok(Vec::new()),
            Keys::Rows(_) if rows == 0 => {
                let empty = |field: &Arc<Field>| new_empty_array(field.data_type());
                return Ok(self.aggregation.keys.fields().iter().map(empty).collect());
            }
            Keys::Rows(batches) => {
                let batches = std::mem::take(batches);
                let column = |index: usize| {
                    let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch[index].as_ref()).collect();
                    concat(&parts).map_err(|error| PaneError::Keys(error.into()))
                };
                return (0..self.aggregation.keys.fields().len()).map(column).collect();
            }
            Keys::Interned(values) => values,
        };
        let keys = values.emit(EmitTo::All).map_err(PaneError::Keys)?;
        // Without it the multi-column set keeps its hash map, whose next look-up reads beyond the emptied columns.
        values.clear_shrink(0);
        Ok(keys)
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("count", &self.count).finish_non_exhaustive()
    }
}

fn accumulator(function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    let function = Arc::clone(function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

fn failed(function: &AggregateFunctionExpr, source: DataFusionError) -> PaneError {
    PaneError::Aggregate { aggregate: function.name().to_owned(), source }
}

/// `name = value, …` of one group, for messages.
fn describe_key(aggregation: &Aggregation, keys: &[ArrayRef], group: usize) -> String {
    if keys.is_empty() {
        return "all rows".to_owned();
    }
    let options = FormatOptions::new().with_null("NULL");
    let parts = aggregation.keys.fields().iter().zip(keys).map(|(field, key)| {
        let value = ArrayFormatter::try_new(key, &options).and_then(|format| format.value(group).try_to_string());
        format!("{} = {}", field.name(), value.unwrap_or_else(|error| format!("<{error}>")))
    });
    parts.collect::<Vec<_>>().join(", ")
}
