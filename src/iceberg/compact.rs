//! Rewrites the small files of partitions into few large sorted ones.
//! Invariant: the change that comes out replaces exactly the files that were read, by the same rows.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::stream::TryStreamExt;

use super::order::Sorted;
use super::overwrite::{Change, Operation, Remove};
use super::{
    Catalog, FileWriter, IcebergError, PartitionRange, ScanFile, ScanFilter, StagedFile, Table, WriteOptions,
    plan_files, read_file,
};
use crate::event::TableName;

/// What to rewrite, and how.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Files below this size are small.
    pub small_bytes: u64,
    /// A partition with fewer small files than this is left alone.
    pub small_files_min: usize,
    /// Columns to sort by, outermost first.
    pub sort: Vec<String>,
    /// Rows are sorted in memory in groups of about this size. A partition with more than that is written as one sorted run
    /// a group, in the order of the files' least times; where those don't overlap, all of it is in order.
    pub memory_bytes: usize,
    /// How files are written. Their compression can be stronger than that of files that are soon rewritten.
    pub write: WriteOptions,
}

impl Default for CompactOptions {
    fn default() -> CompactOptions {
        CompactOptions {
            small_bytes: 32 << 20,
            small_files_min: 2,
            sort: Vec::new(),
            memory_bytes: 256 << 20,
            write: WriteOptions { compression_level: 3, ..WriteOptions::default() },
        }
    }
}

/// Rewrites the small files of every partition in a range and returns the `replace` to commit, or `None` if there is
/// nothing worth it. Commits nothing: if an input is gone when the change is committed, that is a conflict, and the new
/// files are left to be collected.
pub async fn compact(
    catalog: &Catalog,
    name: &TableName,
    range: &PartitionRange,
    options: &CompactOptions,
) -> Result<Option<Change>, IcebergError> {
    let Some(table) = catalog.load(name).await? else {
        return Err(IcebergError::Unsupported { table: name.clone(), detail: "doesn't exist".to_owned() });
    };
    let unsupported = |detail: String| IcebergError::Unsupported { table: name.clone(), detail };
    range.check().map_err(|detail| unsupported(format!("can't be compacted: {detail}")))?;
    let column = range.field.column.clone();
    let filter = ScanFilter { time: Some((column, range.from..range.to)), equals: Vec::new() };
    let mut partitions: BTreeMap<Vec<(String, Option<String>)>, Vec<ScanFile>> = BTreeMap::new();
    for file in plan_files(&table, None, &filter).await? {
        if file.bytes < options.small_bytes {
            partitions.entry(file.partition.clone()).or_default().push(file);
        }
    }
    partitions.retain(|_, files| files.len() >= options.small_files_min.max(1));
    if partitions.is_empty() {
        return Ok(None);
    }
    let groups: Vec<Vec<ScanFile>> = partitions.into_values().collect();
    rewrite_files(&table, &groups, options).await.map(Some)
}

/// Rewrites each group of a table's files, and returns the `replace` to commit, as [`compact`] does.
pub async fn rewrite_files(
    table: &Table,
    groups: &[Vec<ScanFile>],
    options: &CompactOptions,
) -> Result<Change, IcebergError> {
    let mut change = Change { operation: Operation::Replace, ..Change::nothing(table) };
    for files in groups {
        change.add.extend(rewrite(table, files, options).await?);
    }
    let replaced = groups.iter().flatten().map(|file| file.path.clone());
    change.remove = Remove::Files(replaced.collect());
    Ok(change)
}

/// Reads files, sorts their rows in groups, and writes them anew.
async fn rewrite(table: &Table, files: &[ScanFile], options: &CompactOptions) -> Result<Vec<StagedFile>, IcebergError> {
    let columns: Vec<String> = table.arrow_schema()?.fields().iter().map(|field| field.name().clone()).collect();
    // One writer for all groups: what comes out is large, however small a group is, and isn't rewritten again.
    let mut writer = FileWriter::new(table, options.write.clone())?;
    let (mut group, mut bytes) = (Vec::new(), 0);
    // Files come by their least time, so that a group holds neighbours.
    for file in files {
        let mut rows = read_file(table, file, &columns, None).await?;
        while let Some(batch) = rows.try_next().await? {
            bytes += batch.get_array_memory_size();
            group.push(batch);
            if bytes >= options.memory_bytes {
                write_sorted(table, std::mem::take(&mut group), options, &mut writer).await?;
                bytes = 0;
            }
        }
    }
    write_sorted(table, group, options, &mut writer).await?;
    writer.finish().await
}

async fn write_sorted(
    table: &Table,
    group: Vec<RecordBatch>,
    options: &CompactOptions,
    writer: &mut FileWriter,
) -> Result<(), IcebergError> {
    let cant = "sort rows";
    let sorted = Sorted::new(&group, &options.sort).map_err(IcebergError::rows(table.name(), cant))?;
    for rows in sorted.pieces() {
        writer.write(&rows.map_err(IcebergError::rows(table.name(), cant))?).await?;
    }
    Ok(())
}
