//! One group through a [`GroupsAccumulator`]: so that an aggregate is written once.

use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, BooleanArray, new_empty_array};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// An [`Accumulator`] that is group 0 of another.
pub(super) struct Single {
    /// Never contended: an [`Accumulator`] must be `Sync`, a [`GroupsAccumulator`] isn't.
    groups: Mutex<Box<dyn GroupsAccumulator>>,
    /// Zeros, as many as the longest batch had rows.
    numbers: Vec<usize>,
}

impl Single {
    pub(super) fn over(mut groups: Box<dyn GroupsAccumulator>, args: &AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let mut types: Vec<_> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        for order in args.order_bys {
            types.push(order.expr.data_type(args.schema)?);
        }
        let nothing: Vec<ArrayRef> = types.iter().map(new_empty_array).collect();
        // The group exists, also when no row ever comes. Under a filter a group without rows counts as one that saw none.
        groups.update_batch(&nothing, &[], Some(&BooleanArray::from(Vec::<bool>::new())), 1)?;
        Ok(Box::new(Single { groups: Mutex::new(groups), numbers: Vec::new() }))
    }

    fn groups(&mut self) -> &mut dyn GroupsAccumulator {
        self.groups.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    fn numbers(&mut self, columns: &[ArrayRef]) -> usize {
        let rows = columns.first().map_or(0, |column| column.len());
        if self.numbers.len() < rows {
            self.numbers.resize(rows, 0);
        }
        rows
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.numbers(values);
        if rows == 0 {
            return Ok(());
        }
        let groups = self.groups.get_mut().unwrap_or_else(PoisonError::into_inner);
        groups.update_batch(values, &self.numbers[..rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = self.numbers(states);
        if rows == 0 {
            return Ok(());
        }
        let groups = self.groups.get_mut().unwrap_or_else(PoisonError::into_inner);
        groups.merge_batch(states, &self.numbers[..rows], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let groups = self.groups();
        // A growing window frame evaluates after every row, so what evaluating takes out is put back.
        let state = groups.state(EmitTo::All)?;
        groups.merge_batch(&state, &[0], None, 1)?;
        let result = groups.evaluate(EmitTo::All);
        groups.merge_batch(&state, &[0], None, 1)?;
        ScalarValue::try_from_array(&result?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let groups = self.groups();
        let state = groups.state(EmitTo::All)?;
        groups.merge_batch(&state, &[0], None, 1)?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        size_of_val(self) + groups.size() + self.numbers.capacity() * size_of::<usize>()
    }
}

impl std::fmt::Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Single").finish_non_exhaustive()
    }
}
