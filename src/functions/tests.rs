//! Exact sums against integers of any size, and the bounds that the docs promise.

mod distinct_counts;
mod memory;
mod quantiles;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::ScalarValue;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use num_bigint::BigInt;
use proptest::prelude::*;

use super::doubles::{DoubleAverage, DoubleSum};
use super::limbs::Limbs;
use super::rounding::{Scaled, round, times_power_of_two};

/// The true sum in units of 2^-1074.
fn true_sum(values: &[f64]) -> BigInt {
    let unit = |value: &f64| {
        let (bits, sign) = (value.to_bits(), if value.is_sign_negative() { -1 } else { 1 });
        let (biased, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
        let magnitude =
            if biased == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (biased - 1) };
        magnitude * sign
    };
    values.iter().map(unit).sum()
}

/// The double nearest to `units * 2^-power`, found by reading its exact decimal digits.
fn nearest(units: &BigInt, power: u32) -> f64 {
    let digits = units * BigInt::from(5).pow(power);
    let value: f64 = format!("{digits}e-{power}").parse().expect("a decimal number");
    // The integer zero has no sign.
    value + 0.0
}

fn column(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// The sum of `values`, each piece in a state of its own, merged in the order of the pieces.
fn sum_in_pieces(pieces: &[&[f64]]) -> f64 {
    let mut whole = DoubleSum::default();
    for piece in pieces {
        let mut part = DoubleSum::default();
        part.update_batch(&[column(piece)], &vec![0; piece.len()], None, 1).expect("floats");
        let state = part.state(EmitTo::All).expect("a state");
        whole.merge_batch(&state, &[0], None, 1).expect("a state");
    }
    whole.evaluate(EmitTo::All).expect("a sum").as_primitive::<Float64Type>().value(0)
}

fn sum(values: &[f64]) -> f64 {
    let mut accumulator = DoubleSum::default();
    accumulator.update_batch(&[column(values)], &vec![0; values.len()], None, 1).expect("floats");
    accumulator.evaluate(EmitTo::All).expect("a sum").as_primitive::<Float64Type>().value(0)
}

fn average(values: &[f64]) -> f64 {
    let mut accumulator = DoubleAverage::default();
    accumulator.update_batch(&[column(values)], &vec![0; values.len()], None, 1).expect("floats");
    accumulator.evaluate(EmitTo::All).expect("an average").as_primitive::<Float64Type>().value(0)
}

fn finite() -> impl Strategy<Value = f64> {
    let any_bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite());
    let pool =
        [0.0, -0.0, 5e-324, f64::MIN_POSITIVE, 1e-300, 1e300, 1e308, f64::MAX, 1.0, 0.1, 1e16, 9007199254740993.0];
    let pooled = (prop::sample::select(pool.to_vec()), any::<bool>()).prop_map(|(v, minus)| if minus { -v } else { v });
    prop_oneof![3 => any_bits, 2 => pooled, 3 => -1.0..1.0, 2 => -1e9..1e9]
}

proptest! {
    #[test]
    fn a_sum_is_the_double_nearest_to_the_true_sum(values in prop::collection::vec(finite(), 1..60)) {
        prop_assert_eq!(sum(&values).to_bits(), nearest(&true_sum(&values), 1074).to_bits());
    }

    #[test]
    fn a_sum_of_like_values_is_the_nearest_too(
        values in prop::collection::vec(-1e3..1e3, 1..500),
        scale in -300i32..300,
    ) {
        let values: Vec<f64> = values.iter().map(|value| times_power_of_two(*value, scale)).collect();
        prop_assert_eq!(sum(&values).to_bits(), nearest(&true_sum(&values), 1074).to_bits());
    }

    #[test]
    fn pieces_and_their_order_leave_no_trace(
        values in prop::collection::vec(finite(), 1..60).prop_shuffle(),
        cuts in prop::collection::vec(0usize..60, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let mut pieces: Vec<&[f64]> = cuts.windows(2).map(|pair| &values[pair[0]..pair[1]]).collect();
        let expected = sum(&values).to_bits();
        let pieces_with_rows: Vec<&[f64]> = pieces.iter().copied().filter(|piece| !piece.is_empty()).collect();
        prop_assert_eq!(sum_in_pieces(&pieces_with_rows).to_bits(), expected);
        pieces.reverse();
        prop_assert_eq!(sum_in_pieces(&pieces).to_bits(), expected);
    }

    #[test]
    fn equal_sums_have_equal_states(values in prop::collection::vec(finite(), 1..40), rotation in 0usize..40) {
        let state = |values: &[f64]| {
            let mut accumulator = DoubleSum::default();
            accumulator.update_batch(&[column(values)], &vec![0; values.len()], None, 1).expect("floats");
            accumulator.state(EmitTo::All).expect("a state")
        };
        let mut rotated = values.clone();
        rotated.rotate_left(rotation % values.len());
        prop_assert_eq!(state(&values), state(&rotated));
    }

    #[test]
    fn limbs_hold_any_integer(terms in prop::collection::vec((any::<i128>(), -2200i32..2100), 1..20)) {
        let mut limbs = Limbs::default();
        let mut model = BigInt::ZERO;
        for &(mantissa, exponent) in &terms {
            limbs.add_signed(mantissa, exponent);
            model += BigInt::from(mantissa) << (exponent + 2200);
        }
        prop_assert_eq!(limbs.round().to_bits(), nearest(&model, 2200).to_bits());
        let (bytes, exponent) = limbs.to_bytes();
        prop_assert_eq!(Limbs::from_bytes(&bytes, exponent).expect("own bytes").to_bytes(), (bytes, exponent));
        let square = limbs.times(&limbs);
        prop_assert_eq!(square.round().to_bits(), nearest(&(&model * &model), 4400).to_bits());
        prop_assert!(limbs.clone().minus(&limbs).is_zero());
        if let Some((mantissa, exponent)) = limbs.narrow() {
            prop_assert_eq!(BigInt::from(mantissa) << (exponent + 2200), model);
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_with_ties_to_even(magnitude in any::<u128>(), shift in 0u32..128, exponent in -1200i32..1000) {
        let magnitude = magnitude >> shift;
        let expected = nearest(&(BigInt::from(magnitude) << (exponent + 1200)), 1200);
        prop_assert_eq!(round(false, magnitude, exponent, false).to_bits(), expected.to_bits());
    }
}

#[test]
fn an_intermediate_overflow_does_not_depend_on_order() {
    for values in [[1e308, 1e308, -1e308], [1e308, -1e308, 1e308], [-1e308, 1e308, 1e308]] {
        assert_eq!(sum(&values), 1e308);
    }
    assert_eq!(sum(&[1e308, 1e308]), f64::INFINITY);
    assert_eq!(sum(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
}

#[test]
fn an_average_of_doubles_is_finite_where_its_sum_is_not() {
    assert_eq!(average(&[f64::MAX, f64::MAX]), f64::MAX);
    assert_eq!(average(&[1e308, 1e308, 1e308, 1e308]), 1e308);
    assert_eq!(average(&[1.0, 2.0, 4.0]), 7.0 / 3.0);
}

#[test]
fn infinities_and_nan_are_as_ieee_says_of_the_set() {
    assert_eq!(sum(&[1.0, f64::INFINITY]), f64::INFINITY);
    assert_eq!(sum(&[f64::NEG_INFINITY, 1e308]), f64::NEG_INFINITY);
    assert_eq!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).to_bits(), f64::NAN.to_bits());
    assert_eq!(sum(&[-f64::NAN, 1.0]).to_bits(), f64::NAN.to_bits());
    assert_eq!(sum_in_pieces(&[&[f64::INFINITY], &[1.0], &[f64::NEG_INFINITY]]).to_bits(), f64::NAN.to_bits());
}

#[test]
fn a_sum_of_zero_has_no_sign() {
    assert_eq!(sum(&[-0.0, -0.0]).to_bits(), 0);
    assert_eq!(sum(&[1.5, -1.5]).to_bits(), 0);
}

#[test]
fn a_group_of_one_magnitude_costs_24_bytes() {
    let mut accumulator = DoubleSum::default();
    let values: Vec<f64> = (0..10_000).map(|index| f64::from(index) * 0.001 + 1.0).collect();
    let groups: Vec<usize> = (0..10_000).map(|index| index % 100).collect();
    accumulator.update_batch(&[column(&values)], &groups, None, 100).expect("floats");
    assert_eq!(accumulator.size(), 100 * 24);
}

#[test]
fn the_root_of_a_scaled_number_does_not_overflow() {
    let huge = Scaled { fraction: 1.0, exponent: 2001 };
    assert_eq!(huge.value(), f64::INFINITY);
    assert_eq!(huge.square_root().value(), times_power_of_two(std::f64::consts::SQRT_2, 1000));
    assert_eq!(Scaled { fraction: 1.0, exponent: -3 }.square_root().value(), 0.125_f64.sqrt());
}

#[test]
fn aggregates_and_scalars_have_distinct_names_and_no_clock() {
    let aggregates = super::aggregates();
    let mut names: Vec<&str> = aggregates.iter().flat_map(|udf| udf.aliases().iter().map(String::as_str)).collect();
    names.extend(aggregates.iter().map(|udf| udf.name()));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for wanted in ["count", "sum", "avg", "mean", "min", "max", "bool_and", "bool_or", "first_value", "last_value"] {
        assert!(names.contains(&wanted), "{wanted} is missing");
    }
    for wanted in ["stddev", "stddev_samp", "stddev_pop", "var", "var_samp", "var_pop"] {
        assert!(names.contains(&wanted), "{wanted} is missing");
    }
    for wanted in
        ["approx_distinct", "approx_quantile", "approx_percentile_cont", "array_agg", "string_agg", "nth_value"]
    {
        assert!(names.contains(&wanted), "{wanted} is missing");
    }
    for wanted in super::ORDERED.into_iter().chain(super::DISTINCT).chain(super::DISTINCT_IS_NOTHING) {
        assert!(aggregates.iter().any(|udf| udf.name() == wanted), "{wanted} is missing");
    }
    let scalars = super::scalars();
    let has = |name: &str| scalars.iter().any(|udf| udf.name() == name);
    assert!(has("correct_clock"));
    assert!(["lower", "date_trunc", "abs", "coalesce", "substr"].into_iter().all(has));
    assert!(!["now", "random", "uuid", "current_date", "current_time", "version"].into_iter().any(has));
}

#[test]
fn result_types_follow_the_argument() {
    let aggregates = super::aggregates();
    let result = |name: &str, argument: DataType| {
        let udf = aggregates.iter().find(|udf| udf.name() == name).expect("known");
        let coerced = udf.coerce_types(&[argument])?;
        udf.return_type(&coerced)
    };
    let decimal = DataType::Decimal128;
    assert_eq!(result("sum", DataType::Int32).expect("a number"), DataType::Int64);
    assert_eq!(result("sum", DataType::UInt64).expect("a number"), DataType::Int64);
    assert_eq!(result("sum", DataType::Float32).expect("a number"), DataType::Float64);
    assert_eq!(result("sum", decimal(10, 2)).expect("a number"), decimal(20, 2));
    assert_eq!(result("sum", decimal(38, 2)).expect("a number"), decimal(38, 2));
    assert_eq!(result("avg", DataType::Int64).expect("a number"), DataType::Float64);
    assert_eq!(result("avg", decimal(10, 2)).expect("a number"), decimal(14, 6));
    assert_eq!(result("stddev", DataType::Int32).expect("a number"), DataType::Float64);
    let refused = result("sum", DataType::Utf8).expect_err("text is no number").strip_backtrace();
    assert_eq!(refused, "Error during planning: sum needs a number, not Utf8");
}

#[test]
fn a_state_of_the_first_groups_leaves_the_others() {
    let mut accumulator = DoubleSum::default();
    accumulator.update_batch(&[column(&[1.0, 1e300, 3.0, 1e-300])], &[0, 1, 2, 1], None, 3).expect("floats");
    let first = accumulator.state(EmitTo::First(1)).expect("a state");
    assert_eq!(first[0].len(), 1);
    let rest = accumulator.evaluate(EmitTo::All).expect("sums");
    assert_eq!(ScalarValue::try_from_array(&rest, 0).expect("two"), ScalarValue::from(1e300));
    assert_eq!(ScalarValue::try_from_array(&rest, 1).expect("two"), ScalarValue::from(3.0));
}
