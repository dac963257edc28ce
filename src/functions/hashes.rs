//! A hash of 64 bits for values of any type: XXH3 without a seed, of a form that doesn't depend on how a value is kept.
//! Invariant: fixed for ever, as hashes stand in checkpoints: equal values have equal hashes in every run. A number of
//! INT has that of BIGINT, one of FLOAT that of DOUBLE; -0.0 has that of 0.0, and all NaN have one.

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, OffsetSizeTrait, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion_common::{Result, not_impl_err};
use xxhash_rust::xxh3::xxh3_64;

/// The hash of a null inside of an array or a struct.
const NULL: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of each value. A null has [`NULL`]'s.
pub(super) fn hashes(column: &ArrayRef) -> Result<Vec<u64>> {
    let mut hashes = values(column)?;
    if let Some(nulls) = column.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        for (hash, is_valid) in hashes.iter_mut().zip(nulls.iter()) {
            if !is_valid {
                *hash = NULL;
            }
        }
    }
    Ok(hashes)
}

fn values(column: &ArrayRef) -> Result<Vec<u64>> {
    Ok(match column.data_type() {
        DataType::Null => vec![NULL; column.len()],
        DataType::Boolean => column.as_boolean().values().iter().map(|value| word(u64::from(value))).collect(),
        DataType::Int8 => integers::<Int8Type>(column),
        DataType::Int16 => integers::<Int16Type>(column),
        DataType::Int32 => integers::<Int32Type>(column),
        DataType::Int64 => integers::<Int64Type>(column),
        DataType::UInt8 => integers::<UInt8Type>(column),
        DataType::UInt16 => integers::<UInt16Type>(column),
        DataType::UInt32 => integers::<UInt32Type>(column),
        DataType::UInt64 => words(column.as_primitive::<UInt64Type>(), |value| value),
        DataType::Float16 => words(column.as_primitive::<Float16Type>(), |value| float(value.to_f64())),
        DataType::Float32 => words(column.as_primitive::<Float32Type>(), |value| float(f64::from(value))),
        DataType::Float64 => words(column.as_primitive::<Float64Type>(), float),
        DataType::Utf8 => column.as_string::<i32>().iter().map(|text| bytes(text.map(str::as_bytes))).collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(|text| bytes(text.map(str::as_bytes))).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(|text| bytes(text.map(str::as_bytes))).collect(),
        DataType::Binary => column.as_binary::<i32>().iter().map(bytes).collect(),
        DataType::LargeBinary => column.as_binary::<i64>().iter().map(bytes).collect(),
        DataType::BinaryView => column.as_binary_view().iter().map(bytes).collect(),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().iter().map(bytes).collect(),
        DataType::Dictionary(_, value) => return values(&cast(column, value)?),
        DataType::List(_) => lists::<i32>(column)?,
        DataType::LargeList(_) => lists::<i64>(column)?,
        DataType::FixedSizeList(..) => {
            let list: &FixedSizeListArray = column.as_fixed_size_list();
            let (items, length) = (hashes(list.values())?, list.value_length() as usize);
            (0..list.len()).map(|row| sequence(&items[row * length..(row + 1) * length])).collect()
        }
        DataType::Struct(_) => {
            let fields: Vec<Vec<u64>> = column.as_struct().columns().iter().map(hashes).collect::<Result<_>>()?;
            let mut row_of_fields = Vec::with_capacity(fields.len());
            let mut hash = |row: usize| {
                row_of_fields.clear();
                row_of_fields.extend(fields.iter().map(|field| field[row]));
                sequence(&row_of_fields)
            };
            (0..column.len()).map(&mut hash).collect()
        }
        // Dates, times, intervals and decimals: the bytes of the one integer that each of them is.
        other if other.primitive_width().is_some() => {
            let width = other.primitive_width().expect("just asked");
            let data = column.to_data();
            let all = &data.buffers()[0].as_slice()[data.offset() * width..];
            all.chunks_exact(width).take(column.len()).map(xxh3_64).collect()
        }
        other => return not_impl_err!("values of {other} can't be counted; cast them to TEXT"),
    })
}

fn word(value: u64) -> u64 {
    xxh3_64(&value.to_le_bytes())
}

fn bytes(value: Option<&[u8]>) -> u64 {
    value.map_or(NULL, xxh3_64)
}

/// The bits of a float's only form.
fn float(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// The hash of hashes in their order.
fn sequence(hashes: &[u64]) -> u64 {
    let start = word(hashes.len() as u64);
    hashes.iter().fold(start, |hash, item| word(hash.rotate_left(23) ^ item))
}

fn words<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, bits: impl Fn(T::Native) -> u64) -> Vec<u64> {
    column.values().iter().map(|value| word(bits(*value))).collect()
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef) -> Vec<u64> {
    words(column.as_primitive::<T>(), |value| value.into().cast_unsigned())
}

fn lists<O: OffsetSizeTrait>(column: &ArrayRef) -> Result<Vec<u64>> {
    let list = column.as_list::<O>();
    let items = hashes(list.values())?;
    Ok(list.offsets().windows(2).map(|pair| sequence(&items[pair[0].as_usize()..pair[1].as_usize()])).collect())
}
