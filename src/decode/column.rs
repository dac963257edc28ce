//! Columns under construction: typed vectors that grow by one value a record and can be cut back to a record's start.
//! Invariant: after a record, every column of a batch has the same length. Costs nothing for a value that isn't null:
//! nulls are kept as a list of rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use crate::event::{ColumnType, TIMESTAMP_ZONE};

/// A column of one declared type under construction.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    pub(super) values: Values,
    /// Rows that are null, rising.
    nulls: Vec<u32>,
}

/// The values of a column; null rows hold a default.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(Vec<bool>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Text(VariableBytes),
    Bytes(VariableBytes),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    /// Sixteen bytes a row.
    Uuid(Vec<u8>),
    Array {
        ends: Vec<i32>,
        items: Box<ColumnBuilder>,
        item_type: DataType,
    },
    Struct {
        fields: Vec<FieldBuilder>,
        rows: usize,
    },
}

/// One field of a struct under construction.
#[derive(Debug)]
pub(super) struct FieldBuilder {
    pub(super) name: String,
    pub(super) column: ColumnBuilder,
    /// Why the field's value in the row being read is bad.
    pub(super) fault: Option<&'static str>,
    data_type: DataType,
}

/// Values of varying length, end to end.
#[derive(Debug)]
pub(super) struct VariableBytes {
    pub(super) bytes: Vec<u8>,
    /// 0, then the end of each value.
    offsets: Vec<i32>,
}

impl VariableBytes {
    fn new() -> VariableBytes {
        VariableBytes { bytes: Vec::new(), offsets: vec![0] }
    }

    /// Appends `value` as a row.
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.close();
    }

    /// Makes a row of the bytes added since the last one.
    pub(super) fn close(&mut self) {
        let end = i32::try_from(self.bytes.len()).expect("a raw batch is far below 2 GiB, and a column isn't larger");
        self.offsets.push(end);
    }

    /// Forgets bytes that were added since the last row.
    pub(super) fn drop_open(&mut self) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.bytes.truncate(end as usize);
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.drop_open();
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let rows = self.offsets.len();
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        self.offsets.push(0);
        (OffsetBuffer::new(offsets.into()), Buffer::from_vec(take_vec(&mut self.bytes)))
    }
}

/// Takes a vector and leaves one with room for as much again.
fn take_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let length = values.len();
    std::mem::replace(values, Vec::with_capacity(length))
}

impl ColumnBuilder {
    /// An empty column of `column_type`.
    pub(super) fn new(column_type: &ColumnType) -> ColumnBuilder {
        let values = match column_type {
            ColumnType::Boolean => Values::Boolean(Vec::new()),
            ColumnType::Int => Values::Int(Vec::new()),
            ColumnType::BigInt => Values::BigInt(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Decimal { precision, scale } => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            ColumnType::Text => Values::Text(VariableBytes::new()),
            ColumnType::Bytes => Values::Bytes(VariableBytes::new()),
            ColumnType::Date => Values::Date(Vec::new()),
            ColumnType::Timestamp => Values::Timestamp(Vec::new()),
            ColumnType::Uuid => Values::Uuid(Vec::new()),
            ColumnType::Array(item) => {
                Values::Array { ends: Vec::new(), items: Box::new(ColumnBuilder::new(item)), item_type: item.arrow() }
            }
            ColumnType::Struct(fields) => Values::Struct {
                fields: fields
                    .iter()
                    .map(|field| FieldBuilder {
                        name: field.name.clone(),
                        column: ColumnBuilder::new(&field.column_type),
                        fault: None,
                        data_type: field.column_type.arrow(),
                    })
                    .collect(),
                rows: 0,
            },
        };
        ColumnBuilder { values, nulls: Vec::new() }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Boolean(values) => values.len(),
            Values::Int(values) | Values::Date(values) => values.len(),
            Values::BigInt(values) | Values::Timestamp(values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Decimal { values, .. } => values.len(),
            Values::Text(values) | Values::Bytes(values) => values.offsets.len() - 1,
            Values::Uuid(bytes) => bytes.len() / 16,
            Values::Array { ends, .. } => ends.len(),
            Values::Struct { rows, .. } => *rows,
        }
    }

    /// Whether the last row is null.
    pub(super) fn ends_in_null(&self) -> bool {
        self.nulls.last().is_some_and(|row| *row as usize + 1 == self.len())
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        let row = u32::try_from(self.len()).expect("a raw batch has fewer than 2^32 values");
        self.nulls.push(row);
        match &mut self.values {
            Values::Boolean(values) => values.push(false),
            Values::Int(values) | Values::Date(values) => values.push(0),
            Values::BigInt(values) | Values::Timestamp(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Text(values) | Values::Bytes(values) => values.close(),
            Values::Uuid(bytes) => bytes.extend_from_slice(&[0; 16]),
            Values::Array { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            Values::Struct { fields, rows } => {
                fields.iter_mut().for_each(|field| field.column.push_null());
                *rows += 1;
            }
        }
    }

    /// Cuts the column back to its first `rows` rows, and forgets a row that was begun.
    pub(super) fn truncate(&mut self, rows: usize) {
        while self.nulls.last().is_some_and(|row| *row as usize >= rows) {
            self.nulls.pop();
        }
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int(values) | Values::Date(values) => values.truncate(rows),
            Values::BigInt(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Text(values) | Values::Bytes(values) => values.truncate(rows),
            Values::Uuid(bytes) => bytes.truncate(rows * 16),
            Values::Array { ends, items, .. } => {
                ends.truncate(rows);
                items.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Struct { fields, rows: present } => {
                fields.iter_mut().for_each(|field| field.column.truncate(rows));
                *present = rows.min(*present);
            }
        }
    }

    /// Takes the rows as an Arrow array and begins anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.finish_nulls();
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(take_vec(values)), nulls)),
            Values::Int(values) => Arc::new(Int32Array::new(take_vec(values).into(), nulls)),
            Values::BigInt(values) => Arc::new(Int64Array::new(take_vec(values).into(), nulls)),
            Values::Float(values) => Arc::new(Float32Array::new(take_vec(values).into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(take_vec(values).into(), nulls)),
            Values::Decimal { values, precision, scale } => Arc::new(
                Decimal128Array::new(take_vec(values).into(), nulls)
                    .with_precision_and_scale(*precision, *scale)
                    .expect("a declared DECIMAL has a precision and scale that Arrow takes"),
            ),
            Values::Text(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(
                    StringArray::try_new(offsets, bytes, nulls)
                        .expect("text is cut from checked UTF-8 at character boundaries"),
                )
            }
            Values::Bytes(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::Date(values) => Arc::new(Date32Array::new(take_vec(values).into(), nulls)),
            Values::Timestamp(values) => {
                Arc::new(TimestampMicrosecondArray::new(take_vec(values).into(), nulls).with_timezone(TIMESTAMP_ZONE))
            }
            Values::Uuid(bytes) => Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(take_vec(bytes)), nulls)),
            Values::Array { ends, items, item_type } => {
                let mut offsets = Vec::with_capacity(ends.len() + 1);
                offsets.push(0);
                offsets.append(ends);
                let field = Arc::new(Field::new("element", item_type.clone(), true));
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::new(field, offsets, items.finish(), nulls))
            }
            Values::Struct { fields, rows } => {
                let length = std::mem::take(rows);
                let types: Fields =
                    fields.iter().map(|field| Field::new(&field.name, field.data_type.clone(), true)).collect();
                let columns = fields.iter_mut().map(|field| field.column.finish()).collect();
                Arc::new(
                    StructArray::try_new_with_length(types, columns, nulls, length)
                        .expect("the fields of a struct have its length and their declared types"),
                )
            }
        }
    }

    fn finish_nulls(&mut self) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = vec![true; self.len()];
        for row in self.nulls.drain(..) {
            valid[row as usize] = false;
        }
        Some(NullBuffer::from(valid))
    }
}
