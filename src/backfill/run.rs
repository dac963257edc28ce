//! Doing a backfill.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use uuid::Uuid;

use super::plan::may_write;
use super::{BackfillError, BackfillOptions, late};
use crate::checkpoints::OWNER;
use crate::engine::EpochOutput;
use crate::event::TableName;
use crate::iceberg::{
    Catalog, Change, Expect, IcebergError, Operation, PartitionRange, Remove, StagedFile, Table, TableSpec,
};
use crate::job::{Insert, Plan};
use crate::recompute::{RecomputeOptions, Scope, check, recompute, scope};
use crate::sinks::{layout, stage};

/// Rows that wait to be written: enough for files of a good size, few enough for the memory.
const STAGE_ROWS: usize = 1_000_000;

/// Property by which a table shows that a backfill has landed.
const MARKER: &str = "kappa.backfill";

/// What a backfill has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillReport {
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
    /// Late records of the range.
    pub late: u64,
    /// The snapshot that did it.
    pub snapshot_id: i64,
}

/// One result on its way.
struct Staging {
    insert: usize,
    table: Table,
    spec: TableSpec,
    /// The newest snapshot when the backfill began: what came into the range since is a conflict.
    base: Option<i64>,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    files: Vec<StagedFile>,
    rows: u64,
    late: Vec<RecordBatch>,
}

/// Recomputes the range and replaces it. `watch` is told the records read so far.
pub async fn run(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &BackfillOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<BackfillReport, BackfillError> {
    let scope = scope(job, catalog, &options.requested).await?;
    check(job, &scope, &options.requested)?;
    let mut stagings = Vec::with_capacity(job.inserts.len());
    for (index, insert) in job.inserts.iter().enumerate() {
        stagings.push(open(job, catalog, index, insert, &scope).await?);
    }
    let mut take = async |output: EpochOutput| -> Result<(), IcebergError> {
        for (staging, output) in stagings.iter_mut().zip(output.inserts) {
            staging.late.extend(output.late);
            staging.add(output.results).await?;
        }
        Ok(())
    };
    let recomputing = RecomputeOptions { workers: options.workers, include_late: options.include_late };
    let counted = recompute(job, &scope, recomputing, &mut take, &|records| watch(&scope, records)).await?;
    let id = Uuid::now_v7();
    let mut report = BackfillReport { records: counted.records, inserts: Vec::with_capacity(stagings.len()) };
    for mut staging in stagings {
        staging.flush().await?;
        let insert = &job.inserts[staging.insert];
        let late = std::mem::take(&mut staging.late);
        let mut done = staging.publish(job, catalog, insert, &scope, id).await?;
        done.late = late::replace(job, catalog, insert, &scope, late).await?;
        report.inserts.push(done);
    }
    Ok(report)
}

/// Loads a result table, or makes it; refuses when the range may not be written.
async fn open(
    job: &Plan,
    catalog: &Catalog,
    index: usize,
    insert: &Insert,
    scope: &Scope,
) -> Result<Staging, BackfillError> {
    let spec = layout::result(insert);
    let table = match catalog.load(&insert.table).await? {
        Some(table) => table,
        None => catalog.create(&insert.table, &spec).await?,
    };
    if let Some(difference) = table.difference(&spec) {
        return Err(BackfillError::Layout { table: insert.table.clone(), difference });
    }
    may_write(job, insert, &table, scope)??;
    Ok(Staging {
        insert: index,
        base: table.current_snapshot_id(),
        table,
        spec,
        waiting: Vec::new(),
        waiting_rows: 0,
        files: Vec::new(),
        rows: 0,
        late: Vec::new(),
    })
}

impl Staging {
    async fn add(&mut self, results: Vec<RecordBatch>) -> Result<(), IcebergError> {
        self.waiting_rows += results.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.waiting.extend(results);
        if self.waiting_rows >= STAGE_ROWS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), IcebergError> {
        self.rows += self.waiting_rows as u64;
        self.waiting_rows = 0;
        let waiting = std::mem::take(&mut self.waiting);
        self.files.extend(stage(&self.table, &self.spec.sort, waiting).await?);
        Ok(())
    }

    /// One overwrite: every partition of the range out, the new files in.
    async fn publish(
        self,
        job: &Plan,
        catalog: &Catalog,
        insert: &Insert,
        scope: &Scope,
        id: Uuid,
    ) -> Result<InsertReport, BackfillError> {
        let field = insert.partitions[insert.range.partition].clone();
        let range = PartitionRange { field, from: scope.range.start, to: scope.range.end };
        let change = Change {
            operation: Operation::Overwrite,
            add: self.files,
            remove: Remove::Partitions(vec![range]),
            properties: BTreeMap::from([(OWNER.to_owned(), job.name.clone()), (MARKER.to_owned(), id.to_string())]),
            summary: BTreeMap::from([
                ("kappa.backfill.from".to_owned(), scope.range.start.to_string()),
                ("kappa.backfill.to".to_owned(), scope.range.end.to_string()),
                ("kappa.fingerprint".to_owned(), job.fingerprint.clone()),
                (MARKER.to_owned(), id.to_string()),
            ]),
            marker: Some((MARKER.to_owned(), id.to_string())),
            expect: Expect::Snapshot(self.base),
            ..Change::nothing(&self.table)
        };
        let committed = catalog.commit(&change).await;
        let committed = committed.map_err(|source| BackfillError::Commit { table: insert.table.clone(), source })?;
        Ok(InsertReport {
            table: insert.table.clone(),
            rows: self.rows,
            removed: committed.removed_records,
            late: 0,
            snapshot_id: committed.snapshot_id,
        })
    }
}
