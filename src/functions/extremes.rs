//! min and max over floats, in the total order: -0.0 below 0.0, NaN (all of them one) above everything.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type};
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::NullState;

use super::ranked::Pick;

/// A float type with its total order.
pub(super) trait TotalOrder: ArrowPrimitiveType + Send {
    /// Above everything.
    const NAN: Self::Native;
    /// Below everything that [`TotalOrder::one_nan`] gives.
    const LEAST: Self::Native;
    /// The value, NaN without sign and payload.
    fn one_nan(value: Self::Native) -> Self::Native;
    /// Whether `a` stands below `b`.
    fn below(a: Self::Native, b: Self::Native) -> bool;
}

impl TotalOrder for Float32Type {
    const NAN: f32 = f32::NAN;
    const LEAST: f32 = f32::NEG_INFINITY;

    fn one_nan(value: f32) -> f32 {
        if value.is_nan() { f32::NAN } else { value }
    }

    fn below(a: f32, b: f32) -> bool {
        a.total_cmp(&b).is_lt()
    }
}

impl TotalOrder for Float64Type {
    const NAN: f64 = f64::NAN;
    const LEAST: f64 = f64::NEG_INFINITY;

    fn one_nan(value: f64) -> f64 {
        if value.is_nan() { f64::NAN } else { value }
    }

    fn below(a: f64, b: f64) -> bool {
        a.total_cmp(&b).is_lt()
    }
}

/// min ([`Pick::First`]) or max ([`Pick::Last`]) over a float type.
pub(super) struct FloatExtreme<T: TotalOrder> {
    pick: Pick,
    values: Vec<T::Native>,
    seen: NullState,
}

impl<T: TotalOrder> FloatExtreme<T> {
    pub(super) fn new(pick: Pick) -> FloatExtreme<T> {
        FloatExtreme { pick, values: Vec::new(), seen: NullState::new() }
    }
}

impl<T: TotalOrder> GroupsAccumulator for FloatExtreme<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let column = values[0].as_primitive::<T>();
        match self.pick {
            Pick::First => {
                self.values.resize(total_num_groups, T::NAN);
                let best = &mut self.values[..];
                self.seen.accumulate(group_indices, column, opt_filter, total_num_groups, |group, value| {
                    let value = T::one_nan(value);
                    if T::below(value, best[group]) {
                        best[group] = value;
                    }
                });
            }
            Pick::Last => {
                self.values.resize(total_num_groups, T::LEAST);
                let best = &mut self.values[..];
                self.seen.accumulate(group_indices, column, opt_filter, total_num_groups, |group, value| {
                    let value = T::one_nan(value);
                    if T::below(best[group], value) {
                        best[group] = value;
                    }
                });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let values = emit_to.take_needed(&mut self.values);
        let nulls = self.seen.build(emit_to);
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.size()
    }
}
