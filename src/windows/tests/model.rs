//! The obvious, slow answer to every aggregate of the tests.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;
use datafusion_common::ScalarValue;
use num_bigint::BigInt;
use num_bigint::Sign;
use proptest::prelude::*;

use super::{Call, DECIMAL, DOUBLE, FLAG, FLOAT, INT, POSITION, Row, TEXT, TIME, WEIGHT};

/// A value of any column, with the order and the equality that SQL is to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Bool(bool),
    Int(i128),
    Text(String),
    /// Bits that order as floats do; NaN on top.
    Double(i64),
}

pub(super) fn ordered(value: f64) -> Value {
    if value.is_nan() {
        return Value::Double(i64::MAX);
    }
    let bits = value.to_bits().cast_signed();
    Value::Double(if bits < 0 { i64::MIN.wrapping_sub(bits).wrapping_sub(1) } else { bits })
}

pub(super) fn value(row: &Row, column: usize) -> Option<Value> {
    match column {
        DOUBLE => row.double.map(ordered),
        FLOAT => row.float.map(|float| ordered(f64::from(float))),
        INT => row.int.map(|int| Value::Int(int.into())),
        DECIMAL => row.decimal.map(Value::Int),
        TEXT => row.text.clone().map(Value::Text),
        FLAG => row.flag.map(Value::Bool),
        TIME => Some(Value::Int(row.time.into())),
        WEIGHT => row.weight.map(ordered),
        POSITION => Some(Value::Int(row.position.into())),
        other => panic!("no test uses column {other}"),
    }
}

pub(super) fn double(row: &Row, column: usize) -> Option<f64> {
    if column == WEIGHT { row.weight } else { row.double }
}

/// Compares each result with the model.
pub(super) fn compare(calls: &[Call], rows: &[Row], closed: &RecordBatch) -> Result<(), TestCaseError> {
    let mut groups: BTreeMap<Option<String>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.key.map(|key| format!("k{key}"))).or_default().push(row);
    }
    prop_assert_eq!(closed.num_rows(), groups.len());
    let keys = closed.column(0).as_string::<i32>();
    for index in 0..closed.num_rows() {
        let key = keys.is_valid(index).then(|| keys.value(index).to_owned());
        for (number, call) in calls.iter().enumerate() {
            let mut rows = groups[&key].clone();
            rows.retain(|row| !call.filtered || row.wanted == Some(true));
            let found = ScalarValue::try_from_array(closed.column(number + 1), index).expect("inside");
            check(call, &rows, &found)?;
        }
    }
    Ok(())
}

fn check(call: &Call, rows: &[&Row], found: &ScalarValue) -> Result<(), TestCaseError> {
    let known: Vec<Value> = rows.iter().filter_map(|row| value(row, call.argument)).collect();
    let text = format!("{} is {found:?}", call.name());
    match call.function {
        "count" | "approx_distinct" => {
            let mut known = known;
            if call.distinct || call.function == "approx_distinct" {
                // Only here are both zeros one.
                for value in &mut known {
                    if *value == ordered(-0.0) {
                        *value = ordered(0.0);
                    }
                }
                known.sort();
                known.dedup();
            }
            let count = i64::try_from(known.len()).expect("few");
            prop_assert_eq!(found, &ScalarValue::Int64(Some(count)), "{}", text);
        }
        "min" => prop_assert_eq!(as_value(found), known.into_iter().min(), "{}", text),
        "max" => prop_assert_eq!(as_value(found), known.into_iter().max(), "{}", text),
        "bool_and" => prop_assert_eq!(as_value(found), known.into_iter().min(), "{}", text),
        "bool_or" => prop_assert_eq!(as_value(found), known.into_iter().max(), "{}", text),
        "bit_and" | "bit_or" | "bit_xor" => {
            let operation: fn(i128, i128) -> i128 = match call.function {
                "bit_and" => |left, right| left & right,
                "bit_or" => |left, right| left | right,
                _ => |left, right| left ^ right,
            };
            let expected = integers(&known).reduce(operation).map(Value::Int);
            prop_assert_eq!(as_value(found), expected, "{}", text);
        }
        "first_value" | "last_value" => prop_assert_eq!(as_value(found), end_value(call, rows), "{}", text),
        "sum" | "avg" if call.argument != DOUBLE => check_total(call, &known, found, &text)?,
        "sum" | "avg" => check_doubles(call, rows, found, &text)?,
        "array_agg" | "string_agg" | "nth_value" | "median" | "percentile_cont" | "approx_quantile" => {
            super::collected::check(call, rows, found, &text)?;
        }
        pair if super::PAIRS.contains(&pair) => super::pairs::check(call, rows, found, &text)?,
        _ => check_variance(call, rows, found, &text)?,
    }
    Ok(())
}

pub(super) fn as_value(scalar: &ScalarValue) -> Option<Value> {
    match scalar {
        ScalarValue::Boolean(value) => value.map(Value::Bool),
        ScalarValue::Int64(value) => value.map(|value| Value::Int(value.into())),
        ScalarValue::Decimal128(value, _, _) => value.map(Value::Int),
        ScalarValue::Utf8(value) => value.clone().map(Value::Text),
        ScalarValue::Float64(value) => value.map(ordered),
        ScalarValue::Float32(value) => value.map(|value| ordered(f64::from(value))),
        other => panic!("no test gives {other:?}"),
    }
}

/// The rows that count, as ORDER BY has them.
pub(super) fn in_order<'r>(call: &Call, rows: &[&'r Row]) -> Vec<&'r Row> {
    let mut rows: Vec<&Row> =
        rows.iter().copied().filter(|row| !call.ignore_nulls || value(row, call.argument).is_some()).collect();
    let (column, options) = call.order[0];
    rows.sort_by(|a, b| {
        let (left, right) = (value(a, column), value(b, column));
        // Ascending with nulls last, or descending with nulls first: one is the other backwards.
        let nulls_last = (left.is_none(), &left).cmp(&(right.is_none(), &right));
        let order = if options.descending { nulls_last.reverse() } else { nulls_last };
        order.then(a.position.cmp(&b.position))
    });
    rows
}

fn end_value(call: &Call, rows: &[&Row]) -> Option<Value> {
    let rows = in_order(call, rows);
    let row = if call.function == "first_value" { rows.first() } else { rows.last() };
    row.and_then(|row| value(row, call.argument))
}

fn integers(known: &[Value]) -> impl Iterator<Item = i128> {
    known.iter().map(|value| match value {
        Value::Int(value) => *value,
        other => panic!("not an integer: {other:?}"),
    })
}

pub(super) fn check_total(call: &Call, known: &[Value], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    let total: i128 = integers(known).sum();
    let count = i128::try_from(known.len()).expect("few");
    if count == 0 {
        prop_assert!(found.is_null(), "{}", text);
    } else if call.function == "sum" {
        prop_assert_eq!(as_value(found), Some(Value::Int(total)), "{}", text);
    } else if call.argument == INT {
        prop_assert_eq!(found, &ScalarValue::Float64(Some(total as f64 / count as f64)), "{}", text);
    } else {
        // Half away from zero, at four digits more.
        let (scaled, count) = (BigInt::from(total) * 10_000, BigInt::from(count));
        let half = if total < 0 { -count.clone() } else { count.clone() };
        let average: BigInt = (scaled * 2 + half) / (count * 2);
        let ScalarValue::Decimal128(Some(found), 38, 6) = found else {
            return Err(TestCaseError::fail(text.to_owned()));
        };
        prop_assert_eq!(BigInt::from(*found), average, "{}", text);
    }
    Ok(())
}

/// A finite double in units of 2^-1074.
pub(super) fn units(value: f64) -> BigInt {
    let (bits, sign) = (value.to_bits(), if value.is_sign_negative() { -1 } else { 1 });
    let (biased, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let magnitude = if biased == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (biased - 1) };
    magnitude * sign
}

pub(super) fn doubles(call: &Call, rows: &[&Row]) -> Vec<f64> {
    let mut values: Vec<f64> = rows.iter().filter_map(|row| double(row, call.argument)).collect();
    if call.distinct {
        values.sort_by_key(|value| ordered(value + 0.0));
        values.dedup_by(|a, b| a == b || (a.is_nan() && b.is_nan()));
    }
    values
}

fn check_doubles(call: &Call, rows: &[&Row], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    let values = doubles(call, rows);
    if values.is_empty() {
        prop_assert!(found.is_null(), "{}", text);
        return Ok(());
    }
    let special: f64 = values.iter().filter(|value| !value.is_finite()).sum();
    let sum = if special.is_finite() {
        let digits = values.iter().map(|value| units(*value)).sum::<BigInt>() * BigInt::from(5).pow(1074);
        format!("{digits}e-1074").parse::<f64>().expect("a decimal number")
    } else {
        special
    };
    let count = values.len() as f64;
    let expected = match call.function {
        "sum" => sum,
        // The quotient of a sum beyond all doubles is checked elsewhere.
        _ if sum.is_infinite() && special.is_finite() => return Ok(()),
        _ => sum / count,
    };
    prop_assert_eq!(as_value(found), Some(ordered(expected + 0.0)), "{}", text);
    Ok(())
}

fn check_variance(call: &Call, rows: &[&Row], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    let values = doubles(call, rows);
    let divisor = if call.function.ends_with("_pop") { values.len() } else { values.len().saturating_sub(1) };
    if divisor == 0 {
        prop_assert!(found.is_null(), "{}", text);
        return Ok(());
    }
    let ScalarValue::Float64(Some(found)) = *found else { return Err(TestCaseError::fail(text.to_owned())) };
    if values.iter().any(|value| !value.is_finite()) {
        prop_assert!(found.is_nan(), "{}", text);
        return Ok(());
    }
    let sum: BigInt = values.iter().map(|value| units(*value)).sum();
    let squares: BigInt = values.iter().map(|value| units(*value).pow(2)).sum();
    let numerator = squares * BigInt::from(values.len()) - sum.pow(2);
    prop_assert!(numerator.sign() != Sign::Minus);
    // In units of 2^-(2148 + 200), the last part cut.
    let variance: BigInt = (numerator << 200) / BigInt::from(values.len() * divisor);
    let is_deviation = call.function.starts_with("stddev");
    let (units, power) = if is_deviation { (variance.sqrt(), 1174) } else { (variance, 2348) };
    let digits = units * BigInt::from(5).pow(power);
    let expected: f64 = format!("{digits}e-{power}").parse().expect("a decimal number");
    let near = found == expected || (found - expected).abs() <= expected * 2.0 * f64::EPSILON;
    prop_assert!(
        near || (expected < f64::MIN_POSITIVE && found <= f64::MIN_POSITIVE),
        "{} expected {}",
        text,
        expected
    );
    Ok(())
}
