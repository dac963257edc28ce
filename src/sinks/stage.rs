//! Staging: rows become data files that no table knows yet.
//! Invariant: rows of a file are sorted as the table says, so equal windows and keys stand together.

use std::collections::BTreeMap;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use crate::event::EventTime;
use crate::iceberg::{FileWriter, IcebergError, Sorted, StagedFile, Table, WriteOptions};
use crate::job::Insert;

/// Writes `batches`, which share one schema, into files of `table`, sorted by its sort columns.
pub async fn stage(table: &Table, sort: &[String], batches: Vec<RecordBatch>) -> Result<Vec<StagedFile>, IcebergError> {
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let cant = "sort rows";
    let sorted = Sorted::new(&batches, sort).map_err(IcebergError::rows(table.name(), cant))?;
    let mut writer = FileWriter::new(table, WriteOptions::default())?;
    for rows in sorted.pieces() {
        writer.write(&rows.map_err(IcebergError::rows(table.name(), cant))?).await?;
    }
    writer.finish().await
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
