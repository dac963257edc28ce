//! `approx_quantile(x, share)`, also `approx_percentile_cont(share) WITHIN GROUP (ORDER BY x)`: a quantile within 1 % of its
//! size. What is counted, and what happens to zeros, infinities and NaN, is in [`super::ddsketch`]; NULL counts as none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type};
use datafusion_common::{Result, exec_datafusion_err, not_impl_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::coercion;
use super::ddsketch::{DdSketch, Direction, Parts};
use super::doubles::emitted;
use super::rows::for_each;
use super::single::Single;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxQuantile {
    aliases: Vec<String>,
    signature: Signature,
}

impl ApproxQuantile {
    pub(super) fn new() -> ApproxQuantile {
        let aliases = vec!["approx_percentile_cont".to_owned()];
        ApproxQuantile { aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for ApproxQuantile {
    fn name(&self) -> &'static str {
        "approx_quantile"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coercion::share(self.name(), arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| Arc::new(Field::new(format!("{}[{name}]", args.name), data_type, true));
        let list = |data_type| DataType::new_list(data_type, true);
        Ok(vec![
            field("level", DataType::Int32),
            field("buckets", list(DataType::Int32)),
            field("counts", list(DataType::Int64)),
            field("least", DataType::Float64),
            field("greatest", DataType::Float64),
        ])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if args.is_distinct {
            return not_impl_err!("approx_quantile(DISTINCT …)");
        }
        let share = coercion::constant_share(self.name(), &args)?;
        let direction = if coercion::is_descending(&args) { Direction::Descending } else { Direction::Ascending };
        Ok(Box::new(Sketches { share, direction, sketches: Vec::new() }))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Single::over(self.create_groups_accumulator(args.clone())?, &args)
    }

    /// Insensitive is what it is, but DataFusion then forgets the order, whose direction matters.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _is_ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// One sketch a group.
#[derive(Debug)]
struct Sketches {
    share: f64,
    direction: Direction,
    sketches: Vec<DdSketch>,
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sketches.resize(total_num_groups, DdSketch::default());
        let column = values[0].as_primitive::<Float64Type>();
        let numbers = column.values();
        for_each(group_indices, column.nulls(), opt_filter, |row, group| self.sketches[group].insert(numbers[row]));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.sketches.len());
        let quantile = |sketch: DdSketch| sketch.quantile(self.share, self.direction);
        Ok(Arc::new(self.sketches.drain(..count).map(quantile).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.sketches.len());
        let sketches: Vec<DdSketch> = self.sketches.drain(..count).collect();
        let parts: Vec<Parts<'_>> = sketches.iter().map(DdSketch::parts).collect();
        let offsets = || OffsetBuffer::from_lengths(parts.iter().map(|parts| parts.keys.len()));
        let list = |values: ArrayRef| -> Result<ArrayRef> {
            let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(item, offsets(), values, None)?))
        };
        let keys = parts.iter().flat_map(|parts| parts.keys).copied();
        let counts = parts.iter().flat_map(|parts| parts.counts).copied();
        Ok(vec![
            Arc::new(parts.iter().map(|parts| Some(parts.level.cast_signed())).collect::<Int32Array>()),
            list(Arc::new(Int32Array::from_iter_values(keys)))?,
            list(Arc::new(Int64Array::from_iter_values(counts)))?,
            Arc::new(parts.iter().map(|parts| parts.extremes.map(|(least, _)| least)).collect::<Float64Array>()),
            Arc::new(parts.iter().map(|parts| parts.extremes.map(|(_, greatest)| greatest)).collect::<Float64Array>()),
        ])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sketches.resize(total_num_groups, DdSketch::default());
        let levels = values[0].as_primitive::<Int32Type>().values();
        let (keys, counts) = (values[1].as_list::<i32>(), values[2].as_list::<i32>());
        let (least, greatest) = (values[3].as_primitive::<Float64Type>(), values[4].as_primitive::<Float64Type>());
        let all_keys = keys.values().as_primitive::<Int32Type>().values();
        let all_counts = counts.values().as_primitive::<Int64Type>().values();
        for (row, &group) in group_indices.iter().enumerate() {
            let range = |list: &ListArray| {
                let ends = [list.value_offsets()[row], list.value_offsets()[row + 1]];
                ends[0].cast_unsigned() as usize..ends[1].cast_unsigned() as usize
            };
            let parts = Parts {
                level: levels[row].cast_unsigned(),
                keys: &all_keys[range(keys)],
                counts: &all_counts[range(counts)],
                extremes: least.is_valid(row).then(|| (least.value(row), greatest.value(row))),
            };
            self.sketches[group]
                .merge(parts)
                .ok_or_else(|| exec_datafusion_err!("the state of approx_quantile is not readable"))?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let heap: usize = self.sketches.iter().map(DdSketch::heap_bytes).sum();
        self.sketches.capacity() * size_of::<DdSketch>() + heap
    }
}
