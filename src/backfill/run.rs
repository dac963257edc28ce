//! Doing a backfill.

use std::sync::Arc;

use uuid::Uuid;

use super::plan::{late_tables, obstacle};
use super::staging::Staging;
use super::{BackfillError, BackfillOptions, late};
use crate::engine::EpochOutput;
use crate::event::TableName;
use crate::iceberg::{Catalog, IcebergError, InUse, ScanFilter, Table, plan_files};
use crate::job::{Insert, Plan};
use crate::kill_point::KillPoint;
use crate::memory::{Kept, Pressure};
use crate::recompute::{RecomputeOptions, ResultState, Scope, check, recompute, scope};
use crate::sinks::layout;

/// What a backfill has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillReport {
    /// What was replaced: the range on partition edges.
    pub range: std::ops::Range<crate::event::EventTime>,
    /// Records read from history.
    pub records: u64,
    /// For each INSERT.
    pub inserts: Vec<InsertReport>,
}

/// What a backfill has done to one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertReport {
    /// The result table.
    pub table: TableName,
    /// Rows that are in the range's partitions now.
    pub rows: u64,
    /// Rows that were removed from them.
    pub removed: u64,
    /// Where the late records are.
    pub late_tables: Vec<TableName>,
    /// Late records of the range in it now.
    pub late: u64,
    /// The snapshot that did it.
    pub snapshot_id: i64,
}

/// Recomputes the range and replaces it. `watch` is told the records read so far.
pub async fn run(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &BackfillOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<BackfillReport, BackfillError> {
    let scope = scope(job, catalog, &options.requested).await?;
    check(job, &scope, options.requested.drain)?;
    let mut stagings = Vec::with_capacity(job.inserts.len());
    for (insert, result) in job.inserts.iter().zip(&scope.results) {
        stagings.push(open(job, catalog, insert, (&scope, result)).await?);
    }
    let histories = scope.histories.iter().map(|history| &history.table);
    let in_use = mark(histories.chain(stagings.iter().map(Staging::table))).await;
    let done = replace(job, catalog, options, (&scope, stagings), watch).await;
    for table in in_use {
        table.release().await;
    }
    done
}

/// Marks tables as in use, for whoever looks after them meanwhile. One that can't be is used all the same.
async fn mark(tables: impl Iterator<Item = &Table>) -> Vec<InUse> {
    let mut marked = Vec::new();
    for table in tables {
        match table.mark_in_use().await {
            Ok(mark) => marked.push(mark),
            Err(error) => {
                let table = table.name();
                tracing::warn!(%table, %error, "can't be marked as in use: don't let `kappa maintain` change it meanwhile");
            }
        }
    }
    marked
}

/// Recomputes the scope, and replaces what is published of it.
async fn replace(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &BackfillOptions,
    (scope, mut stagings): (&Scope, Vec<Staging>),
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<BackfillReport, BackfillError> {
    let mut take = async |output: EpochOutput, pressure: Pressure| -> Result<Kept, IcebergError> {
        for (staging, output) in stagings.iter_mut().zip(output.inserts) {
            staging.add_late(output.late);
            staging.add(output.results, pressure).await?;
        }
        let bytes = stagings.iter().map(Staging::bytes).sum();
        Ok(Kept { what: "rows that wait to be written", bytes })
    };
    let &BackfillOptions { workers, include_late, memory_max, .. } = options;
    let recomputing = RecomputeOptions { workers, include_late, drain: options.requested.drain, memory_max };
    let counted = recompute(job, scope, recomputing, &mut take, &|records| watch(scope, records)).await?;
    for staging in &mut stagings {
        staging.flush().await?;
    }
    let mut done = Vec::new();
    let mut report = BackfillReport {
        range: scope.range.clone(),
        records: counted.records,
        inserts: Vec::with_capacity(stagings.len()),
    };
    let publishing = Publishing { job, catalog, scope, include_late: options.include_late, id: Uuid::now_v7() };
    for (staging, insert) in stagings.into_iter().zip(&job.inserts) {
        match publishing.publish(staging, insert, &mut done).await {
            Ok(of_insert) => report.inserts.push(of_insert),
            Err(error) if done.is_empty() => return Err(error),
            Err(source) => return Err(BackfillError::Partly { done, source: Box::new(source) }),
        }
    }
    Ok(report)
}

/// Loads a result table, or makes it; refuses when the range may not be written.
async fn open(
    job: &Plan,
    catalog: &Catalog,
    insert: &Insert,
    (scope, result): (&Scope, &ResultState),
) -> Result<Staging, BackfillError> {
    let late = late_tables(insert, catalog).await?;
    let found = match &result.base {
        // What comes after the state that tells which records are the live job's is the live job's.
        Some(base) if insert.window.is_without_end() => Some(base.clone()),
        _ => catalog.load(&insert.table).await?,
    };
    if let Some(obstacle) = obstacle(job, insert, found.as_ref(), &late, scope)? {
        return Err(obstacle.into());
    }
    let spec = layout::result(insert);
    let table = match found {
        Some(table) => table,
        None => catalog.create(&insert.table, &spec).await?,
    };
    let base = match result.places.others {
        Some(_) => Some(base_files(insert, &table, scope).await?),
        None => None,
    };
    Ok(Staging::new(table, spec, base))
}

/// The files of a result without a window that hold the range.
async fn base_files(insert: &Insert, table: &Table, scope: &Scope) -> Result<Vec<String>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let filter = ScanFilter { time: Some((column, scope.range.clone())), ..ScanFilter::default() };
    Ok(plan_files(table, None, &filter).await?.into_iter().map(|file| file.path).collect())
}

/// The last part of a backfill: what is staged becomes visible.
pub(super) struct Publishing<'a> {
    pub(super) job: &'a Plan,
    pub(super) catalog: &'a Catalog,
    pub(super) scope: &'a Scope,
    pub(super) include_late: bool,
    /// Names the backfill in snapshots.
    pub(super) id: Uuid,
}

impl Publishing<'_> {
    /// Results first, then late rows. Notes what is published in `done`.
    async fn publish(
        &self,
        mut staging: Staging,
        insert: &Insert,
        done: &mut Vec<String>,
    ) -> Result<InsertReport, BackfillError> {
        let (rows, late) = (staging.rows(), staging.take_late());
        let committed = staging.commit(self, insert).await?;
        done.push(format!("{} is replaced", insert.table));
        KillPoint::InRangeOverwrite.reach();
        let mut late_rows = 0;
        for table in &insert.late {
            let rows = late.iter().filter(|late| late.stream == table.stream).map(|late| late.rows.clone()).collect();
            let owned = late::owned(self.job, (insert, table.stream), self.scope, self.include_late);
            let rows = late::only_owned(&self.job.streams[table.stream], &owned, rows);
            late_rows += late::replace(self.job, self.catalog, (insert, table), &owned, rows).await?;
        }
        Ok(InsertReport {
            table: insert.table.clone(),
            rows,
            removed: committed.removed_records,
            late_tables: insert.late.iter().map(|late| late.table.clone()).collect(),
            late: late_rows,
            snapshot_id: committed.snapshot_id,
        })
    }
}
