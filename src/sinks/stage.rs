//! Staging: rows become data files that no table knows yet.
//! Invariant: rows of a file are sorted as the table says, so equal windows and keys stand together.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::iceberg::{FileWriter, IcebergError, StagedFile, Table, WriteOptions};

/// Writes `batches`, which share one schema, into files of `table`, sorted by its sort columns.
pub async fn stage(table: &Table, sort: &[String], batches: Vec<RecordBatch>) -> Result<Vec<StagedFile>, IcebergError> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let rows = concat_batches(&first.schema(), &batches).and_then(|rows| sorted(&rows, sort));
    let rows = rows.map_err(IcebergError::rows(table.name(), "sort rows"))?;
    drop(batches);
    let mut writer = FileWriter::new(table, WriteOptions::default())?;
    writer.write(&rows).await?;
    writer.finish().await
}

/// The rows sorted ascending by the named columns, nulls first.
pub fn sorted(rows: &RecordBatch, by: &[String]) -> Result<RecordBatch, ArrowError> {
    let columns = by.iter().map(|name| {
        let missing = || ArrowError::SchemaError(format!("no column `{name}` to sort by"));
        rows.column_by_name(name).cloned().ok_or_else(missing)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    if order.windows(2).all(|pair| keys.row(pair[0] as usize) <= keys.row(pair[1] as usize)) {
        return Ok(rows.clone());
    }
    order.sort_unstable_by(|&left, &right| keys.row(left as usize).cmp(&keys.row(right as usize)));
    take_record_batch(rows, &UInt32Array::from(order))
}

