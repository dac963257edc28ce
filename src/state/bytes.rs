//! The bytes of a state file: an Arrow IPC file of frozen panes of one INSERT, from one worker.
//!
//! Columns: `_pane` (start of the window, microseconds UTC), then the group keys `k0…`, then the partial states of the
//! aggregates `a0_0…`, then columns of windows that the data makes; a row whose `_number` is below zero says that the one with
//! that number is gone. DuckDB and pandas read it as it is. Rows of one pane stand together, panes in order of time.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use thiserror::Error;

use crate::event::{EventTime, TIMESTAMP_ZONE, timestamp_type};

/// The column that holds the start of a row's window.
pub const PANE: &str = "_pane";

/// Why state can't be written or read.
#[derive(Debug, Error)]
pub enum StateError {
    /// Not an Arrow file, or cut off.
    #[error("the state can't be read as an Arrow file")]
    Arrow(#[from] ArrowError),
    /// Not a Parquet file, or cut off.
    #[error("the state can't be read as a Parquet file")]
    Parquet(#[from] ParquetError),
    /// An Arrow file or a Parquet file, but not one of panes.
    #[error("the state has no `{PANE}` column first; it was not written by a checkpoint or savepoint")]
    Layout,
    /// Read back, it is something else.
    #[error("the state can't be kept as Parquet to the bit")]
    NotFaithful,
}

/// The bytes of frozen panes, which all have the same schema.
pub fn encode(panes: &[(EventTime, RecordBatch)]) -> Result<Vec<u8>, StateError> {
    let Some((_, first)) = panes.first() else { return Ok(Vec::new()) };
    let schema = with_pane(&first.schema());
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &schema)?;
    for (start, rows) in panes {
        let starts = TimestampMicrosecondArray::from_value(start.0, rows.num_rows()).with_timezone(TIMESTAMP_ZONE);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        columns.extend(rows.columns().iter().cloned());
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// The panes in the bytes of a state file, those of the same window put together, in order of time.
pub fn decode(bytes: &[u8]) -> Result<Vec<(EventTime, RecordBatch)>, StateError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = FileReader::try_new(std::io::Cursor::new(bytes), None)?;
    let schema = reader.schema();
    if schema.fields().first().is_none_or(|field| field.name() != PANE || *field.data_type() != timestamp_type()) {
        return Err(StateError::Layout);
    }
    let rest: Vec<usize> = (1..schema.fields().len()).collect();
    let mut panes: Vec<(EventTime, Vec<RecordBatch>)> = Vec::new();
    for batch in reader {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let start = EventTime(batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0));
        let rows = batch.project(&rest)?;
        match panes.last_mut() {
            Some((last, batches)) if *last == start => batches.push(rows),
            _ => panes.push((start, vec![rows])),
        }
    }
    let put_together = |(start, batches): (EventTime, Vec<RecordBatch>)| {
        let schema = batches[0].schema();
        Ok((start, concat_batches(&schema, &batches)?))
    };
    panes.into_iter().map(put_together).collect()
}

fn with_pane(state: &SchemaRef) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new(PANE, timestamp_type(), false))];
    fields.extend(state.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    fn rows(keys: &[&str], states: &[i64]) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("k0", DataType::Utf8, true), Field::new("a0_0", DataType::Int64, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(keys.to_vec())), Arc::new(Int64Array::from(states.to_vec()))];
        RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit the schema")
    }

    #[test]
    fn what_was_written_is_read_back() {
        let panes = vec![(EventTime(-60), rows(&["a", "b"], &[1, 2])), (EventTime(0), rows(&["a"], &[3]))];
        let bytes = encode(&panes).expect("memory takes it");
        assert_eq!(decode(&bytes).expect("it was just written"), panes);
    }

    #[test]
    fn bytes_that_are_cut_off_are_an_error() {
        let bytes = encode(&[(EventTime(0), rows(&["a"], &[1]))]).expect("memory takes it");
        assert!(decode(&bytes[..bytes.len() / 2]).is_err());
    }
}
