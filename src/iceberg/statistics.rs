//! Statistics of a data file, from its Parquet footer.
//! Our own, as those of the `iceberg` crate leave row groups whose bound was cut short out of account: a file could be
//! pruned although it holds the value. Invariant: every bound is at or beyond all values, or it is not given.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PartitionSpec, PrimitiveType, Schema, Struct,
    Type,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

/// Text bounds are cut to this many characters, as by Iceberg for Java: a manifest holds two for every column and file.
const BOUND_CHARS_MAX: usize = 16;

/// What is known of a file beside its footer.
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) partition: Struct,
}

#[derive(Default)]
struct Gathered {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    /// Fields with a row group that doesn't tell its bounds.
    unbounded: HashSet<i32>,
}

/// The manifest entry of a file.
pub(crate) fn data_file(
    footer: &ParquetMetaData,
    written: Written,
    spec: &PartitionSpec,
    schema: &Schema,
) -> Result<DataFile, String> {
    let mut gathered = Gathered::default();
    for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
        let leaf = chunk.column_descr();
        let info = leaf.self_type().get_basic_info();
        if !info.has_id() {
            continue;
        }
        *gathered.sizes.entry(info.id()).or_default() += chunk.compressed_size().unsigned_abs();
        // Counts and bounds of repeated fields mean nothing to a reader: an empty list has a value, too.
        if leaf.max_rep_level() > 0 {
            continue;
        }
        *gathered.values.entry(info.id()).or_default() += chunk.num_values().unsigned_abs();
        gathered.add_statistics(info.id(), chunk.statistics(), schema);
    }
    gathered.lower.retain(|id, _| !gathered.unbounded.contains(id));
    gathered.upper.retain(|id, _| !gathered.unbounded.contains(id));
    let offsets = footer.row_groups().iter().filter_map(|group| group.file_offset()).collect();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(written.path)
        .file_format(DataFileFormat::Parquet)
        .partition(written.partition)
        .partition_spec_id(spec.spec_id())
        .record_count(footer.file_metadata().num_rows().unsigned_abs())
        .file_size_in_bytes(written.bytes)
        .column_sizes(gathered.sizes)
        .value_counts(gathered.values)
        .null_value_counts(gathered.nulls)
        .lower_bounds(gathered.lower)
        .upper_bounds(gathered.upper)
        .split_offsets(Some(offsets))
        .build()
        .map_err(|error| error.to_string())
}

impl Gathered {
    fn add_statistics(&mut self, id: i32, statistics: Option<&Statistics>, schema: &Schema) {
        let Some(statistics) = statistics else {
            self.unbounded.insert(id);
            return;
        };
        match statistics.null_count_opt() {
            Some(nulls) => *self.nulls.entry(id).or_default() += nulls,
            None => drop(self.unbounded.insert(id)),
        }
        let Some(Type::Primitive(primitive)) = schema.field_by_id(id).map(|field| field.field_type.as_ref()) else {
            return;
        };
        if statistics.min_bytes_opt().is_none() || statistics.max_bytes_opt().is_none() {
            // Without bounds a chunk holds nulls and NaNs only, which no bound has to cover.
            return;
        }
        match (bound(primitive, statistics, End::Lower), bound(primitive, statistics, End::Upper)) {
            (Some(lower), Some(upper)) => {
                let least = self.lower.entry(id).or_insert_with(|| lower.clone());
                if lower < *least {
                    *least = lower;
                }
                let greatest = self.upper.entry(id).or_insert_with(|| upper.clone());
                if upper > *greatest {
                    *greatest = upper;
                }
            }
            _ => drop(self.unbounded.insert(id)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Lower,
    Upper,
}

/// A bound of one column chunk as an Iceberg value; `None` for types whose order differs between engines (UUID, binary).
fn bound(primitive: &PrimitiveType, statistics: &Statistics, end: End) -> Option<Datum> {
    macro_rules! pick {
        ($values:expr) => {
            if end == End::Lower { $values.min_opt() } else { $values.max_opt() }
        };
    }
    Some(match (primitive, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(values)) => Datum::bool(*pick!(values)?),
        (PrimitiveType::Int, Statistics::Int32(values)) => Datum::int(*pick!(values)?),
        (PrimitiveType::Date, Statistics::Int32(values)) => Datum::date(*pick!(values)?),
        (PrimitiveType::Long, Statistics::Int64(values)) => Datum::long(*pick!(values)?),
        (PrimitiveType::Timestamp, Statistics::Int64(values)) => Datum::timestamp_micros(*pick!(values)?),
        (PrimitiveType::Timestamptz, Statistics::Int64(values)) => Datum::timestamptz_micros(*pick!(values)?),
        (PrimitiveType::Float, Statistics::Float(values)) => Datum::float(*pick!(values)?),
        (PrimitiveType::Double, Statistics::Double(values)) => Datum::double(*pick!(values)?),
        (PrimitiveType::Decimal { .. }, Statistics::Int32(values)) => decimal(primitive, i128::from(*pick!(values)?))?,
        (PrimitiveType::Decimal { .. }, Statistics::Int64(values)) => decimal(primitive, i128::from(*pick!(values)?))?,
        (PrimitiveType::Decimal { .. }, Statistics::FixedLenByteArray(values)) => {
            decimal(primitive, big_endian(pick!(values)?.data())?)?
        }
        (PrimitiveType::String, Statistics::ByteArray(values)) => {
            let text = std::str::from_utf8(pick!(values)?.data()).ok()?;
            match end {
                End::Lower => Datum::string(text.chars().take(BOUND_CHARS_MAX).collect::<String>()),
                End::Upper => Datum::string(at_least(text)?),
            }
        }
        _ => return None,
    })
}

fn decimal(primitive: &PrimitiveType, unscaled: i128) -> Option<Datum> {
    Datum::try_from_bytes(&unscaled.to_be_bytes(), primitive.clone()).ok()
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// A short text that is not less than `text`; `None` if there is none.
fn at_least(text: &str) -> Option<String> {
    let mut letters: Vec<char> = text.chars().take(BOUND_CHARS_MAX + 1).collect();
    if letters.len() <= BOUND_CHARS_MAX {
        return Some(letters.into_iter().collect());
    }
    letters.truncate(BOUND_CHARS_MAX);
    while let Some(last) = letters.pop() {
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_has_a_short_bound_that_is_not_less() {
        assert_eq!(at_least("short").as_deref(), Some("short"));
        assert_eq!(at_least("abcdefghijklmnopqrst").as_deref(), Some("abcdefghijklmnoq"));
        let mut ends_high = "a".repeat(15);
        ends_high.push(char::MAX);
        ends_high.push('x');
        assert_eq!(at_least(&ends_high), Some(format!("{}b", "a".repeat(14))));
        assert_eq!(at_least(&char::MAX.to_string().repeat(17)), None);
    }

    #[test]
    fn decimals_of_any_width_keep_their_sign() {
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
        assert_eq!(big_endian(&[0x01, 0x00]), Some(256));
        assert_eq!(big_endian(&i128::MIN.to_be_bytes()), Some(i128::MIN));
        assert_eq!(big_endian(&[0; 17]), None);
    }
}
