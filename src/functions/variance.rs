//! `stddev`, `var` and their populations: from the exact count, sum and sum of squares, so that a large common offset
//! costs no digits and order plays no part.
//!
//! A square is a product of two 53-bit integers: 106 bits, exact. The sums are as long as they must be: about 170 bytes a
//! group for values of one magnitude. The numerator `n * sum(x²) - sum(x)²` is exact too, so what is rounded is the
//! numerator, the division by each factor of the denominator, and the root: at most 2 units in the last place.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion_common::Result;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility};

use super::coercion;
use super::distinct::{DistinctThen, distinct_fields};
use super::doubles::{SUM_COLUMNS, emitted, merge_columns, sum_columns, sum_fields};
use super::exact::{Sums, decompose};
use super::limbs::Limbs;
use super::products::{merge_products, product_columns};
use super::rows::for_each;
use super::single::Single;

/// What the sum of squared deviations is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Divisor {
    /// n - 1; NULL for fewer than two rows.
    Sample,
    /// n.
    Population,
}

/// Whether the root is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Spread {
    Variance,
    Deviation,
}

/// `stddev`, `stddev_samp`, `stddev_pop`, `var`, `var_samp`, `var_pop`, over DOUBLE.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Variance {
    spread: Spread,
    divisor: Divisor,
    aliases: Vec<String>,
    signature: Signature,
}

impl Variance {
    pub(super) fn new(spread: Spread, divisor: Divisor) -> Variance {
        let aliases: &[&str] = match (spread, divisor) {
            (Spread::Deviation, Divisor::Sample) => &["stddev_samp"],
            (Spread::Deviation, Divisor::Population) => &[],
            (Spread::Variance, Divisor::Sample) => &["var_samp", "var_sample"],
            (Spread::Variance, Divisor::Population) => &["var_population"],
        };
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        Variance { spread, divisor, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn plain(&self) -> Box<dyn GroupsAccumulator> {
        let (spread, divisor) = (self.spread, self.divisor);
        Box::new(Moments { spread, divisor, sums: Sums::default(), squares: Vec::new(), counts: Vec::new() })
    }
}

impl AggregateUDFImpl for Variance {
    fn name(&self) -> &'static str {
        match (self.spread, self.divisor) {
            (Spread::Deviation, Divisor::Sample) => "stddev",
            (Spread::Deviation, Divisor::Population) => "stddev_pop",
            (Spread::Variance, Divisor::Sample) => "var",
            (Spread::Variance, Divisor::Population) => "var_pop",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![coercion::double(self.name(), arg_types)?])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct_fields(&args));
        }
        let field = |name: &str, data_type| Arc::new(Field::new(format!("{}[{name}]", args.name), data_type, true));
        let mut fields = sum_fields(args.name);
        fields.push(field("count", DataType::Int64));
        fields.push(field("squares", DataType::Binary));
        fields.push(field("squares_exponent", DataType::Int32));
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if args.is_distinct { DistinctThen::over(&args, self.plain()) } else { Ok(self.plain()) }
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

/// Count, sum and sum of squares of each group.
struct Moments {
    spread: Spread,
    divisor: Divisor,
    sums: Sums,
    /// Of the finite values.
    squares: Vec<Limbs>,
    counts: Vec<i64>,
}

impl Moments {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        self.squares.resize(groups, Limbs::default());
        self.counts.resize(groups, 0);
    }

    fn add(&mut self, group: usize, value: f64) {
        self.sums.add(group, value);
        self.counts[group] += 1;
        if value.is_finite() {
            let (mantissa, exponent) = decompose(value);
            let square = u128::from(mantissa.unsigned_abs()).pow(2);
            self.squares[group].add(false, square, 2 * exponent);
        }
    }

    fn result(&self, group: usize) -> Option<f64> {
        let count = self.counts[group];
        let divisor = match self.divisor {
            Divisor::Sample => count - 1,
            Divisor::Population => count,
        };
        if divisor <= 0 {
            return None;
        }
        // An infinity's deviation from the mean is not a number.
        let Some(sum) = self.sums.exact(group) else { return Some(f64::NAN) };
        let mut count_limbs = Limbs::default();
        count_limbs.add_signed(i128::from(count), 0);
        let numerator = self.squares[group].times(&count_limbs).minus(&sum.times(&sum));
        if numerator.is_zero() {
            return Some(0.0);
        }
        let variance = numerator.scaled().divided_by(count as f64).divided_by(divisor as f64);
        Some(match self.spread {
            Spread::Variance => variance.value(),
            Spread::Deviation => variance.square_root().value(),
        })
    }

    fn drop_first(&mut self, count: usize) {
        self.sums.drop_first(count);
        self.squares.drain(..count);
        self.counts.drain(..count);
    }
}

impl GroupsAccumulator for Moments {
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
        for_each(group_indices, column.nulls(), opt_filter, |row, group| self.add(group, numbers[row]));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.counts.len());
        let results: Float64Array = (0..count).map(|group| self.result(group)).collect();
        self.drop_first(count);
        Ok(Arc::new(results))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.counts.len());
        let mut columns = sum_columns(&self.sums, count);
        columns.push(Arc::new(Int64Array::from(self.counts[..count].to_vec())));
        columns.extend(product_columns(&self.squares[..count]));
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
        merge_products(&mut self.squares, &values[SUM_COLUMNS + 1..], group_indices)?;
        Ok(())
    }

    fn size(&self) -> usize {
        let words: usize = self.squares.iter().map(Limbs::bytes).sum();
        self.sums.bytes()
            + self.squares.capacity() * size_of::<Limbs>()
            + words
            + self.counts.capacity() * size_of::<i64>()
    }
}
