//! A job over Nexmark's events in one process, through the program's own drivers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kappa::archive::{self, ArchiveOptions, archive};
use kappa::backfill::{self, BackfillOptions};
use kappa::checkpoints::CheckpointStore;
use kappa::event::EventTime;
use kappa::iceberg::Catalog;
use kappa::job::Plan;
use kappa::live::{self, RunOptions, Until};
use kappa::recompute::Requested;
use kappa::sources::MemoryLogs;
use kappa::store::Stores;
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::generator::Events;
use crate::model::{HOUR, Value};
use crate::replay::{Random, catalog, table_rows};

/// Runs of a live job, one behind the other; the log has grown between them.
const RUNS: usize = 3;
/// 2015-07-14 to 2015-07-17: all days of the events, and the next.
const DAYS: std::ops::Range<i64> = 16_630..16_633;

/// What a face left behind.
pub(super) struct Observed {
    pub(super) rows: Vec<Vec<Value>>,
    /// Rows of the late table.
    pub(super) late: usize,
}

/// Runs a job live to the drained end of its logs, stopped and started again on the way with another number of workers.
pub(super) async fn live(plan: &Arc<Plan>, events: &Events, random: &mut Random) -> Observed {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = catalog(folder.path()).await;
    let checkpoints = CheckpointStore::open("state", folder.path(), &plan.name).expect("folder takes files");
    let batch_rows = random.pick(&[100, 1_000, 8_192]);
    let logs = MemoryLogs::new(events.logs(), batch_rows);
    for part in 1..=RUNS {
        let setup = live::Setup {
            catalog: catalog.clone(),
            checkpoints: checkpoints.clone(),
            logs: Arc::new(logs.up_to(part, RUNS)),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            workers: random.pick(&[1, 2, 3]),
            checkpoint_interval: Duration::from_millis(100),
            until: Until::End,
            drain: part == RUNS,
            epoch_rows: batch_rows,
            ..RunOptions::default()
        };
        let ended = live::run(plan, &setup, &options, &CancellationToken::new(), &|_| {}).await;
        ended.unwrap_or_else(|error| panic!("run {part} of {}: {error}", plan.name));
    }
    observe(&catalog, plan).await
}

/// Archives the streams and computes all days from history, without any live run.
pub(super) async fn backfill(plan: &Arc<Plan>, events: &Events, random: &mut Random) -> Observed {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = catalog(folder.path()).await;
    archive_all(plan, events, &catalog, folder.path()).await;
    let range = EventTime(DAYS.start * 24 * HOUR)..EventTime(DAYS.end * 24 * HOUR);
    let requested = Requested { range, widen: false, drain: true };
    let options =
        BackfillOptions { requested, include_late: false, workers: random.pick(&[1, 2, 3]), memory_max: None };
    let ended = backfill::run(plan, &catalog, &options, &|_, _| {}).await;
    ended.unwrap_or_else(|error| panic!("backfill of {}: {error}", plan.name));
    observe(&catalog, plan).await
}

async fn archive_all(plan: &Plan, events: &Events, catalog: &Catalog, folder: &Path) {
    let logs = MemoryLogs::new(events.logs(), 1_000);
    for part in 1..=RUNS {
        let setup = archive::Setup {
            catalog: catalog.clone(),
            state: Stores::default().place("state", folder).expect("a folder"),
            logs: Arc::new(logs.up_to(part, RUNS)),
            clock: Arc::new(SystemClock::start()),
        };
        let options = ArchiveOptions {
            checkpoint_interval: Duration::from_millis(100),
            until_end: true,
            ..ArchiveOptions::default()
        };
        for stream in &plan.streams {
            let ended = archive(stream, &setup, &options, &CancellationToken::new(), &|_| {}).await;
            ended.unwrap_or_else(|error| panic!("archive of {}: {error}", stream.name));
        }
    }
}

async fn observe(catalog: &Catalog, plan: &Plan) -> Observed {
    let insert = &plan.inserts[0];
    let columns: Vec<String> = insert.columns.iter().map(|column| column.name.clone()).collect();
    let mut late = 0;
    for of_stream in &insert.late {
        late += table_rows(catalog, &of_stream.table, &["_offset".to_owned()]).await.len();
    }
    Observed { rows: table_rows(catalog, &insert.table, &columns).await, late }
}
