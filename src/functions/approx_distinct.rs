//! `approx_distinct(x)`: how many distinct values, within a standard error of 0.81 %; exact while they are few. -0.0 and 0.0
//! are one value, all NaN are one, NULL is none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, LargeBinaryBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility};

use super::doubles::emitted;
use super::hashes::hashes;
use super::hyperloglog::HyperLogLog;
use super::rows::for_each;
use super::single::Single;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxDistinct {
    signature: Signature,
}

impl ApproxDistinct {
    pub(super) fn new() -> ApproxDistinct {
        ApproxDistinct { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for ApproxDistinct {
    fn name(&self) -> &'static str {
        "approx_distinct"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        // Large: 131,072 dense sketches fill what 32-bit offsets can say.
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", args.name), DataType::LargeBinary, true))])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        // A type that has no hash is refused now, not on the first record.
        hashes(&arrow::array::new_empty_array(args.expr_fields[0].data_type()))?;
        Ok(Box::<Sketches>::default())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Single::over(self.create_groups_accumulator(args.clone())?, &args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// One sketch a group.
#[derive(Debug, Default)]
struct Sketches(Vec<HyperLogLog>);

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.resize(total_num_groups, HyperLogLog::default());
        let hashes = hashes(&values[0])?;
        let nulls = values[0].logical_nulls();
        for_each(group_indices, nulls.as_ref(), opt_filter, |row, group| self.0[group].insert(hashes[row]));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.0.len());
        let estimate = |sketch: HyperLogLog| sketch.estimate().cast_signed();
        Ok(Arc::new(self.0.drain(..count).map(estimate).collect::<Int64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.0.len());
        let mut sketches = LargeBinaryBuilder::new();
        for sketch in self.0.drain(..count) {
            sketches.append_value(sketch.to_bytes());
        }
        Ok(vec![Arc::new(sketches.finish())])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.resize(total_num_groups, HyperLogLog::default());
        let sketches = values[0].as_binary::<i64>();
        for (row, &group) in group_indices.iter().enumerate() {
            self.0[group]
                .merge(sketches.value(row))
                .ok_or_else(|| exec_datafusion_err!("the state of approx_distinct is not readable"))?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let heap: usize = self.0.iter().map(HyperLogLog::heap_bytes).sum();
        self.0.capacity() * size_of::<HyperLogLog>() + heap
    }
}
