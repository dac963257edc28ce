//! Which argument types an aggregate takes, what they are cast to, and the arguments that are constants.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::function::AccumulatorArgs;

/// The one argument of a function that adds numbers: integers become BIGINT (unsigned ones of 64 bits stay), floats
/// DOUBLE, decimals DECIMAL of at most 38 digits; an untyped NULL becomes BIGINT.
pub(super) fn number(function: &str, argument_types: &[DataType]) -> Result<DataType> {
    let [argument] = argument_types else {
        return plan_err!("{function} takes one argument, not {}", argument_types.len());
    };
    Ok(match argument {
        DataType::Dictionary(_, value) => return number(function, &[value.as_ref().clone()]),
        DataType::Null
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::UInt64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        other => return plan_err!("{function} needs a number, not {other}"),
    })
}

/// As [`number`], for functions that compute in DOUBLE.
pub(super) fn double(function: &str, argument_types: &[DataType]) -> Result<DataType> {
    number(function, argument_types).map(|_| DataType::Float64)
}

/// The argument of that number, if it is the same for every row.
pub(super) fn constant(args: &AccumulatorArgs, argument: usize) -> Option<ScalarValue> {
    // Over no columns at all only a constant has a value.
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let nothing = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options).ok()?;
    let value = args.exprs[argument].evaluate(&nothing).ok()?;
    ScalarValue::try_from_array(value.into_array(1).ok()?.as_ref(), 0).ok()
}

/// The constant share of the rows that argument 1 of `function` is: between 0 and 1.
pub(super) fn constant_share(function: &str, args: &AccumulatorArgs) -> Result<f64> {
    match constant(args, 1) {
        Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => Ok(share),
        Some(other) => plan_err!("the share of {function} lies between 0 and 1, and {other} doesn't"),
        None => plan_err!("the share of {function} is a constant, such as 0.95: the same for all rows"),
    }
}

/// Whether the ORDER BY of WITHIN GROUP counts from the greatest value.
pub(super) fn is_descending(args: &AccumulatorArgs) -> bool {
    args.order_bys.first().is_some_and(|order| order.options.descending)
}

/// The two arguments of a function over pairs of numbers; it computes in DOUBLE.
pub(super) fn pair(function: &str, argument_types: &[DataType]) -> Result<Vec<DataType>> {
    let [first, second] = argument_types else {
        return plan_err!("{function} takes two arguments, not {}", argument_types.len());
    };
    [first, second].into_iter().map(|argument| double(function, std::slice::from_ref(argument))).collect()
}

/// The arguments of a function over numbers that takes a share between 0 and 1 behind them; it computes in DOUBLE.
pub(super) fn share(function: &str, argument_types: &[DataType]) -> Result<Vec<DataType>> {
    let [number, share] = argument_types else {
        return plan_err!("{function} takes a number and a share between 0 and 1, as in {function}(x, 0.95)");
    };
    if !share.is_numeric() && !share.is_null() {
        return plan_err!("the share of {function} is a number between 0 and 1, not {share}");
    }
    Ok(vec![double(function, std::slice::from_ref(number))?, DataType::Float64])
}
