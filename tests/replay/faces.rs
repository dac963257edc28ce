//! Random cases in one process, through the program's own drivers: many ways to read one log, all of which must leave what the
//! model says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kappa::archive::{self, ArchiveOptions, archive};
use kappa::backfill::{self, BackfillOptions};
use kappa::checkpoints::CheckpointStore;
use kappa::event::{EventTime, TableName};
use kappa::iceberg::{Catalog, CatalogConfig, ScanFilter, plan_files, read_file};
use kappa::job::{Plan, compile};
use kappa::live::{RunOptions, Setup, Until, run};
use kappa::recompute::Requested;
use kappa::store::Stores;
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::memory::MemoryLogs;
use super::random::Random;
use super::{Case, Names, Observed, seeds};
use crate::model::{HOUR, Value};
use crate::support::columns::rows;

/// Cases of the suite.
const CASES: u64 = 200;

/// One way to read a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    workers: usize,
    batch_rows: usize,
    /// How often the run is stopped on its way and started again, by other numbers of workers.
    restarts: usize,
}

#[test]
fn every_way_of_running_live_gives_the_rows_of_the_model() {
    let runtime = runtime();
    for seed in seeds(0, CASES) {
        let case = Case::generate(seed);
        let mut random = Random::new(seed ^ 0x5eed);
        let batch_rows = random.pick(&[1, 7, 100, 10_000]);
        let whole = Reading { workers: 1, batch_rows, restarts: 0 };
        for reading in [whole, in_pieces(&mut random)] {
            let observed = runtime.block_on(run_live(&case, reading, &mut random));
            case.check(&format!("live, {reading:?}"), &observed);
        }
    }
}

#[test]
fn a_backfill_of_what_was_archived_gives_the_rows_of_the_model() {
    let runtime = runtime();
    for seed in seeds(0, CASES) {
        let case = Case::generate(seed);
        let mut random = Random::new(seed ^ 0xbacf);
        let reading = in_pieces(&mut random);
        if let Some(observed) = runtime.block_on(run_backfill(&case, reading, &mut random)) {
            case.check(&format!("backfill, {reading:?}"), &observed);
        }
    }
}

/// Where the program's drivers run.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

pub(super) fn in_pieces(random: &mut Random) -> Reading {
    let batch_rows = random.pick(&[1, 7, 100, 10_000]);
    Reading { workers: random.pick(&[1, 2, 4]), batch_rows, restarts: random.below(4) }
}

/// The log as each of the starts of a run finds it: it grows, and is whole at the last.
fn growing(case: &Case, reading: Reading, random: &mut Random) -> Vec<MemoryLogs> {
    let whole: Vec<usize> = case.partitions.iter().map(Vec::len).collect();
    // Every partition that will hold records holds one from the start: an empty one counts as idle.
    let mut ends: Vec<usize> = whole.iter().map(|length| (*length).min(1)).collect();
    let partitions = Arc::new(case.partitions.clone());
    let mut logs = Vec::new();
    for start in 0..=reading.restarts {
        for (end, length) in ends.iter_mut().zip(&whole) {
            *end = if start == reading.restarts { *length } else { *end + random.below(length - *end + 1) };
        }
        let (partitions, ends) = (partitions.clone(), ends.clone());
        logs.push(MemoryLogs { partitions, ends, batch_rows: reading.batch_rows, seed: random.bits() });
    }
    logs
}

fn compiled(case: &Case, history: Option<&str>) -> Arc<Plan> {
    let names = Names { topic: "topic", namespace: "ns", result: "result", history };
    Arc::new(compile("case", &case.sql(&names)).unwrap_or_else(|errors| panic!("seed {}: {errors:?}", case.seed)))
}

/// Runs a case live to its drained end.
async fn run_live(case: &Case, reading: Reading, random: &mut Random) -> Observed {
    run_plan_live(&compiled(case, None), case, reading, random).await
}

/// Runs a plan over the log of a case live to its drained end.
pub(super) async fn run_plan_live(plan: &Arc<Plan>, case: &Case, reading: Reading, random: &mut Random) -> Observed {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = catalog(folder.path()).await;
    let checkpoints = CheckpointStore::open("state", folder.path(), "case").expect("folder takes files");
    let logs = growing(case, reading, random);
    for (start, log) in logs.into_iter().enumerate() {
        let last = start == reading.restarts;
        let setup = Setup {
            catalog: catalog.clone(),
            checkpoints: checkpoints.clone(),
            logs: Arc::new(log),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            workers: if last { reading.workers } else { random.pick(&[1, 2, 3]) },
            checkpoint_interval: Duration::from_millis(20),
            until: Until::End,
            drain: last,
            epoch_rows: reading.batch_rows,
            // Cases hold as many bad records as they like.
            rejects_max_millionths: 1_000_000,
            ..RunOptions::default()
        };
        let ended = run(plan, &setup, &options, &CancellationToken::new(), &|_| {}).await;
        ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));
    }
    observe(&catalog, plan, &plan.inserts[0].table.with_suffix("_rejects")).await
}

/// Archives a case and backfills all of it, without any live run; none if no record counts.
async fn run_backfill(case: &Case, reading: Reading, random: &mut Random) -> Option<Observed> {
    run_plan_backfill(&compiled(case, Some("history")), case, reading, random).await
}

/// Archives a case and backfills all of a plan over it, which names a history.
pub(super) async fn run_plan_backfill(
    plan: &Arc<Plan>,
    case: &Case,
    reading: Reading,
    random: &mut Random,
) -> Option<Observed> {
    let (first, last) = case.days()?;
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = catalog(folder.path()).await;
    for log in growing(case, reading, random) {
        let setup = archive::Setup {
            catalog: catalog.clone(),
            state: Stores::default().place("state", folder.path()).expect("a folder"),
            logs: Arc::new(log),
            clock: Arc::new(SystemClock::start()),
        };
        let options = ArchiveOptions {
            lanes: random.pick(&[1, 2]),
            checkpoint_interval: Duration::from_millis(20),
            until_end: true,
            ..ArchiveOptions::default()
        };
        let ended = archive(&plan.streams[0], &setup, &options, &CancellationToken::new(), &|_| {}).await;
        ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));
    }
    let range = EventTime(first * 24 * HOUR)..EventTime(last * 24 * HOUR);
    let requested = Requested { range, widen: false, drain: true };
    let options = BackfillOptions { requested, include_late: false, workers: reading.workers, memory_max: None };
    let ended = backfill::run(plan, &catalog, &options, &|_, _| {}).await;
    ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));

    let history = plan.streams[0].history.as_ref().expect("the stream has one");
    let mut observed = observe(&catalog, plan, &history.with_suffix("_rejects")).await;
    let columns = ["_partition", "_offset", "_timestamp", &case.stream.event_time].map(str::to_owned);
    let rows = table_rows(&catalog, history, &columns).await;
    observed.rejected.extend(rows.iter().filter_map(|row| match (&row[..], case.stream.max_future) {
        (
            [Value::Integer(partition), Value::Integer(offset), Value::Timestamp(timestamp), Value::Timestamp(time)],
            Some(max_future),
        ) if *time > timestamp + max_future => Some((i32::try_from(*partition).expect("an INT"), *offset)),
        _ => None,
    }));
    Some(observed)
}

/// A catalog of its own, with its tables in the folder.
pub async fn catalog(folder: &Path) -> Catalog {
    Catalog::open(&CatalogConfig::embedded(), folder).await.expect("a new SQLite catalog")
}

/// What is in the tables. Independent readers look at such tables elsewhere.
async fn observe(catalog: &Catalog, plan: &Plan, rejects: &TableName) -> Observed {
    let insert = &plan.inserts[0];
    let positions = |rows: Vec<Vec<Value>>| {
        let position = |row: Vec<Value>| match row[..] {
            [Value::Integer(partition), Value::Integer(offset)] => (i32::try_from(partition).expect("an INT"), offset),
            _ => panic!("{row:?} is no position"),
        };
        rows.into_iter().map(position).collect()
    };
    let result: Vec<String> = insert.columns.iter().map(|column| column.name.clone()).collect();
    let position = ["_partition".to_owned(), "_offset".to_owned()];
    Observed {
        rows: table_rows(catalog, &insert.table, &result).await,
        late: positions(table_rows(catalog, &insert.late[0].table, &position).await),
        rejected: positions(table_rows(catalog, rejects, &position).await),
        accepted: accepted(catalog, &insert.table).await,
    }
}

/// These columns of all rows of a table; none if there is no such table.
pub async fn table_rows(catalog: &Catalog, name: &TableName, columns: &[String]) -> Vec<Vec<Value>> {
    let Some(table) = catalog.load(name).await.expect("catalog answers") else { return Vec::new() };
    let mut found = Vec::new();
    for file in plan_files(&table, None, &ScanFilter::default()).await.expect("manifests are readable") {
        let batches = read_file(&table, &file, columns, None).await.expect("file is readable");
        let batches: Vec<_> = batches.try_collect().await.expect("file is readable");
        found.extend(batches.iter().flat_map(rows));
    }
    found
}

async fn accepted(catalog: &Catalog, name: &TableName) -> Option<i64> {
    let table = catalog.load(name).await.expect("catalog answers")?;
    let newest_first = table.ancestors();
    let text = newest_first.iter().find_map(|snapshot| table.summary(*snapshot)?.get("kappa.accepted"))?;
    Some(text.parse().expect("summary holds a number"))
}
