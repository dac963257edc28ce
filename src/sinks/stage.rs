//! Staging: rows become data files that no table knows yet.
//! Invariant: rows of a file are sorted as the table says, so equal windows and keys stand together.

use std::collections::BTreeMap;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::event::EventTime;
use crate::iceberg::{FileWriter, IcebergError, StagedFile, Table, WriteOptions};
use crate::job::Insert;

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

/// The rows of a result, cut by the partitions of its range column: the start of each partition, and its rows.
pub fn split_by_partition(
    insert: &Insert,
    batches: &[RecordBatch],
) -> Result<BTreeMap<EventTime, RecordBatch>, IcebergError> {
    let transform = insert.range_transform();
    let column = &insert.partitions[insert.range.partition].column;
    let mut rows_of: BTreeMap<EventTime, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let times = batch.column_by_name(column).expect("the range column is in the result");
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let mut indices: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
        for (row, &time) in (0..).zip(times.values()) {
            indices.entry(transform.floor(EventTime(time))).or_default().push(row);
        }
        for (edge, rows) in indices {
            let part = take_record_batch(batch, &UInt32Array::from(rows));
            rows_of.entry(edge).or_default().push(part.map_err(IcebergError::rows(&insert.table, "cut rows"))?);
        }
    }
    let put_together = |(edge, parts): (EventTime, Vec<RecordBatch>)| {
        let rows = concat_batches(&parts[0].schema(), &parts);
        Ok((edge, rows.map_err(IcebergError::rows(&insert.table, "put rows together"))?))
    };
    rows_of.into_iter().map(put_together).collect()
}
