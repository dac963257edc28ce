//! `diff`: recomputes a range from history and compares it with what is published, row by row, bit by bit.
//!
//! It must find nothing on a job whose live run and history are whole; what it finds, it explains as far as tables tell:
//! records that came behind the watermark, or another version of the job.
//! Invariant: writes nothing.

mod compare;
mod published;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use thiserror::Error;

use crate::checkpoints::{PropertyError, RepublishRange, TableProperties};
use crate::engine::EpochOutput;
use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, IcebergError, Table};
use crate::job::Plan;
use crate::memory::{Held, Kept, Pressure};
use crate::recompute::{
    MemoryExhausted, RangeError, RecomputeError, RecomputeOptions, Scope, behind_watermark, check, check_memory,
    covering, recompute,
};

pub use compare::{Compared, Differing, Kind, RowOrder, compare};

/// What a comparison holds, for the message of one that has too little memory.
const RECOMPUTED: &str = "recomputed rows that wait to be compared";
/// And when it compares.
const BOTH: &str = "recomputed and published rows";

/// How a range is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// The windows that are compared, by the time partition column of every result. It may cut partitions.
    pub range: Range<EventTime>,
    /// The end of history counts as the end of the log: windows that are open there are whole.
    pub drain: bool,
    /// Engine workers, and files read at the same time; at least 1.
    pub workers: usize,
    /// Differing rows to keep; all are counted.
    pub limit: usize,
    /// Bytes that the process may hold; `None`: no limit.
    pub memory_max: Option<u64>,
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
    /// Another version of the job that may have published some of the range.
    pub other_version: Option<String>,
    /// The range that a backfill published last, if it reaches into this one and counted late records.
    pub late_included: Option<(String, String)>,
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
    /// There is too little memory to compare the rows.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
    /// What is published has other columns.
    #[error("{table} doesn't fit the job: {difference}; compare with the job file that published it")]
    Layout {
        /// The result table.
        table: TableName,
        /// What differs, column by column.
        difference: String,
    },
    /// Old rows stand where new ones are still to come: they would all be differences.
    #[error(
        "{} of {table} is being published again, as job {job} went back below what it had published: windows there are still \
         as they were before; let `kappa run` work it off, or {}",
        range_text(.again), outside(.range, .again)
    )]
    PublishedAgain {
        /// The result table.
        table: TableName,
        /// The job.
        job: String,
        /// The range that was to be compared.
        range: Range<EventTime>,
        /// What is left to be published again.
        again: Range<EventTime>,
    },
    /// A table's property can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: PropertyError,
    },
    /// There is nothing to compare with.
    #[error("{table} doesn't exist, so nothing is published; run the job, or backfill the range")]
    NothingPublished {
        /// The result table.
        table: TableName,
    },
}

fn range_text(range: &Range<EventTime>) -> String {
    format!("[{}, {})", range.start, range.end)
}

/// What can be compared instead of a range of which a part is published again.
fn outside(range: &Range<EventTime>, again: &Range<EventTime>) -> String {
    match (range.start < again.start, again.end < range.end) {
        (true, _) => format!("compare the range before it, {}", range_text(&(range.start..again.start))),
        (false, true) => format!("compare the range behind it, {}", range_text(&(again.end..range.end))),
        (false, false) => format!("compare a range that ends at or before {}", again.start),
    }
}

/// Compares a range. `watch` is told the records read so far.
pub async fn diff(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &DiffOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<DiffReport, DiffError> {
    let scope = covering(job, catalog, options.range.clone()).await?;
    check(job, &scope, options.drain)?;
    let mut tables = Vec::with_capacity(job.inserts.len());
    for (insert, result) in job.inserts.iter().zip(&scope.results) {
        // Without a window: as it was when it was asked which records are in it.
        let table = match &result.base {
            Some(base) if insert.window.is_without_end() => Some(base.clone()),
            _ => catalog.load(&insert.table).await?,
        };
        let table = table.ok_or_else(|| DiffError::NothingPublished { table: insert.table.clone() })?;
        if let Some(difference) = table.difference(&crate::sinks::layout::result(insert)) {
            return Err(DiffError::Layout { table: insert.table.clone(), difference });
        }
        check_published(job, &table, &scope.range)?;
        tables.push(table);
    }
    let mut recomputed: Vec<Vec<RecordBatch>> = vec![Vec::new(); job.inserts.len()];
    let mut bytes = 0;
    let mut take = async |output: EpochOutput, _: Pressure| -> Result<Kept, IcebergError> {
        for (rows, output) in recomputed.iter_mut().zip(output.inserts) {
            bytes += bytes_of(&output.results);
            rows.extend(output.results);
        }
        Ok(Kept { what: RECOMPUTED, bytes })
    };
    let &DiffOptions { workers, memory_max, drain, .. } = options;
    let exact = RecomputeOptions { workers, include_late: false, drain, memory_max };
    let counted =
        recompute(job, &scope, exact, &mut take, &|records| watch(&scope, records)).await.map_err(Box::new)?;
    let mut inserts = Vec::with_capacity(job.inserts.len());
    for ((insert, table), recomputed) in job.inserts.iter().zip(&tables).zip(recomputed) {
        let rows = published::rows(insert, table, &scope.range).await?;
        let kept = || Kept { what: BOTH, bytes: bytes_of(&rows) + bytes_of(&recomputed) };
        check_memory(memory_max, || Held { kept: kept(), ..Held::default() })?;
        let compared = compare(&RowOrder::of_result(insert), &rows, &recomputed, options.limit)
            .map_err(IcebergError::rows(&insert.table, "compare rows"))?;
        inserts.push(InsertDiff {
            table: insert.table.clone(),
            published: rows_of(&rows),
            recomputed: rows_of(&recomputed),
            counts: compared.counts,
            rows: compared.rows,
            behind_watermark: behind_watermark(job, insert, catalog, &scope.range).await?,
            other_version: published::other_version(job, table, &scope.range),
            late_included: published::late_included(table, &scope.range),
        });
    }
    Ok(DiffReport { records: counted.records, inserts })
}

/// Refuses to compare windows that are still to be replaced.
fn check_published(job: &Plan, table: &Table, range: &Range<EventTime>) -> Result<(), DiffError> {
    let properties = TableProperties::parse(&job.name, table.properties())
        .map_err(|source| DiffError::Property { table: table.name().clone(), source })?;
    match properties.republish {
        Some(RepublishRange { from, to }) if from < range.end && range.start < to => Err(DiffError::PublishedAgain {
            table: table.name().clone(),
            job: job.name.clone(),
            range: range.clone(),
            again: from..to,
        }),
        _ => Ok(()),
    }
}

fn bytes_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum()
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}
