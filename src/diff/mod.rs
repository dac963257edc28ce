//! `diff`: recomputes a range from history and compares it with what is published, row by row, bit by bit.
//!
//! It must find nothing on a job whose live run and history are whole; what it finds, it explains as far as tables tell:
//! records that came behind the watermark, or another version of the job.
//! Invariant: writes nothing.

mod compare;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use thiserror::Error;

use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, IcebergError, ScanFilter, Table, plan_files, read_file};
use crate::job::{Insert, Plan};
use crate::recompute::{RangeError, RecomputeError, RecomputeOptions, Requested, Scope, check, recompute, scope};

pub use compare::{Differing, Kind};

/// How a range is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// What is recomputed.
    pub requested: Requested,
    /// Engine workers, and files read at the same time; at least 1.
    pub workers: usize,
    /// Differing rows to keep; all are counted.
    pub limit: usize,
}

/// What a comparison has found.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffReport {
    /// Records read from history.
    pub records: u64,
    /// For each INSERT.
    pub inserts: Vec<InsertDiff>,
}

impl DiffReport {
    /// Whether every published row is what the recomputation gives, and none is missing.
    pub fn is_equal(&self) -> bool {
        self.inserts.iter().all(|insert| insert.counts.values().all(|&count| count == 0))
    }
}

/// What was found in one result.
#[derive(Clone, Debug, PartialEq)]
pub struct InsertDiff {
    /// The result table.
    pub table: TableName,
    /// Rows that are published in the range.
    pub published: u64,
    /// Rows that the recomputation gives.
    pub recomputed: u64,
    /// How many rows differ, by kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The first of them.
    pub rows: Vec<Differing>,
    /// Records of the range that live left out as they came behind the watermark: the only way in which live and
    /// backfill can differ by themselves.
    pub behind_watermark: u64,
    /// The version of the job that published last, if it is another one.
    pub other_version: Option<String>,
}

/// Why a range can't be compared.
#[derive(Debug, Error)]
pub enum DiffError {
    /// The range can't be recomputed.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The recomputation stopped.
    #[error(transparent)]
    Recompute(#[from] Box<RecomputeError<IcebergError>>),
    /// A table can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// There is nothing to compare with.
    #[error("{table} doesn't exist, so nothing is published; run the job, or backfill the range")]
    NothingPublished {
        /// The result table.
        table: TableName,
    },
}

/// Compares a range. `watch` is told the records read so far.
pub async fn diff(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &DiffOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<DiffReport, DiffError> {
    let scope = scope(job, catalog, &options.requested).await?;
    check(job, &scope, &options.requested)?;
    let mut recomputed: Vec<Vec<RecordBatch>> = vec![Vec::new(); job.inserts.len()];
    let mut take = async |output: crate::engine::EpochOutput| -> Result<(), IcebergError> {
        for (rows, output) in recomputed.iter_mut().zip(output.inserts) {
            rows.extend(output.results);
        }
        Ok(())
    };
    let exact = RecomputeOptions { workers: options.workers, include_late: false };
    let counted =
        recompute(job, &scope, exact, &mut take, &|records| watch(&scope, records)).await.map_err(Box::new)?;
    let mut inserts = Vec::with_capacity(job.inserts.len());
    for (insert, recomputed) in job.inserts.iter().zip(recomputed) {
        let Some(table) = catalog.load(&insert.table).await? else {
            return Err(DiffError::NothingPublished { table: insert.table.clone() });
        };
        let published = published(insert, &table, &scope).await?;
        let compared = compare::compare(insert, &published, &recomputed, options.limit)
            .map_err(IcebergError::rows(&insert.table, "compare rows"))?;
        inserts.push(InsertDiff {
            table: insert.table.clone(),
            published: rows_of(&published),
            recomputed: rows_of(&recomputed),
            counts: compared.counts,
            rows: compared.rows,
            behind_watermark: behind_watermark(job, insert, catalog, &scope).await?,
            other_version: other_version(job, &table),
        });
    }
    Ok(DiffReport { records: counted.records, inserts })
}

/// The published rows of the range.
async fn published(insert: &Insert, table: &Table, scope: &Scope) -> Result<Vec<RecordBatch>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let time = (column, scope.range.clone());
    let filter = ScanFilter { time: Some(time.clone()), ..ScanFilter::default() };
    let columns: Vec<String> = insert.columns.iter().map(|column| column.name.clone()).collect();
    let mut batches = Vec::new();
    for file in plan_files(table, None, &filter).await? {
        let mut rows = read_file(table, &file, &columns, Some(&time)).await?;
        while let Some(batch) = rows.next().await {
            batches.push(batch?);
        }
    }
    Ok(batches)
}

/// Records of the range in the late table that live found behind the watermark.
async fn behind_watermark(job: &Plan, insert: &Insert, catalog: &Catalog, scope: &Scope) -> Result<u64, IcebergError> {
    let Some(table) = catalog.load(&insert.late).await? else { return Ok(0) };
    let stream = &job.streams[insert.stream];
    let windows = insert.windows_in(&scope.range);
    let event_time = stream.columns[stream.event_time].name.clone();
    let result = insert.table.to_string();
    let filter = ScanFilter {
        time: Some((event_time, insert.times_of(windows))),
        equals: vec![("result".to_owned(), result.clone())],
    };
    let columns = ["result", "reason", "first_late"].map(str::to_owned);
    let mut count = 0;
    for file in plan_files(&table, None, &filter).await? {
        let mut rows = read_file(&table, &file, &columns, None).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let (results, reasons) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            let first = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            count += (0..batch.num_rows())
                .filter(|&row| {
                    results.value(row) == result
                        && reasons.value(row) == "behind_watermark"
                        && first.is_valid(row)
                        && windows.contains(first.value(row))
                })
                .count() as u64;
        }
    }
    Ok(count)
}

/// The version in the newest snapshot that says one, if it isn't the job's.
fn other_version(job: &Plan, table: &Table) -> Option<String> {
    let published = table.ancestors().into_iter().find_map(|id| table.summary(id)?.get("kappa.fingerprint").cloned());
    published.filter(|fingerprint| *fingerprint != job.fingerprint)
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// A time range in words, for reports.
pub fn range_text(range: &std::ops::Range<EventTime>) -> String {
    format!("[{}, {})", range.start, range.end)
}
