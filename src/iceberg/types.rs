//! Arrow types as this program uses them, beside Iceberg's: schemas both ways, and bringing arrays from one layout to
//! another. Invariant: a declared column type reads back from a table as exactly the Arrow type it was written with.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use iceberg::arrow::type_to_arrow_type;
use iceberg::spec::{ListType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::event::timestamp_type;

/// How Iceberg's `timestamp` (without a zone) looks in Arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zoneless {
    /// As an instant in UTC: what readers get.
    AsUtc,
    /// Without a zone: what its files hold.
    Kept,
}

/// The Iceberg schema of a new table, its ids counted from 1, outer fields first.
/// The error names the column that has no Iceberg type.
pub(crate) fn to_iceberg(schema: &Schema) -> Result<iceberg::spec::Schema, String> {
    let mut last_id = 0;
    let fields = fields_to_iceberg(schema.fields(), &mut last_id)?;
    iceberg::spec::Schema::builder().with_fields(fields).build().map_err(|error| error.to_string())
}

/// Fields as Iceberg has them, their ids counted on from `last_id`.
pub(crate) fn fields_to_iceberg(fields: &Fields, last_id: &mut i32) -> Result<Vec<NestedFieldRef>, String> {
    let first_id = *last_id + 1;
    *last_id += i32::try_from(fields.len()).map_err(|_| "too many columns".to_owned())?;
    let numbered = (first_id..).zip(fields.iter());
    numbered
        .map(|(id, field)| {
            let field_type = type_to_iceberg(field.data_type(), last_id)
                .map_err(|type_name| format!("`{}` has type {type_name}, which no table can hold", field.name()))?;
            Ok(Arc::new(NestedField::new(id, field.name(), field_type, !field.is_nullable())))
        })
        .collect()
}

fn type_to_iceberg(data_type: &DataType, last_id: &mut i32) -> Result<Type, String> {
    let primitive = match data_type {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => PrimitiveType::Int,
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            PrimitiveType::Decimal { precision: u32::from(*precision), scale: scale.unsigned_abs().into() }
        }
        DataType::Date32 => PrimitiveType::Date,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => return Err(data_type.to_string()),
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        // No column of this program is FIXED(16): sixteen bytes are a UUID.
        DataType::FixedSizeBinary(16) => PrimitiveType::Uuid,
        DataType::FixedSizeBinary(length) => PrimitiveType::Fixed(length.unsigned_abs().into()),
        DataType::List(item) | DataType::LargeList(item) => {
            *last_id += 1;
            let id = *last_id;
            let element = type_to_iceberg(item.data_type(), last_id)?;
            let element = NestedField::list_element(id, element, !item.is_nullable());
            return Ok(Type::List(ListType::new(Arc::new(element))));
        }
        DataType::Struct(fields) => return Ok(Type::Struct(StructType::new(fields_to_iceberg(fields, last_id)?))),
        other => return Err(other.to_string()),
    };
    Ok(Type::Primitive(primitive))
}

/// The Arrow schema of a table, field ids in the fields' metadata.
pub(crate) fn to_arrow(schema: &iceberg::spec::Schema, zoneless: Zoneless) -> iceberg::Result<Schema> {
    Ok(Schema::new(fields_to_arrow(schema.as_struct().fields(), zoneless)?))
}

fn fields_to_arrow(fields: &[NestedFieldRef], zoneless: Zoneless) -> iceberg::Result<Fields> {
    fields.iter().map(|field| field_to_arrow(field, zoneless)).collect()
}

/// One field of a table in Arrow.
pub(crate) fn field_to_arrow(field: &NestedField, zoneless: Zoneless) -> iceberg::Result<FieldRef> {
    let data_type = match field.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Timestamptz) => timestamp_type(),
        Type::Primitive(PrimitiveType::Timestamp) if zoneless == Zoneless::AsUtc => timestamp_type(),
        Type::Primitive(PrimitiveType::Binary) => DataType::Binary,
        Type::Primitive(PrimitiveType::Uuid) => DataType::FixedSizeBinary(16),
        Type::List(list) => DataType::List(field_to_arrow(&list.element_field, zoneless)?),
        Type::Struct(inner) => DataType::Struct(fields_to_arrow(inner.fields(), zoneless)?),
        other => type_to_arrow_type(other)?,
    };
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    Ok(Arc::new(Field::new(&field.name, data_type, !field.required).with_metadata(id)))
}

/// The schema as [`crate::event`] spells it: no field ids, everything nullable.
pub(crate) fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), true)
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(Arc::new(plain_field(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        other => other.clone(),
    }
}

/// The field id in an Arrow field's metadata.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// How fields of nested values find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchBy {
    /// By name: rows that come from outside.
    Name,
    /// By field id: files of the table, whose columns may have been renamed since.
    Id,
}

/// Brings an array to the layout of `field`: a value that doesn't fit is an error, a field that is missing becomes null.
/// Values are shared, not copied, unless their type changes. `field` carries ids where `by` is [`MatchBy::Id`].
pub(crate) fn conform(array: &ArrayRef, field: &Field, by: MatchBy) -> Result<ArrayRef, ArrowError> {
    let to = field.data_type();
    if array.data_type() == to {
        return Ok(array.clone());
    }
    match (array.data_type(), to) {
        (DataType::Timestamp(unit, zone), DataType::Timestamp(TimeUnit::Microsecond, to_zone)) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let array = if *unit == TimeUnit::Microsecond { array.clone() } else { cast(array, &micros)? };
            // An instant is the same in every zone, and one without a zone is taken as UTC: only the label changes.
            let array = array.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(array.with_timezone_opt(to_zone.clone())))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = array.as_struct();
            let columns =
                fields.iter().map(|field| child(from, field, by)).collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
            let array = StructArray::try_new_with_length(fields.clone(), columns, from.nulls().cloned(), from.len())?;
            Ok(Arc::new(array))
        }
        (DataType::List(_), DataType::List(item)) => {
            let from = array.as_list::<i32>();
            let values = conform(from.values(), item, by)?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls)?))
        }
        _ => cast(array, to),
    }
}

fn child(from: &StructArray, field: &Field, by: MatchBy) -> Result<ArrayRef, ArrowError> {
    let index = from.fields().iter().position(|candidate| match by {
        MatchBy::Name => candidate.name() == field.name(),
        MatchBy::Id => field_id(candidate).is_some() && field_id(candidate) == field_id(field),
    });
    match index {
        Some(index) => conform(from.column(index), field, by),
        None => Ok(new_null_array(field.data_type(), from.len())),
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ColumnType, FieldType};

    #[test]
    fn every_column_type_reads_back_as_the_arrow_type_it_was_declared_with() {
        let nested = ColumnType::Struct(vec![
            FieldType { name: "id".into(), column_type: ColumnType::Uuid },
            FieldType { name: "tags".into(), column_type: ColumnType::Array(Box::new(ColumnType::Text)) },
        ]);
        let types = [
            ColumnType::Boolean,
            ColumnType::Int,
            ColumnType::BigInt,
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::Decimal { precision: 38, scale: 10 },
            ColumnType::Text,
            ColumnType::Bytes,
            ColumnType::Date,
            ColumnType::Timestamp,
            ColumnType::Uuid,
            ColumnType::Array(Box::new(nested.clone())),
            nested,
        ];
        let declared: Vec<Field> =
            types.iter().map(|column_type| Field::new(column_type.to_string(), column_type.arrow(), true)).collect();
        let iceberg = to_iceberg(&Schema::new(declared.clone())).expect("all types have one in Iceberg");
        let back = to_arrow(&iceberg, Zoneless::AsUtc).expect("and back");
        let plain: Vec<Field> = back.fields().iter().map(|field| plain_field(field)).collect();
        assert_eq!(plain, declared);
    }

    #[test]
    fn a_column_without_an_iceberg_type_is_named() {
        let schema = Schema::new(vec![Field::new("x", DataType::UInt64, true)]);
        assert_eq!(to_iceberg(&schema).expect_err("UInt64"), "`x` has type UInt64, which no table can hold");
    }
}
