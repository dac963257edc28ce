//! Sums of products as columns of a state: for each group the words and the exponent of an integer of any length.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int32Array};
use arrow::datatypes::Int32Type;
use datafusion_common::{Result, exec_datafusion_err};

use super::limbs::Limbs;

/// Columns that [`product_columns`] gives: words (`Binary`), then exponent (`Int32`).
pub(super) const PRODUCT_COLUMNS: usize = 2;

/// The sums, a row each.
pub(super) fn product_columns(sums: &[Limbs]) -> [ArrayRef; PRODUCT_COLUMNS] {
    let mut words = BinaryBuilder::new();
    let mut exponents = Vec::with_capacity(sums.len());
    for sum in sums {
        let (bytes, exponent) = sum.to_bytes();
        words.append_value(bytes);
        exponents.push(exponent);
    }
    [Arc::new(words.finish()), Arc::new(Int32Array::from(exponents))]
}

/// Adds each row of `columns`, laid out as [`product_columns`] gives them, to the sum of its group. Fails on words that it
/// never gave.
pub(super) fn merge_products(sums: &mut [Limbs], columns: &[ArrayRef], group_indices: &[usize]) -> Result<()> {
    let words: &BinaryArray = columns[0].as_binary();
    let exponents = columns[1].as_primitive::<Int32Type>().values();
    for (row, &group) in group_indices.iter().enumerate() {
        let sum = Limbs::from_bytes(words.value(row), exponents[row])
            .ok_or_else(|| exec_datafusion_err!("the state of a sum of products is not readable"))?;
        sums[group].add_limbs(&sum);
    }
    Ok(())
}
