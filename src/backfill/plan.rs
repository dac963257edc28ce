//! What a backfill would do. Writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::{BackfillError, BackfillOptions};
use crate::checkpoints::TableProperties;
use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, IcebergError, ScanFilter, Table, plan_files};
use crate::job::{Insert, Plan};
use crate::ownership::{NotWritable, Owned, Writer, writable};
use crate::recompute::{RangeError, RecomputeOptions, Scope, check, recompute, scope};

/// What a backfill would do.
#[derive(Debug)]
pub struct BackfillPlan {
    /// What it covers.
    pub scope: Scope,
    /// For each INSERT.
    pub inserts: Vec<InsertPlan>,
    /// Records that were read to know the expected rows.
    pub records: u64,
    /// What stands against it; empty: `run` would do it.
    pub conflicts: Vec<Conflict>,
}

/// What a backfill would do to one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertPlan {
    /// The result table.
    pub table: TableName,
    /// Whether it is there.
    pub exists: bool,
    /// Its partitions in the range, by their start.
    pub partitions: BTreeMap<EventTime, PartitionPlan>,
    /// Late records of the range: they stay out with `--late exact`, and are counted with `--late include`.
    pub late: u64,
}

/// One partition of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionPlan {
    /// Rows now.
    pub current: u64,
    /// Rows afterwards.
    pub expected: u64,
}

/// What stands against a backfill.
#[derive(Debug)]
pub enum Conflict {
    /// Somebody else owns the range, or may still change it.
    NotWritable(NotWritable),
    /// History isn't complete.
    Incomplete(RangeError),
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Conflict::NotWritable(error) => error.fmt(f),
            Conflict::Incomplete(error) => error.fmt(f),
        }
    }
}

/// Works out what a backfill would do, by computing all of it but writing nothing. `watch` is told the records read.
pub async fn plan(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &BackfillOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<BackfillPlan, BackfillError> {
    let scope = scope(job, catalog, &options.requested).await?;
    let mut conflicts = Vec::new();
    if let Err(incomplete) = check(job, &scope, &options.requested) {
        conflicts.push(Conflict::Incomplete(incomplete));
    }
    let mut inserts = Vec::with_capacity(job.inserts.len());
    for insert in &job.inserts {
        let table = catalog.load(&insert.table).await?;
        if let Some(table) = &table
            && let Err(error) = may_write(job, insert, table, &scope)?
        {
            conflicts.push(Conflict::NotWritable(error));
        }
        inserts.push(InsertPlan {
            table: insert.table.clone(),
            exists: table.is_some(),
            partitions: match &table {
                Some(table) => current_rows(insert, table, &scope).await?,
                None => BTreeMap::new(),
            },
            late: 0,
        });
    }
    let mut take = async |output: crate::engine::EpochOutput| -> Result<(), IcebergError> {
        for ((planned, insert), output) in inserts.iter_mut().zip(&job.inserts).zip(output.inserts) {
            planned.late += output.late.iter().map(|rows| rows.num_rows() as u64).sum::<u64>();
            for batch in &output.results {
                add_expected(insert, batch, &mut planned.partitions);
            }
        }
        Ok(())
    };
    let exact = RecomputeOptions { workers: options.workers, include_late: false };
    let counted = recompute(job, &scope, exact, &mut take, &|records| watch(&scope, records)).await?;
    if options.include_late {
        for planned in &mut inserts {
            for partition in planned.partitions.values_mut() {
                partition.expected = 0;
            }
        }
        let mut take = async |output: crate::engine::EpochOutput| -> Result<(), IcebergError> {
            for ((planned, insert), output) in inserts.iter_mut().zip(&job.inserts).zip(output.inserts) {
                for batch in &output.results {
                    add_expected(insert, batch, &mut planned.partitions);
                }
            }
            Ok(())
        };
        let all = RecomputeOptions { include_late: true, ..exact };
        recompute(job, &scope, all, &mut take, &|records| watch(&scope, records)).await?;
    }
    Ok(BackfillPlan { scope, inserts, records: counted.records, conflicts })
}

/// Whether the range of a result may be written: by ownership and by the sealed edge of a live job.
pub(super) fn may_write(
    job: &Plan,
    insert: &Insert,
    table: &Table,
    scope: &Scope,
) -> Result<Result<(), NotWritable>, BackfillError> {
    let properties = TableProperties::parse(&job.name, table.properties())
        .map_err(|source| BackfillError::Property { table: insert.table.clone(), source })?;
    // The owner may have been set by a backfill; only a live run sets these two.
    let owned =
        Owned { owner: properties.owner, sealed_edge: properties.sealed_edge, first_window: properties.first_window };
    let writer = Writer::Backfill { job: &job.name, from: scope.range.start, to: scope.range.end };
    Ok(writable(&insert.table, &owned, &writer).map(|_| ()))
}

async fn current_rows(
    insert: &Insert,
    table: &Table,
    scope: &Scope,
) -> Result<BTreeMap<EventTime, PartitionPlan>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let filter = ScanFilter { time: Some((column.clone(), scope.range.clone())), ..ScanFilter::default() };
    let mut partitions: BTreeMap<EventTime, PartitionPlan> = BTreeMap::new();
    for file in plan_files(table, None, &filter).await? {
        // A file lies in one partition, so its least value tells which.
        let start = insert.range_transform().floor(file.lower.unwrap_or(scope.range.start));
        partitions.entry(start).or_default().current += file.records;
    }
    Ok(partitions)
}

fn add_expected(insert: &Insert, rows: &RecordBatch, partitions: &mut BTreeMap<EventTime, PartitionPlan>) {
    let column = &insert.partitions[insert.range.partition].column;
    let times = rows.column_by_name(column).expect("the range column is in the result");
    for &time in times.as_primitive::<TimestampMicrosecondType>().values() {
        partitions.entry(insert.range_transform().floor(EventTime(time))).or_default().expected += 1;
    }
}
