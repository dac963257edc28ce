//! `median(x)` and `percentile_cont(share) WITHIN GROUP (ORDER BY x)`, exact: all values of a group are kept, and the two
//! around the wanted place are found when it is evaluated. Order of floats: as for `min` and `max`, NaN on top.
//! States are sorted, so that equal multisets have equal bytes.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, ListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, UInt64Type,
};
use datafusion_common::{Result, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::coercion;
use super::distinct::{DistinctThen, distinct_fields};
use super::doubles::emitted;
use super::rows::for_each;
use super::single::Single;
use super::sum::average_type;
use super::totals::decimal_average;

/// Which place is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The middle; of an even number the average of both middle ones. The result has the type of `avg`.
    Median,
    /// A share of the way from the first value to the last, between two values in proportion; DOUBLE.
    Share,
}

/// `median` or `percentile_cont`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    place: Place,
    aliases: Vec<String>,
    signature: Signature,
}

impl Percentile {
    pub(super) fn new(place: Place) -> Percentile {
        let aliases = if place == Place::Share { vec!["quantile_cont".to_owned()] } else { Vec::new() };
        Percentile { place, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn plain(&self, args: &AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.expr_fields[0].data_type().clone();
        if self.place == Place::Share {
            let share = coercion::constant_share(self.name(), args)?;
            let is_descending = coercion::is_descending(args);
            let result = move |values: &mut [f64]| at_share(values, share, is_descending);
            return Ok(Box::new(Values::<Float64Type>::new(data_type, doubles(result))));
        }
        Ok(match (&data_type, args.return_type()) {
            (DataType::Float64, _) => Box::new(Values::<Float64Type>::new(data_type, doubles(median_of_doubles))),
            (DataType::Int64, _) => Box::new(Values::<Int64Type>::new(data_type, doubles(median_of_integers))),
            (DataType::UInt64, _) => Box::new(Values::<UInt64Type>::new(data_type, doubles(median_of_integers))),
            (DataType::Decimal128(_, from), &DataType::Decimal128(precision, scale)) => {
                let more_digits = (scale - from).cast_unsigned();
                let results = move |groups: &mut [Vec<i128>]| -> Result<ArrayRef> {
                    let median = |(group, values): (usize, &mut Vec<i128>)| {
                        let Some((lower, upper)) = middle(values) else { return Ok(None) };
                        decimal_average(group, [lower, upper], more_digits, precision).map(Some)
                    };
                    let medians = groups.iter_mut().enumerate().map(median).collect::<Result<Decimal128Array>>()?;
                    Ok(Arc::new(medians.with_precision_and_scale(precision, scale)?))
                };
                Box::new(Values::<Decimal128Type>::new(data_type, Box::new(results)))
            }
            (other, _) => return internal_err!("median({other}) was not coerced"),
        })
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &'static str {
        match self.place {
            Place::Median => "median",
            Place::Share => "percentile_cont",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match self.place {
            Place::Median => Ok(vec![coercion::number(self.name(), arg_types)?]),
            Place::Share => coercion::share(self.name(), arg_types),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match self.place {
            Place::Median => average_type(self.name(), arg_types),
            Place::Share => Ok(DataType::Float64),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct_fields(&args));
        }
        let list = DataType::new_list(args.input_fields[0].data_type().clone(), true);
        Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), list, true))])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let plain = self.plain(&args)?;
        if args.is_distinct { DistinctThen::over(&args, plain) } else { Ok(plain) }
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
        self.place == Place::Share
    }
}

/// A number with a total order.
trait Ranked: Copy {
    /// The value in its only form, as far as the order tells forms apart.
    fn canonical(self) -> Self;
    fn compare(&self, other: &Self) -> Ordering;
}

impl Ranked for f64 {
    fn canonical(self) -> f64 {
        if self.is_nan() { f64::NAN } else { self }
    }

    fn compare(&self, other: &f64) -> Ordering {
        self.total_cmp(other)
    }
}

impl Ranked for i64 {
    fn canonical(self) -> i64 {
        self
    }

    fn compare(&self, other: &i64) -> Ordering {
        self.cmp(other)
    }
}

impl Ranked for u64 {
    fn canonical(self) -> u64 {
        self
    }

    fn compare(&self, other: &u64) -> Ordering {
        self.cmp(other)
    }
}

impl Ranked for i128 {
    fn canonical(self) -> i128 {
        self
    }

    fn compare(&self, other: &i128) -> Ordering {
        self.cmp(other)
    }
}

/// The value that comes in place `lower` when all are sorted, and the next one (the same one, if it is the last).
fn neighbours<N: Ranked>(values: &mut [N], lower: usize) -> (N, N) {
    let (_, &mut first, behind) = values.select_nth_unstable_by(lower, N::compare);
    let second = behind.iter().copied().min_by(N::compare).unwrap_or(first);
    (first, second)
}

/// Both middle values; of an odd number the same one twice.
fn middle<N: Ranked>(values: &mut [N]) -> Option<(N, N)> {
    let (lower, is_odd) = (values.len().checked_sub(1)? / 2, values.len() % 2 == 1);
    let (first, second) = neighbours(values, lower);
    Some(if is_odd { (first, first) } else { (first, second) })
}

fn median_of_doubles(values: &mut [f64]) -> Option<f64> {
    let (lower, upper) = middle(values)?;
    let sum = lower + upper;
    Some(if sum.is_finite() { sum / 2.0 } else { between(lower, upper, 0.5) })
}

fn median_of_integers<N: Ranked + Into<i128>>(values: &mut [N]) -> Option<f64> {
    let (lower, upper) = middle(values)?;
    let (lower, upper): (i128, i128) = (lower.into(), upper.into());
    // Rounded once: the sum of two 64-bit integers halves exactly.
    Some((lower + upper) as f64 / 2.0)
}

fn at_share(values: &mut [f64], share: f64, is_descending: bool) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share * last as f64;
    let (whole, part) = ((place.floor() as usize).min(last), place - place.floor());
    if part == 0.0 {
        return Some(neighbours(values, if is_descending { last - whole } else { whole }).0);
    }
    Some(if is_descending {
        let (lower, upper) = neighbours(values, last - whole - 1);
        between(upper, lower, part)
    } else {
        let (lower, upper) = neighbours(values, whole);
        between(lower, upper, part)
    })
}

/// The point `part` of the way between two values, infinite ones too; the value itself if they are the same.
fn between(from: f64, to: f64, part: f64) -> f64 {
    if from == to {
        return from;
    }
    let way = to - from;
    let point = if way.is_finite() { from + part * way } else { from * (1.0 - part) + to * part };
    if point.is_nan() { f64::NAN } else { point }
}

/// From the values of each group, in any order, to the results.
type Results<N> = Box<dyn Fn(&mut [Vec<N>]) -> Result<ArrayRef> + Send>;

fn doubles<N>(result: impl Fn(&mut [N]) -> Option<f64> + Send + 'static) -> Results<N> {
    Box::new(move |groups| Ok(Arc::new(groups.iter_mut().map(|values| result(values)).collect::<Float64Array>())))
}

/// All values of each group.
struct Values<T: ArrowPrimitiveType> {
    data_type: DataType,
    groups: Vec<Vec<T::Native>>,
    results: Results<T::Native>,
}

impl<T: ArrowPrimitiveType> Values<T> {
    fn new(data_type: DataType, results: Results<T::Native>) -> Values<T> {
        Values { data_type, groups: Vec::new(), results }
    }
}

impl<T: ArrowPrimitiveType<Native: Ranked> + Send> GroupsAccumulator for Values<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, Vec::new());
        let column = values[0].as_primitive::<T>();
        let numbers = column.values();
        for_each(group_indices, column.nulls(), opt_filter, |row, group| {
            self.groups[group].push(numbers[row].canonical());
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.groups.len());
        let mut groups: Vec<_> = self.groups.drain(..count).collect();
        (self.results)(&mut groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.groups.len());
        let mut groups: Vec<_> = self.groups.drain(..count).collect();
        for values in &mut groups {
            values.sort_unstable_by(Ranked::compare);
        }
        let offsets = OffsetBuffer::from_lengths(groups.iter().map(Vec::len));
        let values = PrimitiveArray::<T>::from_iter_values(groups.into_iter().flatten());
        let item = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        let values = Arc::new(values.with_data_type(self.data_type.clone()));
        Ok(vec![Arc::new(ListArray::try_new(item, offsets, values, None)?)])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, Vec::new());
        let lists = values[0].as_list::<i32>();
        let numbers = lists.values().as_primitive::<T>().values();
        for (pair, &group) in lists.value_offsets().windows(2).zip(group_indices) {
            let (from, to) = (pair[0].cast_unsigned() as usize, pair[1].cast_unsigned() as usize);
            self.groups[group].extend_from_slice(&numbers[from..to]);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let values: usize = self.groups.iter().map(Vec::capacity).sum();
        self.groups.capacity() * size_of::<Vec<T::Native>>() + values * size_of::<T::Native>()
    }
}
