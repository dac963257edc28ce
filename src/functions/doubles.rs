//! sum and avg over DOUBLE: exact sums (see [`super::exact`]), rounded once; avg divides the rounded sum by the count.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Int32Array, Int64Array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::exact::{BadParts, Parts, Sums};
use super::rows::for_each;

/// Columns of the partial state of an exact sum.
pub(super) const SUM_COLUMNS: usize = 4;

/// State of an exact sum: the low and the high half of a 128-bit integer, a tag (its exponent times 8, plus flags for
/// infinities and NaN), and the words of a sum that needs more. All null: no value yet.
pub(super) fn sum_fields(prefix: &str) -> Vec<FieldRef> {
    let field = |name: &str, data_type| Arc::new(Field::new(format!("{prefix}[{name}]"), data_type, true));
    vec![
        field("low", DataType::Int64),
        field("high", DataType::Int64),
        field("tag", DataType::Int32),
        field("wide", DataType::Binary),
    ]
}

/// The state of the first `count` groups.
pub(super) fn sum_columns(sums: &Sums, count: usize) -> Vec<ArrayRef> {
    let mut low: Vec<Option<i64>> = Vec::with_capacity(count);
    let mut high: Vec<Option<i64>> = Vec::with_capacity(count);
    let mut tag: Vec<Option<i32>> = Vec::with_capacity(count);
    let mut wide = BinaryBuilder::new();
    for group in 0..count {
        let parts = sums.parts(group);
        let bits = parts.as_ref().map(|parts| parts.mantissa.cast_unsigned());
        low.push(bits.map(|bits| (bits as u64).cast_signed()));
        high.push(bits.map(|bits| ((bits >> 64) as u64).cast_signed()));
        tag.push(parts.as_ref().map(|parts| parts.exponent << 3 | i32::from(parts.flags)));
        wide.append_option(parts.and_then(|parts| parts.wide));
    }
    vec![
        Arc::new(Int64Array::from(low)),
        Arc::new(Int64Array::from(high)),
        Arc::new(Int32Array::from(tag)),
        Arc::new(wide.finish()),
    ]
}

/// Adds the rows of state columns.
pub(super) fn merge_columns(sums: &mut Sums, columns: &[ArrayRef], groups: &[usize]) -> Result<()> {
    let low = columns[0].as_primitive::<Int64Type>().values();
    let high = columns[1].as_primitive::<Int64Type>().values();
    let tag = columns[2].as_primitive::<Int32Type>();
    let wide: &BinaryArray = columns[3].as_binary();
    let mut bad: Option<BadParts> = None;
    for_each(groups, tag.nulls(), None, |row, group| {
        let bits = u128::from(high[row].cast_unsigned()) << 64 | u128::from(low[row].cast_unsigned());
        let parts = Parts {
            mantissa: bits.cast_signed(),
            exponent: tag.value(row) >> 3,
            flags: (tag.value(row) & 7) as u8,
            wide: wide.is_valid(row).then(|| wide.value(row).to_vec()),
        };
        bad = bad.or(sums.merge(group, &parts).err());
    });
    match bad {
        None => Ok(()),
        Some(BadParts) => Err(exec_datafusion_err!("the state of a sum over DOUBLE is not readable")),
    }
}

/// Number of groups that are emitted of `total`.
pub(super) fn emitted(emit_to: EmitTo, total: usize) -> usize {
    match emit_to {
        EmitTo::All => total,
        EmitTo::First(count) => count,
    }
}

/// sum(DOUBLE).
#[derive(Debug, Default)]
pub(super) struct DoubleSum {
    sums: Sums,
    groups: usize,
}

impl GroupsAccumulator for DoubleSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = total_num_groups;
        self.sums.resize(total_num_groups);
        let column = values[0].as_primitive::<Float64Type>();
        let numbers = column.values();
        for_each(group_indices, column.nulls(), opt_filter, |row, group| self.sums.add(group, numbers[row]));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.groups);
        let results: Float64Array = (0..count).map(|group| self.sums.value(group)).collect();
        self.sums.drop_first(count);
        self.groups -= count;
        Ok(Arc::new(results))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.groups);
        let columns = sum_columns(&self.sums, count);
        self.sums.drop_first(count);
        self.groups -= count;
        Ok(columns)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = total_num_groups;
        self.sums.resize(total_num_groups);
        merge_columns(&mut self.sums, values, group_indices)
    }

    fn size(&self) -> usize {
        self.sums.bytes()
    }
}

/// The average of a group of `count` values; `None` if there is none. A sum beyond all doubles is divided before it
/// overflows.
pub(super) fn average(sums: &Sums, group: usize, count: i64) -> Option<f64> {
    Some(match sums.scaled(group)? {
        Err(not_a_number) => not_a_number,
        Ok(sum) => match sums.value(group)? {
            value if value.is_finite() => value / count as f64,
            _ => sum.divided_by(count as f64).value(),
        },
    })
}

/// avg(DOUBLE): the rounded sum by the count.
#[derive(Debug, Default)]
pub(super) struct DoubleAverage {
    sums: Sums,
    counts: Vec<i64>,
}

impl DoubleAverage {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        self.counts.resize(groups, 0);
    }

    fn drop_first(&mut self, count: usize) {
        self.sums.drop_first(count);
        self.counts.drain(..count);
    }
}

impl GroupsAccumulator for DoubleAverage {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let column = values[0].as_primitive::<Float64Type>();
        let numbers = column.values();
        for_each(group_indices, column.nulls(), opt_filter, |row, group| {
            self.sums.add(group, numbers[row]);
            self.counts[group] += 1;
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.counts.len());
        let results: Float64Array = (0..count).map(|group| average(&self.sums, group, self.counts[group])).collect();
        self.drop_first(count);
        Ok(Arc::new(results))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.counts.len());
        let mut columns = sum_columns(&self.sums, count);
        columns.push(Arc::new(Int64Array::from(self.counts[..count].to_vec())));
        self.drop_first(count);
        Ok(columns)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        merge_columns(&mut self.sums, &values[..SUM_COLUMNS], group_indices)?;
        let counts = values[SUM_COLUMNS].as_primitive::<Int64Type>().values();
        for (&count, &group) in counts.iter().zip(group_indices) {
            self.counts[group] += count;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.sums.bytes() + self.counts.capacity() * size_of::<i64>()
    }
}
