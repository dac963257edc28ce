//! The obvious, slow answer of aggregates that keep their values: lists, texts, places, percentiles.

use datafusion_common::ScalarValue;
use proptest::prelude::*;

use super::model::{Value, as_value, check_total, doubles, in_order, value};
use super::{Call, DOUBLE, INT, Row, Second};

pub(super) fn check(call: &Call, rows: &[&Row], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    match call.function {
        "array_agg" => {
            let expected = listed(call, rows);
            let ScalarValue::List(list) = found else { return Err(TestCaseError::fail(text.to_owned())) };
            let items: Option<Vec<Option<Value>>> = (!found.is_null()).then(|| {
                let items = list.value(0);
                (0..items.len())
                    .map(|index| as_value(&ScalarValue::try_from_array(&items, index).expect("inside")))
                    .collect()
            });
            prop_assert_eq!(items, (!expected.is_empty()).then_some(expected), "{}", text);
        }
        "string_agg" => {
            let Some(Second::Constant(ScalarValue::Utf8(Some(separator)))) = &call.second else {
                panic!("a separator")
            };
            let call = Call { ignore_nulls: true, ..call.clone() };
            let texts = listed(&call, rows).into_iter().map(|value| match value {
                Some(Value::Text(text)) => text,
                other => panic!("no text: {other:?}"),
            });
            let texts: Vec<String> = texts.collect();
            let expected = (!texts.is_empty()).then(|| texts.join(separator));
            prop_assert_eq!(found, &ScalarValue::Utf8(expected), "{}", text);
        }
        "nth_value" => {
            let Some(Second::Constant(ScalarValue::Int64(Some(place)))) = call.second else { panic!("a place") };
            let values = listed(call, rows);
            let index = if place > 0 {
                usize::try_from(place - 1).ok()
            } else {
                values.len().checked_add_signed(place as isize)
            };
            let expected = index.and_then(|index| values.get(index).cloned().flatten());
            prop_assert_eq!(as_value(found), expected, "{}", text);
        }
        "median" if call.argument != DOUBLE => {
            let mut known: Vec<Value> = rows.iter().filter_map(|row| value(row, call.argument)).collect();
            known.sort();
            if call.distinct {
                known.dedup();
            }
            let middle = if known.is_empty() {
                Vec::new()
            } else {
                vec![known[(known.len() - 1) / 2].clone(), known[known.len() / 2].clone()]
            };
            // Its average, by the same rules.
            let average = Call::of("avg", if call.argument == INT { INT } else { call.argument });
            check_total(&average, &middle, found, text)?;
        }
        _ => check_share(call, rows, found, text)?,
    }
    Ok(())
}

/// The values in order, each only once if DISTINCT.
fn listed(call: &Call, rows: &[&Row]) -> Vec<Option<Value>> {
    let mut values: Vec<Option<Value>> = Vec::new();
    for row in in_order(call, rows) {
        let value = value(row, call.argument);
        if !call.distinct || !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn check_share(call: &Call, rows: &[&Row], found: &ScalarValue, text: &str) -> Result<(), TestCaseError> {
    let mut values = doubles(call, rows);
    values.sort_by_key(|value| super::model::ordered(*value));
    let share = match call.second {
        Some(Second::Constant(ScalarValue::Float64(Some(share)))) => share,
        _ => 0.5,
    };
    let ScalarValue::Float64(found) = *found else { return Err(TestCaseError::fail(text.to_owned())) };
    prop_assert_eq!(found.is_none(), values.is_empty(), "{}", text);
    let Some(found) = found else { return Ok(()) };
    let (expected, error) = if call.function == "approx_quantile" {
        let rank = ((share * values.len() as f64).ceil() as usize).max(1);
        (values[rank - 1], 0.01)
    } else {
        let place = share * (values.len() - 1) as f64;
        let (lower, upper) = (values[place.floor() as usize], values[place.ceil() as usize]);
        let part = place - place.floor();
        (if lower == upper { lower } else { lower * (1.0 - part) + upper * part }, 1e-12)
    };
    let same = found == expected || (found.is_nan() && expected.is_nan());
    // Below all normal numbers a rounding is more than a share of them.
    let near = (found - expected).abs() <= expected.abs() * error + f64::MIN_POSITIVE;
    prop_assert!(same || near || cancels(&values, expected), "{} expected {}", text, expected);
    Ok(())
}

/// Whether the point between two values is so much nearer to zero than they are that the rounding of each matters.
fn cancels(values: &[f64], expected: f64) -> bool {
    let largest =
        values.iter().filter(|value| value.is_finite()).fold(0.0_f64, |largest, value| largest.max(value.abs()));
    expected.is_finite() && expected.abs() < largest * 1e-3
}
