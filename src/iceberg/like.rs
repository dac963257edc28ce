//! Rows named by the values of some of their columns.
//! Invariant: a row is meant if it has, in all of these columns, the values of one of the rows that were named; NULL is a
//! value like any other, and bits decide.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{RowConverter, SortField};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{IcebergError, Table};
use crate::event::EventTime;

/// Rows of some columns of a table, as they stand in a manifest: an Arrow stream in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LikeRows(String);

impl LikeRows {
    /// Names rows by these values of these columns.
    pub fn new(rows: &RecordBatch) -> LikeRows {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).expect("memory takes every schema");
        writer.write(rows).expect("memory takes every batch");
        writer.finish().expect("memory can be finished");
        drop(writer);
        LikeRows(STANDARD.encode(bytes))
    }

    fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let bytes = STANDARD.decode(&self.0).map_err(|error| ArrowError::ParseError(error.to_string()))?;
        let mut reader = StreamReader::try_new(std::io::Cursor::new(bytes), None)?;
        reader.next().unwrap_or_else(|| Err(ArrowError::IpcError("the stream holds no rows".into())))
    }
}

/// Rows that are looked for.
pub(super) struct Wanted {
    /// Columns by which rows are known, with the table's types.
    columns: Vec<(String, DataType)>,
    converter: RowConverter,
    rows: HashSet<Box<[u8]>>,
    /// Their times, rising, of the column by which files are found.
    times: Option<Vec<i64>>,
}

impl Wanted {
    /// `time`: the column by which files are found; it counts if it is among those of the rows.
    pub(super) fn new(table: &Table, like: &LikeRows, time: Option<&str>) -> Result<Wanted, IcebergError> {
        let failed = |source| IcebergError::rows(table.name(), "tell the rows that go")(source);
        let named = like.rows().map_err(failed)?;
        let schema = table.arrow_schema()?;
        let mut columns = Vec::with_capacity(named.num_columns());
        for field in named.schema().fields() {
            let known = schema.field_with_name(field.name()).map_err(failed)?;
            columns.push((known.name().clone(), known.data_type().clone()));
        }
        let fields = columns.iter().map(|(_, data_type)| SortField::new(data_type.clone())).collect();
        let converter = RowConverter::new(fields).map_err(failed)?;
        let times = time.and_then(|time| named.column_by_name(time)).map(|times| {
            let mut times = times.as_primitive::<TimestampMicrosecondType>().values().to_vec();
            times.sort_unstable();
            times
        });
        let values = in_types(&columns, &named).map_err(failed)?;
        let rows = converter.convert_columns(&values).map_err(failed)?;
        let rows = rows.iter().map(|row| Box::from(row.as_ref())).collect();
        Ok(Wanted { columns, converter, rows, times })
    }

    /// Whether a file with times between these bounds may hold one.
    pub(super) fn may_be_in(&self, lower: Option<EventTime>, upper: Option<EventTime>) -> bool {
        let (Some(times), Some(lower), Some(upper)) = (&self.times, lower, upper) else { return true };
        let first = times.partition_point(|&time| time < lower.0);
        times.get(first).is_some_and(|&time| time <= upper.0)
    }

    /// Those of `rows`, which have all columns of the table, that are meant.
    pub(super) fn marks(&self, table: &Table, rows: &RecordBatch) -> Result<BooleanBuffer, IcebergError> {
        let failed = |source| IcebergError::rows(table.name(), "tell the rows that go")(source);
        let values = in_types(&self.columns, rows).map_err(failed)?;
        let found = self.converter.convert_columns(&values).map_err(failed)?;
        Ok(BooleanBuffer::collect_bool(rows.num_rows(), |row| self.rows.contains(found.row(row).as_ref())))
    }
}

fn in_types(columns: &[(String, DataType)], rows: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
    let value = |(name, data_type): &(String, DataType)| {
        let values = rows.column_by_name(name).expect("it was looked for by this name");
        if values.data_type() == data_type { Ok(Arc::clone(values)) } else { cast(values, data_type) }
    };
    columns.iter().map(value).collect()
}
