//! Rows that come as columns already (Parquet): found by name, and brought to the declared types where nothing is lost.
//! Invariant: a type that may lose something is refused when the file is opened; a value that doesn't fit rejects its row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StructArray, TimestampMicrosecondArray,
    make_array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Field, Fields, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;

use super::decoder::{DecoderError, Layout, LogColumns};
use super::json::RecordFault;
use super::raw::SideInputs;
use super::timestamp;
use crate::event::{
    ColumnType, Decoded, Format, LiveFace, Origin, Reject, RejectReason, ResumeOffset, Stream, TIMESTAMP_ZONE,
    TimestampUnit,
};

/// Decodes the rows of one file; its rows have no log beside them.
#[derive(Debug)]
pub struct TableDecoder {
    columns: Vec<TableColumn>,
    layout: Layout,
    unit: Option<TimestampUnit>,
}

#[derive(Debug)]
struct TableColumn {
    name: String,
    path: Vec<String>,
    column_type: ColumnType,
    required: bool,
}

/// A column brought to its declared type, and the rows whose values don't fit it (null in the array), rising.
struct Converted {
    array: ArrayRef,
    bad: Vec<usize>,
}

impl TableDecoder {
    /// A decoder of files laid out as `schema`.
    ///
    /// # Errors
    /// If a NOT NULL column isn't in it, or a column's type can't become the declared one without loss.
    pub fn new(stream: &Stream, schema: &Schema) -> Result<TableDecoder, DecoderError> {
        let (LiveFace::Kafka { format, .. } | LiveFace::File { format, .. }) = &stream.live;
        let Format { timestamp_unit, .. } = format;
        let layout = Layout::new(stream, &SideInputs::of(stream))?;
        let mut columns = Vec::new();
        for column in &stream.columns {
            let Origin::Path(path) = &column.origin else { continue };
            match type_at(schema.fields(), path) {
                None if column.required => {
                    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    return Err(DecoderError::MissingColumn {
                        column: column.name.clone(),
                        wanted: path.join("."),
                        header: names.join(", "),
                    });
                }
                Some(found) if !fits(found, &column.column_type) => {
                    return Err(DecoderError::FileType {
                        column: column.name.clone(),
                        found: found.to_string(),
                        declared: column.column_type.to_string(),
                    });
                }
                _ => {}
            }
            columns.push(TableColumn {
                name: column.name.clone(),
                path: path.clone(),
                column_type: column.column_type.clone(),
                required: column.required,
            });
        }
        Ok(TableDecoder { columns, layout, unit: *timestamp_unit })
    }

    /// Decodes `rows` of partition 0, the first of which has offset `first`. Cannot fail: what is wrong with a row makes
    /// it a reject, with the row in JSON as its raw bytes.
    pub fn decode(&self, rows: &RecordBatch, first: i64) -> Decoded {
        let count = rows.num_rows();
        let mut faults: Vec<Option<RecordFault>> = vec![None; count];
        let missing = self.layout.missing_in_files();
        if let Some(name) = missing {
            faults.fill(Some(null_fault(name)));
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            arrays.push(column.read(rows, self.unit, &mut faults));
        }
        for (column, array) in self.columns.iter().zip(&arrays).filter(|(column, _)| column.required) {
            for (row, fault) in faults.iter_mut().enumerate() {
                if fault.is_none() && array.is_null(row) {
                    *fault = Some(null_fault(&column.name));
                }
            }
        }
        let kept: Vec<usize> = (0..count).filter(|row| faults[*row].is_none()).collect();
        let mask = BooleanArray::from(faults.iter().map(Option::is_none).collect::<Vec<_>>());
        let keep = |array: &ArrayRef| {
            arrow::compute::filter(array, &mask).expect("the mask has a bit for each row of the column")
        };
        let paths: Vec<ArrayRef> = arrays.iter().map(keep).collect();
        let offsets: Vec<i64> = kept.iter().map(|row| first + *row as i64).collect();
        let timestamps = TimestampMicrosecondArray::new_null(kept.len()).with_timezone(TIMESTAMP_ZONE);
        let log = LogColumns { offsets: Int64Array::from(offsets), timestamps };
        let sides = self.layout.no_sides(kept.len());
        let (records, computed) = self.layout.assemble(0, &paths, &log, &sides);
        computed.into_iter().for_each(|(row, fault)| faults[kept[row]] = Some(fault));
        let rejects = faults.into_iter().enumerate().filter_map(|(row, fault)| Some(reject(rows, first, row, fault?)));
        let rejects = rejects.collect();
        Decoded { partition: 0, next_offset: ResumeOffset(first + count as i64), records, rejects, bytes: 0 }
    }
}

fn null_fault(name: &str) -> RecordFault {
    RecordFault { reason: RejectReason::Null, detail: format!("{name} is null, but declared NOT NULL") }
}

fn reject(rows: &RecordBatch, first: i64, row: usize, fault: RecordFault) -> Reject {
    let offset = first + row as i64;
    let raw = row_as_json(rows, row);
    Reject { partition: 0, offset, timestamp: None, raw, sides: Vec::new(), reason: fault.reason, detail: fault.detail }
}

/// The row in JSON; empty if JSON can't hold one of its types.
fn row_as_json(rows: &RecordBatch, row: usize) -> Bytes {
    let mut mask = vec![false; rows.num_rows()];
    mask[row] = true;
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    let one = filter_record_batch(rows, &mask.into()).expect("the mask has a bit for each row");
    if writer.write(&one).and_then(|()| writer.finish()).is_err() {
        return Bytes::new();
    }
    let mut line = writer.into_inner();
    line.pop_if(|byte| *byte == b'\n');
    Bytes::from(line)
}

impl TableColumn {
    /// The column of `rows` in its declared type; notes the rows that don't fit, unless something else is wrong with them.
    fn read(&self, rows: &RecordBatch, unit: Option<TimestampUnit>, faults: &mut [Option<RecordFault>]) -> ArrayRef {
        let Some(found) = array_at(rows, &self.path) else {
            return new_null_array(&self.column_type.arrow(), rows.num_rows());
        };
        let converted = convert(&found, &self.column_type, unit);
        for row in converted.bad {
            let value = array_value_to_string(&found, row).unwrap_or_default();
            let detail = format!("{} {}: {value} doesn't fit", self.name, self.column_type);
            faults[row].get_or_insert(RecordFault { reason: RejectReason::BadValue, detail });
        }
        converted.array
    }
}

fn type_at<'a>(fields: &'a Fields, path: &[String]) -> Option<&'a DataType> {
    let (name, rest) = path.split_first()?;
    let (_, field) = fields.find(name)?;
    match (rest.is_empty(), field.data_type()) {
        (true, found) => Some(found),
        (false, DataType::Struct(inside)) => type_at(inside, rest),
        (false, _) => None,
    }
}

/// The array at a path; what is inside a null struct is null.
fn array_at(rows: &RecordBatch, path: &[String]) -> Option<ArrayRef> {
    let (name, rest) = path.split_first()?;
    let mut array = Arc::clone(rows.column_by_name(name)?);
    for name in rest {
        let outer = array.as_struct_opt()?.clone();
        let inner = outer.column_by_name(name)?;
        let nulls = NullBuffer::union(outer.nulls(), inner.nulls());
        let data = inner.to_data().into_builder().nulls(nulls).build();
        array = make_array(data.expect("the nulls of a struct have the length of its fields"));
    }
    Some(array)
}

/// Whether every value of `found` becomes one of `wanted` without loss, or is told to be out of range.
fn fits(found: &DataType, wanted: &ColumnType) -> bool {
    use DataType as D;
    match (wanted, found) {
        (_, D::Dictionary(_, values)) => fits(values, wanted),
        (_, D::Null) => true,
        (ColumnType::Boolean, found) => *found == D::Boolean,
        (ColumnType::Int | ColumnType::BigInt, found) => found.is_integer(),
        (ColumnType::Float, found) => {
            matches!(found, D::Float16 | D::Float32 | D::Int8 | D::Int16 | D::UInt8 | D::UInt16)
        }
        (ColumnType::Double, found) => {
            let small = matches!(found, D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32);
            small || found.is_floating()
        }
        (ColumnType::Decimal { scale, .. }, found) => match found {
            D::Decimal32(_, other) | D::Decimal64(_, other) | D::Decimal128(_, other) | D::Decimal256(_, other) => {
                other <= scale
            }
            found => found.is_integer(),
        },
        (ColumnType::Text, found) => matches!(found, D::Utf8 | D::LargeUtf8 | D::Utf8View),
        (ColumnType::Bytes, found) => {
            matches!(found, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_))
        }
        (ColumnType::Date, found) => *found == D::Date32,
        (ColumnType::Timestamp, found) => matches!(found, D::Timestamp(..)) || found.is_integer(),
        (ColumnType::Uuid, found) => *found == D::FixedSizeBinary(16),
        (ColumnType::Array(item), found) => match found {
            D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) => fits(field.data_type(), item),
            _ => false,
        },
        (ColumnType::Struct(wanted), D::Struct(fields)) => wanted
            .iter()
            .all(|field| fields.find(&field.name).is_none_or(|(_, found)| fits(found.data_type(), &field.column_type))),
        (ColumnType::Struct(_), _) => false,
    }
}

/// Brings `array`, whose type fits, to `wanted`.
fn convert(array: &ArrayRef, wanted: &ColumnType, unit: Option<TimestampUnit>) -> Converted {
    if let DataType::Dictionary(_, values) = array.data_type() {
        return convert(&cast(array, values), wanted, unit);
    }
    match (wanted, array.data_type()) {
        (_, DataType::Null) => Converted { array: new_null_array(&wanted.arrow(), array.len()), bad: Vec::new() },
        (ColumnType::Timestamp, _) => convert_instants(array, unit),
        (ColumnType::Array(item), _) => convert_items(array, item, unit),
        (ColumnType::Struct(fields), _) => {
            let outer = array.as_struct();
            let mut bad = Vec::new();
            let mut columns = Vec::new();
            for field in fields {
                let Some(inner) = outer.column_by_name(&field.name) else {
                    columns.push(new_null_array(&field.column_type.arrow(), outer.len()));
                    continue;
                };
                let converted = convert(inner, &field.column_type, unit);
                bad.extend(converted.bad.into_iter().filter(|row| outer.is_valid(*row)));
                columns.push(converted.array);
            }
            bad.sort_unstable();
            bad.dedup();
            let types: Fields =
                fields.iter().map(|field| Field::new(&field.name, field.column_type.arrow(), true)).collect();
            let array = StructArray::try_new_with_length(types, columns, outer.nulls().cloned(), outer.len())
                .expect("the fields of a struct have its length and their declared types");
            Converted { array: Arc::new(array), bad }
        }
        (ColumnType::Date, _) => {
            let (first, last) = (timestamp::MICROS_MIN / DAY_MICROS, timestamp::MICROS_MAX / DAY_MICROS);
            let days = array.as_primitive::<Date32Type>();
            let good = days.unary_opt::<_, Date32Type>(|day| (first..=last).contains(&i64::from(day)).then_some(day));
            compare(array, Arc::new(good))
        }
        _ => compare(array, cast(array, &wanted.arrow())),
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

/// `converted`, whose bad rows are those that are null there but not in `array`.
fn compare(array: &ArrayRef, converted: ArrayRef) -> Converted {
    let bad = if converted.null_count() == array.null_count() {
        Vec::new()
    } else {
        (0..array.len()).filter(|row| array.is_valid(*row) && converted.is_null(*row)).collect()
    };
    Converted { array: converted, bad }
}

/// Casts; values that don't fit become null.
fn cast(array: &ArrayRef, wanted: &DataType) -> ArrayRef {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).expect("types were checked when the file was opened")
}

fn convert_instants(array: &ArrayRef, unit: Option<TimestampUnit>) -> Converted {
    let range = timestamp::MICROS_MIN..=timestamp::MICROS_MAX;
    let scaled = |value: i64, factor: i64| value.checked_mul(factor).filter(|micros| range.contains(micros));
    let instants: TimestampMicrosecondArray = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().unary_opt(|value| scaled(value, 1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().unary_opt(|value| scaled(value, 1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().unary_opt(|value| scaled(value, 1))
        }
        // Cut toward the past.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().unary_opt(|value| scaled(value.div_euclid(1_000), 1))
        }
        _ => {
            let integers = cast(array, &DataType::Int64);
            integers.as_primitive::<Int64Type>().unary_opt(|value| timestamp::from_integer(value, unit).ok())
        }
    };
    compare(array, Arc::new(instants.with_timezone(TIMESTAMP_ZONE)))
}

fn convert_items(array: &ArrayRef, item: &ColumnType, unit: Option<TimestampUnit>) -> Converted {
    let field = match array.data_type() {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => Arc::clone(field),
        other => unreachable!("{other} was refused when the file was opened"),
    };
    let lists = cast(array, &DataType::List(field));
    let lists = lists.as_list::<i32>();
    let items = convert(lists.values(), item, unit);
    let offsets = lists.offsets();
    let is_bad = |row: &usize| {
        let (start, end) = (offsets[*row] as usize, offsets[*row + 1] as usize);
        let next = items.bad.partition_point(|bad| *bad < start);
        lists.is_valid(*row) && items.bad.get(next).is_some_and(|bad| *bad < end)
    };
    let bad = (0..lists.len()).filter(is_bad).collect();
    let field = Arc::new(Field::new("element", item.arrow(), true));
    let array = ListArray::new(field, offsets.clone(), items.array, lists.nulls().cloned());
    Converted { array: Arc::new(array), bad }
}
