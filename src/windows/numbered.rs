//! Accumulators over group numbers that the caller gives: one for each aggregate, each over all groups.
//! Invariant: which group is which is the caller's affair; nothing here knows keys, but for a message. A number must come
//! with a row of its group in the first call that counts it: DataFusion's accumulators take a group for one that has a
//! value otherwise.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::GroupsAccumulatorAdapter;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::pane::{Aggregation, PaneError};
use crate::functions::ResultOverflow;

/// One accumulator for each aggregate.
pub(super) struct Numbered {
    aggregation: Arc<Aggregation>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

impl Numbered {
    pub(super) fn new(aggregation: &Arc<Aggregation>) -> Result<Numbered, PaneError> {
        let accumulators = aggregation
            .functions
            .iter()
            .map(|function| accumulator(function).map_err(|source| failed(function, source)))
            .collect::<Result<_, _>>()?;
        Ok(Numbered { aggregation: Arc::clone(aggregation), accumulators })
    }

    pub(super) fn bytes(&self) -> usize {
        self.accumulators.iter().map(|accumulator| accumulator.size()).sum()
    }

    /// Adds rows: row `i` to group `numbers[i]`, of `groups` groups so far, those of this call included.
    pub(super) fn update(
        &mut self,
        numbers: &[usize],
        groups: usize,
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<(), PaneError> {
        let work = self.accumulators.iter_mut().zip(&self.aggregation.functions).zip(arguments).zip(filters);
        for (((accumulator, function), arguments), filter) in work {
            accumulator
                .update_batch(arguments, numbers, filter.as_ref(), groups)
                .map_err(|source| failed(function, source))?;
        }
        Ok(())
    }

    /// Adds partial states (the columns of [`Aggregation::state_schema`] behind the keys): row `i` to group `numbers[i]`.
    pub(super) fn merge(&mut self, numbers: &[usize], groups: usize, states: &[ArrayRef]) -> Result<(), PaneError> {
        let mut column = 0;
        let widths = self.aggregation.state_widths();
        let work = self.accumulators.iter_mut().zip(&self.aggregation.functions).zip(widths);
        for ((accumulator, function), width) in work {
            accumulator
                .merge_batch(&states[column..column + width], numbers, None, groups)
                .map_err(|source| failed(function, source))?;
            column += width;
        }
        Ok(())
    }

    /// Takes partial states out, of all groups or of the first ones; those behind them are numbered anew from 0.
    pub(super) fn take_states(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>, PaneError> {
        let mut columns = Vec::new();
        for (accumulator, function) in self.accumulators.iter_mut().zip(&self.aggregation.functions) {
            columns.extend(accumulator.state(emit).map_err(|source| failed(function, source))?);
        }
        Ok(columns)
    }

    /// As [`Numbered::take_states`], for results. `keys` are those of the groups: a message names them.
    pub(super) fn take_results(&mut self, emit: EmitTo, keys: &[ArrayRef]) -> Result<Vec<ArrayRef>, PaneError> {
        let mut columns = Vec::with_capacity(self.accumulators.len());
        for (accumulator, function) in self.accumulators.iter_mut().zip(&self.aggregation.functions) {
            let results = accumulator.evaluate(emit).map_err(|source| match ResultOverflow::find(&source) {
                Some(overflow) => PaneError::Overflow {
                    aggregate: function.name().to_owned(),
                    key: describe_key(&self.aggregation, keys, overflow.group),
                },
                None => failed(function, source),
            })?;
            columns.push(results);
        }
        Ok(columns)
    }
}

impl std::fmt::Debug for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbered").field("accumulators", &self.accumulators.len()).finish_non_exhaustive()
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
