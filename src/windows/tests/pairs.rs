//! The obvious, slow answer of aggregates over pairs, in integers of any size.

use datafusion_common::ScalarValue;
use num_bigint::{BigInt, Sign};
use proptest::prelude::*;

use super::model::{double, units};
use super::{Call, Row, Second};

/// Bits that quotients are computed to.
const BITS: u64 = 200;

/// `n` times the sum of products of deviations.
fn deviations(left: &[BigInt], right: &[BigInt]) -> BigInt {
    let products: BigInt = left.iter().zip(right).map(|(left, right)| left * right).sum();
    products * left.len() - left.iter().sum::<BigInt>() * right.iter().sum::<BigInt>()
}

/// `numerator / denominator * 2^-power`: cut after some 200 bits, then rounded to a double.
fn quotient(numerator: &BigInt, denominator: &BigInt, power: u32) -> f64 {
    let more =
        u32::try_from(denominator.bits().saturating_sub(numerator.bits()) + BITS).expect("some thousands of bits");
    let power = power + more;
    let digits = (numerator << more) / denominator * BigInt::from(5).pow(power);
    format!("{digits}e-{power}").parse().expect("a decimal number")
}

pub(super) fn check(call: &Call, rows: &[&Row], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    let Some(Second::Column(second)) = call.second else { panic!("a pair has two columns") };
    let pairs = rows.iter().filter_map(|row| Some((double(row, call.argument)?, double(row, second)?)));
    let (ys, xs): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let count = ys.len();
    if call.function == "regr_count" {
        prop_assert_eq!(found, &ScalarValue::Int64(Some(i64::try_from(count).expect("few"))), "{}", text);
        return Ok(());
    }
    let expected = if count == 0 { None } else { expected(call.function, &ys, &xs) };
    let ScalarValue::Float64(found) = *found else { return Err(TestCaseError::fail(text.to_owned())) };
    prop_assert_eq!(found.is_none(), expected.is_none(), "{} expected {:?}", text, expected);
    let (Some(found), Some(expected)) = (found, expected) else { return Ok(()) };
    let same = found == expected || (found.is_nan() && expected.is_nan());
    let near = (found - expected).abs() <= expected.abs() * 3.0 * f64::EPSILON;
    let tiny = found.abs() <= f64::MIN_POSITIVE && expected.abs() <= f64::MIN_POSITIVE;
    prop_assert!(same || near || tiny, "{} expected {}", text, expected);
    if matches!(call.function, "corr" | "regr_r2") && !found.is_nan() {
        prop_assert!((-1.0..=1.0).contains(&found), "{}", text);
    }
    Ok(())
}

fn expected(function: &str, ys: &[f64], xs: &[f64]) -> Option<f64> {
    let averaged = match function {
        "regr_avgx" => Some(xs),
        "regr_avgy" => Some(ys),
        _ => None,
    };
    if let Some(values) = averaged {
        return Some(average(values));
    }
    let all_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    let (x_counts, y_counts) = (function != "regr_syy", function != "regr_sxx");
    let count = ys.len();
    if function == "covar_samp" && count == 1 {
        return None;
    }
    if (x_counts && !all_finite(xs)) || (y_counts && !all_finite(ys)) {
        return Some(f64::NAN);
    }
    // What isn't looked at may be infinite.
    let of = |values: &[f64], counts: bool| -> Vec<BigInt> {
        values.iter().map(|value| if counts { units(*value) } else { BigInt::ZERO }).collect()
    };
    let (x, y) = (of(xs, x_counts), of(ys, y_counts));
    let (xy, xx, yy) = (deviations(&x, &y), deviations(&x, &x), deviations(&y, &y));
    let (none, count) = (BigInt::ZERO, BigInt::from(count));
    Some(match function {
        "covar_samp" => quotient(&xy, &(&count * (&count - 1)), 2148),
        "covar_pop" => quotient(&xy, &(&count * &count), 2148),
        "regr_sxx" => quotient(&xx, &count, 2148),
        "regr_syy" => quotient(&yy, &count, 2148),
        "regr_sxy" => quotient(&xy, &count, 2148),
        _ if xx == none => return None,
        "regr_slope" => quotient(&xy, &xx, 0),
        "regr_intercept" => {
            let products: BigInt = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            let squares: BigInt = x.iter().map(|x| x.pow(2)).sum();
            let numerator = y.iter().sum::<BigInt>() * squares - x.iter().sum::<BigInt>() * products;
            quotient(&numerator, &xx, 1074)
        }
        "corr" if yy == none => return None,
        "regr_r2" if yy == none => 1.0,
        "regr_r2" => quotient(&xy.pow(2), &(xx * yy), 0),
        _ => {
            assert!(xx.sign() == Sign::Plus && yy.sign() == Sign::Plus);
            // Both sides of the quotient with 400 bits more, of which the root takes half.
            let root = ((xx * yy) << 400_u32).sqrt();
            quotient(&(xy << 200_u32), &root, 0)
        }
    })
}

fn average(values: &[f64]) -> f64 {
    if values.iter().any(|value| !value.is_finite()) {
        return values.iter().filter(|value| !value.is_finite()).sum();
    }
    quotient(&values.iter().map(|value| units(*value)).sum(), &BigInt::from(values.len()), 1074)
}
