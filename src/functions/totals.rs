//! sum and avg over integers and DECIMAL: exact totals of up to 128 bits (256 for decimals of more than 28 digits), checked
//! against the result's type only when they are evaluated, so that no intermediate overflow depends on order.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type,
    Decimal256Type, DecimalType, Int64Type, i256,
};
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::NullState;

use super::ResultOverflow;
use super::sums::{Sums, Widening};

/// Digits of a DECIMAL whose sums of up to 10^10 rows fit 128 bits.
pub(super) const NARROW_DIGITS_MAX: u8 = 28;

/// The integer that a total is.
pub(super) trait Total: ArrowNativeType {
    /// How states carry it.
    type State: DecimalType<Native = Self>;
    /// Where the totals of all groups are kept.
    type Sums: Sums<Self>;
    /// The type of the state column.
    const STATE: DataType;
    /// As 256 bits.
    fn wide(self) -> i256;
    /// As a double, rounded once.
    fn double(self) -> f64;
}

impl Total for i128 {
    type State = Decimal128Type;
    type Sums = Widening;
    const STATE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

    fn wide(self) -> i256 {
        i256::from_i128(self)
    }

    fn double(self) -> f64 {
        self as f64
    }
}

impl Total for i256 {
    type State = Decimal256Type;
    type Sums = Vec<i256>;
    const STATE: DataType = DataType::Decimal256(DECIMAL256_MAX_PRECISION, 0);

    fn wide(self) -> i256 {
        self
    }

    fn double(self) -> f64 {
        unreachable!("only integers average to DOUBLE, and their totals are of 128 bits")
    }
}

/// A value of an argument as part of a total.
pub(super) trait Addend<S> {
    fn widen(self) -> S;
}

impl Addend<i128> for i64 {
    fn widen(self) -> i128 {
        i128::from(self)
    }
}

impl Addend<i128> for u64 {
    fn widen(self) -> i128 {
        i128::from(self)
    }
}

impl Addend<i128> for i128 {
    fn widen(self) -> i128 {
        self
    }
}

impl Addend<i256> for i128 {
    fn widen(self) -> i256 {
        i256::from_i128(self)
    }
}

/// What a total becomes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Output {
    /// sum of integers: BIGINT.
    BigInt,
    /// sum of DECIMAL.
    Decimal {
        /// Digits of the result.
        precision: u8,
        /// Scale of argument and result.
        scale: i8,
    },
    /// avg of integers.
    DoubleAverage,
    /// avg of DECIMAL: rounded half away from zero.
    DecimalAverage {
        /// Digits of the result.
        precision: u8,
        /// Scale of the result.
        scale: i8,
        /// Scale of the result less that of the argument.
        more_digits: u8,
    },
}

impl Output {
    fn is_average(self) -> bool {
        matches!(self, Output::DoubleAverage | Output::DecimalAverage { .. })
    }
}

/// sum or avg over values of type `T` with totals of type `S`.
pub(super) struct Totals<T, S: Total> {
    totals: S::Sums,
    /// Rows per group; kept for averages only.
    counts: Vec<i64>,
    seen: NullState,
    output: Output,
    argument: PhantomData<fn(T)>,
}

impl<T, S: Total> Totals<T, S> {
    pub(super) fn new(output: Output) -> Totals<T, S> {
        let (totals, counts) = (S::Sums::default(), Vec::new());
        Totals { totals, counts, seen: NullState::new(), output, argument: PhantomData }
    }

    fn resize(&mut self, groups: usize) {
        self.totals.resize_to(groups);
        if self.output.is_average() {
            self.counts.resize(groups, 0);
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<S>, Vec<i64>, Option<NullBuffer>) {
        let totals = self.totals.take(emit_to);
        let counts = if self.output.is_average() { emit_to.take_needed(&mut self.counts) } else { Vec::new() };
        let nulls = self.seen.build(emit_to);
        (totals, counts, nulls)
    }
}

impl<T, S> GroupsAccumulator for Totals<T, S>
where
    T: ArrowPrimitiveType + Send,
    T::Native: Addend<S>,
    S: Total,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let column = values[0].as_primitive::<T>();
        let (totals, counts) = (&mut self.totals, &mut self.counts[..]);
        if self.output.is_average() {
            self.seen.accumulate(group_indices, column, opt_filter, total_num_groups, |group, value| {
                totals.add(group, value.widen());
                counts[group] += 1;
            });
        } else {
            self.seen.accumulate(group_indices, column, opt_filter, total_num_groups, |group, value| {
                totals.add(group, value.widen());
            });
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (totals, counts, nulls) = self.take(emit_to);
        let is_set = |group: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(group));
        let rows = || (0..totals.len()).map(|group| is_set(group).then_some(group));
        match self.output {
            Output::BigInt => {
                let fit = |group: usize| totals[group].wide().to_i128().and_then(|total| i64::try_from(total).ok());
                let results = checked(rows(), fit)?;
                Ok(Arc::new(Int64Array::from(results)))
            }
            Output::Decimal { precision, scale } => {
                let results = checked(rows(), |group| in_precision(totals[group].wide(), precision))?;
                Ok(Arc::new(Decimal128Array::from(results).with_precision_and_scale(precision, scale)?))
            }
            Output::DoubleAverage => {
                let average = |group: usize| totals[group].double() / counts[group] as f64;
                Ok(Arc::new(rows().map(|group| group.map(average)).collect::<Float64Array>()))
            }
            Output::DecimalAverage { precision, scale, more_digits } => {
                let factor = i256::from_i128(10).wrapping_pow(u32::from(more_digits));
                let average = |group: usize| {
                    let scaled = totals[group].wide().checked_mul(factor)?;
                    in_precision(divide_half_away(scaled, i256::from(counts[group])), precision)
                };
                let results = checked(rows(), average)?;
                Ok(Arc::new(Decimal128Array::from(results).with_precision_and_scale(precision, scale)?))
            }
        }
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (totals, counts, nulls) = self.take(emit_to);
        let totals = PrimitiveArray::<S::State>::new(totals.into(), nulls).with_data_type(S::STATE);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(totals)];
        if self.output.is_average() {
            columns.push(Arc::new(Int64Array::from(counts)));
        }
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
        let column = values[0].as_primitive::<S::State>();
        let totals = &mut self.totals;
        self.seen.accumulate(group_indices, column, None, total_num_groups, |group, total| totals.add(group, total));
        if self.output.is_average() {
            let counts = values[1].as_primitive::<Int64Type>().values();
            for (&count, &group) in counts.iter().zip(group_indices) {
                self.counts[group] += count;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.totals.bytes() + self.counts.capacity() * size_of::<i64>() + self.seen.size()
    }
}

/// The results of all groups, null where there is none; the first that doesn't fit is an error.
fn checked<N>(
    groups: impl Iterator<Item = Option<usize>>,
    result: impl Fn(usize) -> Option<N>,
) -> Result<Vec<Option<N>>> {
    let one = |group: Option<usize>| match group {
        None => Ok(None),
        Some(group) => result(group).map(Some).ok_or_else(|| ResultOverflow { group }.into()),
    };
    groups.map(one).collect()
}

/// The average of two decimals of one group at so many more digits, rounded half away from zero.
pub(super) fn decimal_average(group: usize, both: [i128; 2], more_digits: u8, precision: u8) -> Result<i128> {
    let factor = i256::from_i128(10).wrapping_pow(u32::from(more_digits));
    // 39 digits and four more: far inside of 256 bits.
    let scaled = i256::from_i128(both[0]).wrapping_add(i256::from_i128(both[1])).wrapping_mul(factor);
    in_precision(divide_half_away(scaled, i256::from_i128(2)), precision).ok_or_else(|| ResultOverflow { group }.into())
}

fn in_precision(value: i256, precision: u8) -> Option<i128> {
    let value = value.to_i128()?;
    let limit = 10_u128.pow(u32::from(precision));
    (value.unsigned_abs() < limit).then_some(value)
}

/// Quotient by a positive number, rounded to the nearest; halves away from zero.
fn divide_half_away(value: i256, divisor: i256) -> i256 {
    let (quotient, rest) = (value.wrapping_div(divisor), value.wrapping_rem(divisor));
    let twice = rest.wrapping_abs().wrapping_add(rest.wrapping_abs());
    if twice < divisor {
        quotient
    } else if value < i256::ZERO {
        quotient.wrapping_sub(i256::ONE)
    } else {
        quotient.wrapping_add(i256::ONE)
    }
}
