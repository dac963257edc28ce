//! The types of expressions: how they are called in SQL, and which of Iceberg's types carries them in a result.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::event::timestamp_type;

/// The type that a result column has for an expression of type `from`: itself, or one that it is cast to.
/// Fails with why no column can have it and what to write instead.
pub(super) fn result_type(from: &DataType) -> Result<DataType, (String, String)> {
    Ok(match from {
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64 => from.clone(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::FixedSizeBinary(_) | DataType::Date32 => from.clone(),
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => timestamp_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => decimal(*precision, *scale)?,
        DataType::Decimal256(..) => return Err(too_many_digits(from)),
        DataType::Dictionary(_, value) => result_type(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => list(item)?,
        DataType::FixedSizeList(item, _) => list(item)?,
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| Ok::<_, (String, String)>(Field::new(field.name(), result_type(field.data_type())?, true)))
                .collect::<Result<Fields, _>>()?,
        ),
        DataType::Null => {
            return Err((
                "its type can't be told, as it is always NULL".to_owned(),
                "give it a type: CAST(… AS TEXT)".to_owned(),
            ));
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            return Err((
                format!("Iceberg has no type for {}", sql_name(from)),
                "give its length as a number: the difference of date_part('epoch', …) of both times, in seconds"
                    .to_owned(),
            ));
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            return Err((
                "a time of day can't be a result column".to_owned(),
                "give it as text, CAST(… AS TEXT), or keep the whole TIMESTAMP".to_owned(),
            ));
        }
        _ => {
            return Err((format!("{} can't be a result column", sql_name(from)), "cast it to another type".to_owned()));
        }
    })
}

fn list(item: &Field) -> Result<DataType, (String, String)> {
    Ok(DataType::List(Arc::new(Field::new("element", result_type(item.data_type())?, true))))
}

fn decimal(precision: u8, scale: i8) -> Result<DataType, (String, String)> {
    if scale >= 0 {
        return Ok(DataType::Decimal128(precision, scale));
    }
    let whole = precision.saturating_add(scale.unsigned_abs());
    if whole <= 38 {
        Ok(DataType::Decimal128(whole, 0))
    } else {
        Err(too_many_digits(&DataType::Decimal128(precision, scale)))
    }
}

fn too_many_digits(from: &DataType) -> (String, String) {
    (
        format!("{} has more than the 38 digits that Iceberg's decimals have", sql_name(from)),
        "cast it: CAST(… AS DECIMAL(38, 6))".to_owned(),
    )
}

/// Whether a cast can lose no value, so that it needs no check.
pub(super) fn cast_is_total(from: &DataType, to: &DataType) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32};
    from == to
        || matches!(
            (from, to),
            (DataType::Null, _)
                | (Int8, Int16 | Int32 | Int64)
                | (Int16, Int32 | Int64)
                | (Int32, Int64)
                | (UInt8, Int16 | Int32 | Int64 | UInt16 | UInt32)
                | (UInt16, Int32 | Int64 | UInt32)
                | (UInt32, Int64)
                | (Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32, Float32 | Float64)
                | (Float32, Float64)
        )
}

/// A type as it is called in a job file; Arrow's name where SQL has none.
pub(super) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".to_owned(),
        DataType::FixedSizeBinary(16) => "UUID".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(TimeUnit::Second, _) => "TIMESTAMP in seconds".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        DataType::Map(..) => "MAP".to_owned(),
        other => other.to_string(),
    }
}

/// `text` with Arrow's names of types replaced by SQL's.
pub(super) fn sql_words(text: &str) -> String {
    let text = text.replace("Timestamp(µs, \"+00:00\")", "TIMESTAMP").replace("Timestamp(µs)", "TIMESTAMP");
    let mut words = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        words.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        words.push_str(match &rest[..end] {
            "Utf8" | "LargeUtf8" | "Utf8View" => "TEXT",
            "Int64" => "BIGINT",
            "Int32" => "INT",
            "Float64" => "DOUBLE",
            "Float32" => "FLOAT",
            "Binary" | "LargeBinary" | "BinaryView" => "BYTES",
            "Date32" => "DATE",
            "Boolean" => "BOOLEAN",
            "Decimal128" => "DECIMAL",
            word => word,
        });
        rest = &rest[end..];
    }
    words.push_str(rest);
    // Our arrays have one name for their items.
    while let Some((before, after)) = words.split_once("List(")
        && let Some((item, after)) = after.split_once(", field: 'element')")
    {
        words = format!("{before}{item}[]{after}");
    }
    words
}
