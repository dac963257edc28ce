//! The types of declared columns and the Arrow types that carry them.
//! Invariant: one declared type has one Arrow type, whichever face a record came from.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// The zone of every instant, spelled as Iceberg's Arrow schemas spell UTC.
pub const TIMESTAMP_ZONE: &str = "+00:00";

/// How many columns of our own stand behind a stream's columns: `_partition`, `_offset`, `_timestamp`, `_seen`.
pub const SYSTEM_COLUMNS: usize = 4;

/// The Arrow type of an instant: microseconds, UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(TIMESTAMP_ZONE.into()))
}

/// A type that a column of a stream can be declared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// `BOOLEAN`
    Boolean,
    /// `INT`, 32 bits
    Int,
    /// `BIGINT`, 64 bits
    BigInt,
    /// `FLOAT`, 32 bits
    Float,
    /// `DOUBLE`, 64 bits
    Double,
    /// `DECIMAL(precision, scale)`, precision 1 to 38, scale 0 to precision
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// `TEXT`, UTF-8
    Text,
    /// `BYTES`
    Bytes,
    /// `DATE`
    Date,
    /// `TIMESTAMP`: an instant in microseconds, UTC
    Timestamp,
    /// `UUID`
    Uuid,
    /// `type ARRAY` or `type[]`
    Array(Box<ColumnType>),
    /// `STRUCT<name type, …>`
    Struct(Vec<FieldType>),
}

/// One field of a struct; always nullable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldType {
    /// Name, as in the message.
    pub name: String,
    /// Type of the field.
    pub column_type: ColumnType,
}

impl ColumnType {
    /// The Arrow type that carries values of this type, in every batch of the program.
    pub fn arrow(&self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Int => DataType::Int32,
            ColumnType::BigInt => DataType::Int64,
            ColumnType::Float => DataType::Float32,
            ColumnType::Double => DataType::Float64,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            ColumnType::Text => DataType::Utf8,
            ColumnType::Bytes => DataType::Binary,
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => timestamp_type(),
            ColumnType::Uuid => DataType::FixedSizeBinary(16),
            ColumnType::Array(item) => DataType::List(Arc::new(Field::new("element", item.arrow(), true))),
            ColumnType::Struct(fields) => DataType::Struct(
                fields.iter().map(|field| Field::new(&field.name, field.column_type.arrow(), true)).collect(),
            ),
        }
    }
}

impl std::fmt::Display for ColumnType {
    /// As it is written in a job file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("BOOLEAN"),
            ColumnType::Int => f.write_str("INT"),
            ColumnType::BigInt => f.write_str("BIGINT"),
            ColumnType::Float => f.write_str("FLOAT"),
            ColumnType::Double => f.write_str("DOUBLE"),
            ColumnType::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            ColumnType::Text => f.write_str("TEXT"),
            ColumnType::Bytes => f.write_str("BYTES"),
            ColumnType::Date => f.write_str("DATE"),
            ColumnType::Timestamp => f.write_str("TIMESTAMP"),
            ColumnType::Uuid => f.write_str("UUID"),
            ColumnType::Array(item) => write!(f, "{item}[]"),
            ColumnType::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {}", field.name, field.column_type)?;
                }
                f.write_str(">")
            }
        }
    }
}
