//! What counts as one float. Columns of other types pass as they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};

/// By SQL's equality: -0.0 is 0.0, and all NaN are one. For keys and distinct values.
pub fn one_zero_one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => map::<Float32Type>(column, |value| if value.is_nan() { f32::NAN } else { value + 0.0 }),
        DataType::Float64 => map::<Float64Type>(column, |value| if value.is_nan() { f64::NAN } else { value + 0.0 }),
        _ => Arc::clone(column),
    }
}

/// For the total order of `min`, `max` and ORDER BY: -0.0 is below 0.0, and all NaN are one, above everything. (IEEE's
/// total order alone puts NaN with the sign bit, which x86 makes of 0.0 / 0.0, below everything.)
pub(super) fn one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => map::<Float32Type>(column, |value| if value.is_nan() { f32::NAN } else { value }),
        DataType::Float64 => map::<Float64Type>(column, |value| if value.is_nan() { f64::NAN } else { value }),
        _ => Arc::clone(column),
    }
}

fn map<T: ArrowPrimitiveType>(column: &ArrayRef, normal: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    let array: PrimitiveArray<T> = column.as_primitive::<T>().unary(normal);
    Arc::new(array)
}
