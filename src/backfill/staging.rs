//! One result of a backfill on its way: rows, files, one commit.
//! Invariant: the commit lands on exactly the state of the table that was looked at for who may write the range, so a live
//! run that begins meanwhile is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::record_batch::RecordBatch;

use super::BackfillError;
use super::plan::may_write;
use super::run::Publishing;
use crate::checkpoints::{GAPS, Gaps, TableProperties};
use crate::engine::Late;
use crate::iceberg::{
    Catalog, Change, CommitError, Committed, Expect, IcebergError, Operation, PartitionRange, Remove, StagedFile,
    Table, TableSpec,
};
use crate::job::Insert;
use crate::kill_point::KillPoint;
use crate::memory::Pressure;
use crate::sinks::stage;

/// Rows that wait to be written: enough for files of a good size.
const STAGE_ROWS: usize = 1_000_000;

/// Bytes of Arrow data that wait to be written: sorting them takes about as much again.
const STAGE_BYTES: usize = 64 << 20;

/// By how much fewer bytes wait when memory is short: smaller files are better than none.
const STAGE_SMALLER: usize = 8;

/// Property by which a table shows that a backfill has landed.
const MARKER: &str = "kappa.backfill";

/// Tries of one commit against others who commit to the table.
const ATTEMPTS_MAX: u32 = 100;

/// Tries on one state of the table, before what stands against it counts as lasting.
const ATTEMPTS_ON_ONE_STATE_MAX: u32 = 3;

/// Pause after the first lost try; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(1_280);

/// Files and rows of one result that no table knows yet.
pub(super) struct Staging {
    /// As it was when the backfill began: what came into the range since is a conflict.
    table: Table,
    spec: TableSpec,
    /// Without a window, beside a live job: the files that are replaced. What was added to the range since stays.
    base: Option<Vec<String>>,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    files: Vec<StagedFile>,
    rows: u64,
    late: Vec<Late>,
}

impl Staging {
    pub(super) fn new(table: Table, spec: TableSpec, base: Option<Vec<String>>) -> Staging {
        Staging {
            table,
            spec,
            base,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            files: Vec::new(),
            rows: 0,
            late: Vec::new(),
        }
    }

    /// The table, as it was when the backfill began.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Rows taken so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows + self.waiting_rows as u64
    }

    pub(super) fn add_late(&mut self, late: Vec<Late>) {
        self.late.extend(late);
    }

    pub(super) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        let late = self.late.iter().map(|late| late.rows.get_array_memory_size()).sum::<usize>();
        (self.waiting_bytes + late) as u64
    }

    /// Takes rows; writes those that wait if there are enough of them, or memory is short.
    pub(super) async fn add(&mut self, results: Vec<RecordBatch>, pressure: Pressure) -> Result<(), IcebergError> {
        self.waiting_rows += results.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.waiting_bytes += results.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        self.waiting.extend(results);
        let bytes_max = match pressure {
            Pressure::None => STAGE_BYTES,
            Pressure::Near => STAGE_BYTES / STAGE_SMALLER,
            Pressure::Over => 0,
        };
        let full = self.waiting_rows >= STAGE_ROWS || self.waiting_bytes >= bytes_max;
        if full { self.flush().await } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self) -> Result<(), IcebergError> {
        self.rows += self.waiting_rows as u64;
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        let waiting = std::mem::take(&mut self.waiting);
        self.files.extend(stage(&self.table, &self.spec.sort, waiting).await?);
        Ok(())
    }

    /// One overwrite: every partition of the range out, the new files in.
    pub(super) async fn commit(self, publishing: &Publishing<'_>, insert: &Insert) -> Result<Committed, BackfillError> {
        let name = insert.table.clone();
        let (mut pause, mut last) = (PAUSE_FIRST, None);
        // The state that the last try was lost on, and how often.
        let mut lost_on = (None, 0);
        for _ in 0..ATTEMPTS_MAX {
            let table = load(publishing.catalog, &name).await?;
            if let Some(landed) = landed(&table, &publishing.id.to_string()) {
                return Ok(landed);
            }
            let state = table.current_snapshot_id();
            if lost_on == (state, ATTEMPTS_ON_ONE_STATE_MAX) {
                break;
            }
            may_write(publishing.job, insert, &table, publishing.scope)??;
            let change = self.change(publishing, insert, &table)?;
            KillPoint::InRangeOverwrite.reach();
            match publishing.catalog.commit_on(&table, &change).await {
                Ok(committed) => return Ok(committed),
                Err(error @ CommitError::Conflict { .. }) => {
                    lost_on = if lost_on.0 == state { (state, lost_on.1 + 1) } else { (state, 1) };
                    last = Some(error);
                }
                // The next look tells whether it has landed.
                Err(error @ CommitError::Unknown { .. }) => last = Some(error),
                Err(source) => return Err(BackfillError::Commit { table: name, source: Box::new(source) }),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let source = last.expect("at least one try was made");
        Err(match source {
            CommitError::Conflict { .. } => BackfillError::Changed { table: name, source: Box::new(source) },
            source => BackfillError::Commit { table: name, source: Box::new(source) },
        })
    }

    fn change(&self, publishing: &Publishing<'_>, insert: &Insert, now: &Table) -> Result<Change, BackfillError> {
        let (job, range) = (publishing.job, &publishing.scope.range);
        let known = TableProperties::parse(&job.name, now.properties())
            .map_err(|source| BackfillError::Property { table: insert.table.clone(), source })?;
        if self.base.is_none() && insert.window.is_without_end() && known.generation.is_some() {
            // Which of its rows are here too, nobody can tell.
            let detail = "a live job has claimed it".to_owned();
            let source = CommitError::Conflict { table: insert.table.clone(), detail };
            return Err(BackfillError::Changed { table: insert.table.clone(), source: Box::new(source) });
        }
        // At the end of history, windows are open that `--drain` takes for whole: a live run can't go on behind them.
        let is_complete = insert.complete_at(range.end) <= publishing.scope.watermark_of(insert);
        let gaps = known.gaps.map(|gaps| gaps.without(range));
        let properties = TableProperties {
            owner: Some(job.name.clone()),
            backfilled_to: known.backfilled_to.max(is_complete.then_some(range.end)),
            gaps: gaps.clone().filter(|gaps| !gaps.is_empty()),
            ..TableProperties::default()
        };
        let mut properties = properties.format(&job.name);
        let id = publishing.id.to_string();
        let field = insert.partitions[insert.range.partition].clone();
        let late = if publishing.include_late { "include" } else { "exact" };
        properties.insert(MARKER.to_owned(), id.clone());
        Ok(Change {
            operation: Operation::Overwrite,
            add: self.files.clone(),
            remove: match &self.base {
                None => Remove::Partitions(vec![PartitionRange { field, from: range.start, to: range.end }]),
                Some(base) if base.is_empty() => Remove::None,
                Some(base) => Remove::Files(base.clone()),
            },
            properties,
            remove_properties: gaps.filter(Gaps::is_empty).map(|_| GAPS.to_owned()).into_iter().collect(),
            summary: BTreeMap::from([
                ("kappa.backfill.from".to_owned(), range.start.to_string()),
                ("kappa.backfill.to".to_owned(), range.end.to_string()),
                ("kappa.backfill.late".to_owned(), late.to_owned()),
                ("kappa.fingerprint".to_owned(), job.fingerprint.clone()),
                (MARKER.to_owned(), id),
            ]),
            expect: Expect::Snapshot(self.table.current_snapshot_id()),
            ..Change::nothing(&self.table)
        })
    }
}

async fn load(catalog: &Catalog, name: &crate::event::TableName) -> Result<Table, BackfillError> {
    catalog.load(name).await?.ok_or_else(|| {
        let source = CommitError::TableGone { table: name.clone(), detail: "was dropped meanwhile".to_owned() };
        BackfillError::Commit { table: name.clone(), source: Box::new(source) }
    })
}

/// The snapshot of the backfill `id`, if the table has it.
fn landed(table: &Table, id: &str) -> Option<Committed> {
    let summary =
        |snapshot: i64| table.summary(snapshot).filter(|summary| summary.get(MARKER).is_some_and(|of| of == id));
    let (snapshot_id, summary) =
        table.ancestors().into_iter().find_map(|snapshot| Some((snapshot, summary(snapshot)?)))?;
    let count = |name: &str| summary.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(Committed {
        snapshot_id,
        sequence_number: 0,
        removed_files: count("deleted-data-files"),
        removed_records: count("deleted-records"),
        attempts: 0,
    })
}
