//! Which argument types an aggregate takes, and what they are cast to.

use arrow::datatypes::DataType;
use datafusion_common::{Result, plan_err};

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
