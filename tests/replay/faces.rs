//! Random cases in one process, through the program's own drivers: many ways to read one log, all of which must leave what the
//! model says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use kappa::archive::{self, ArchiveOptions, archive};
use kappa::backfill::{self, BackfillOptions};
use kappa::checkpoints::CheckpointStore;
use kappa::event::{EventTime, TableName};
use kappa::iceberg::{Catalog, CatalogConfig, ScanFilter, plan_files, read_file};
use kappa::job::{LateTable, Plan, compile};
use kappa::live::{RunOptions, Setup, Until, run};
use kappa::recompute::Requested;
use kappa::store::{Place, Stores};
use kappa::time::clock::SystemClock;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use super::memory::MemoryLogs;
use super::random::Random;
use super::{Case, Names, Observed, seeds};
use crate::model::{HOUR, Value};
use crate::support::columns::rows;

/// Cases of the suite, each live and from history.
pub(super) const CASES: u64 = 500;

/// Of so many cases one is read in one go too.
const WHOLE_EVERY: u64 = 8;

/// One way to read a log.
#[derive(Clone, Copy, Debug)]
struct Reading {
    workers: usize,
    batch_rows: usize,
    /// How often the run is stopped on its way and started again, by other numbers of workers.
    restarts: usize,
    checkpoints: Checkpoints,
}

/// When checkpoints are made, beside the ends of runs.
#[derive(Clone, Copy, Debug)]
enum Checkpoints {
    AtEnds,
    /// As often as the machine can.
    Often,
}

impl Checkpoints {
    fn interval(self) -> Duration {
        Duration::from_millis(if matches!(self, Checkpoints::Often) { 20 } else { 1_000_000 })
    }
}

#[test]
fn live_and_backfill_give_the_rows_of_the_model_and_the_same_bits() {
    in_parallel(seeds(0, CASES), check_seed);
}

/// Of these, one archive's first checkpoint had rejects only, so that its history was taken for one begun in mid-log; the others
/// have count windows of one key that begin and end together.
#[test]
fn seeds_that_once_failed() {
    let runtime = runtime();
    [302_588, 306_961, 309_545].into_iter().for_each(|seed| check_seed(&runtime, seed));
}

/// Reads the case of a seed in several ways.
fn check_seed(runtime: &tokio::runtime::Runtime, seed: u64) {
    let case = Case::generate(seed);
    let mut random = Random::new(seed ^ 0x5eed);
    let check = |face: &str, reading: Reading, left: Left, before: Option<&Left>| {
        case.check(&format!("{face}, {reading:?}"), &left.observed);
        let same = |before: &Left| left.observed.rows == before.observed.rows && left.late == before.late;
        assert!(before.is_none_or(same), "seed {seed}: {face}, {reading:?} gives other bits, or other late records");
        left
    };
    let reading = in_pieces(&mut random);
    let live = check("live", reading, runtime.block_on(run_live(&case, reading, &mut random)), None);
    if seed.is_multiple_of(WHOLE_EVERY) {
        let whole = Reading { workers: 1, batch_rows: 10_000, restarts: 0, checkpoints: Checkpoints::AtEnds };
        let left = runtime.block_on(run_live(&case, whole, &mut random));
        check("live", whole, left, Some(&live));
    }
    let reading = in_pieces(&mut random);
    let left = runtime.block_on(run_backfill(&case, reading, &mut random));
    check("backfill", reading, left, Some(&live));
}

/// Does something for each seed, as many at a time as there are processors.
fn in_parallel(seeds: std::ops::Range<u64>, each: impl Fn(&tokio::runtime::Runtime, u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let runtime = runtime();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !seeds.contains(&seed) {
                    return;
                }
                each(&runtime, seed);
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in running {
            if let Err(panic) = thread.join() {
                // The others end with the case that they are at.
                next.store(seeds.end, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Where the program's drivers run.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

fn in_pieces(random: &mut Random) -> Reading {
    let batch_rows = random.pick(&[1, 7, 100, 10_000]);
    // Commits are what costs: a few cases have many.
    let often = random.percent(15);
    let restarts = if often { 3 } else { random.pick(&[1, 1, 1, 2]) };
    let checkpoints = if often { Checkpoints::Often } else { Checkpoints::AtEnds };
    Reading { workers: random.pick(&[1, 2, 4]), batch_rows, restarts, checkpoints }
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

/// What a run left behind, in the order of its values.
struct Left {
    observed: Observed,
    /// Rows of the late table.
    late: Vec<Vec<Value>>,
}

/// Runs a case live to its drained end.
async fn run_live(case: &Case, reading: Reading, random: &mut Random) -> Left {
    let plan = &compiled(case, None);
    let world = World::new().await;
    let checkpoints = CheckpointStore::at(&world.state, "case");
    let logs = growing(case, reading, random);
    for (start, log) in logs.into_iter().enumerate() {
        let last = start == reading.restarts;
        let setup = Setup {
            catalog: world.catalog.clone(),
            checkpoints: checkpoints.clone(),
            logs: Arc::new(log),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            workers: if last { reading.workers } else { random.pick(&[1, 2, 3]) },
            checkpoint_interval: reading.checkpoints.interval(),
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
    observe(&world.catalog, plan, &plan.inserts[0].table.with_suffix("_rejects")).await
}

/// Archives a case and backfills all of it, without any live run.
async fn run_backfill(case: &Case, reading: Reading, random: &mut Random) -> Left {
    let plan = &compiled(case, Some("history"));
    let (first, last) = case.days().expect("a case has windows");
    let world = World::new().await;
    for log in growing(case, reading, random) {
        let setup = archive::Setup {
            catalog: world.catalog.clone(),
            state: world.state.clone(),
            logs: Arc::new(log),
            clock: Arc::new(SystemClock::start()),
        };
        let options = ArchiveOptions {
            lanes: random.pick(&[1, 2]),
            checkpoint_interval: reading.checkpoints.interval(),
            until_end: true,
            ..ArchiveOptions::default()
        };
        let ended = archive(&plan.streams[0], &setup, &options, &CancellationToken::new(), &|_| {}).await;
        ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));
    }
    let range = EventTime(first * 24 * HOUR)..EventTime(last * 24 * HOUR);
    let requested = Requested { range, widen: false, drain: true };
    let options = BackfillOptions { requested, include_late: false, workers: reading.workers, memory_max: None };
    let ended = backfill::run(plan, &world.catalog, &options, &|_, _| {}).await;
    ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));

    let history = plan.streams[0].history.as_ref().expect("the stream has one");
    let mut left = observe(&world.catalog, plan, &history.with_suffix("_rejects")).await;
    let columns = ["_partition", "_offset", "_timestamp", &case.stream.event_time].map(str::to_owned);
    let rows = table_rows(&world.catalog, history, &columns).await;
    left.observed.rejected.extend(rows.iter().filter_map(|row| match (&row[..], case.stream.max_future) {
        (
            [Value::Integer(partition), Value::Integer(offset), Value::Timestamp(timestamp), Value::Timestamp(time)],
            Some(max_future),
        ) if *time > timestamp + max_future => Some((i32::try_from(*partition).expect("an INT"), *offset)),
        _ => None,
    }));
    left
}

/// Where a case leaves what it makes: a catalog of its own, with all files in memory, as disks have nothing to do with it.
struct World {
    _folder: tempfile::TempDir,
    catalog: Catalog,
    state: Place,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().expect("temporary folder");
        let stores = Stores::default().with_bucket("lake", Arc::new(InMemory::new()));
        let state = stores.place("s3://lake/state", folder.path()).expect("a bucket in memory");
        let config = CatalogConfig { warehouse: "s3://lake/tables".to_owned(), stores, ..CatalogConfig::embedded() };
        let catalog = Catalog::open(&config, folder.path()).await.expect("a new SQLite catalog");
        World { _folder: folder, catalog, state }
    }
}

pub async fn catalog(folder: &Path) -> Catalog {
    Catalog::open(&CatalogConfig::embedded(), folder).await.expect("a new SQLite catalog")
}

/// What is in the tables. Independent readers look at such tables elsewhere.
async fn observe(catalog: &Catalog, plan: &Plan, rejects: &TableName) -> Left {
    let insert = &plan.inserts[0];
    let position = |partition: &Value, offset: &Value| match (partition, offset) {
        (Value::Integer(partition), Value::Integer(offset)) => (i32::try_from(*partition).expect("an INT"), *offset),
        other => panic!("{other:?} is no position"),
    };
    let result: Vec<String> = insert.columns.iter().map(|column| column.name.clone()).collect();
    let LateTable { stream, table } = &insert.late[0];
    let stream = &plan.streams[*stream];
    let late: Vec<String> = stream.late_schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = table_rows(catalog, &insert.table, &result).await;
    let mut late = table_rows(catalog, table, &late).await;
    rows.sort();
    late.sort();
    let positions = ["_partition".to_owned(), "_offset".to_owned()];
    let rejected = table_rows(catalog, rejects, &positions).await;
    let observed = Observed {
        rows,
        late: late.iter().map(|row| position(&row[stream.partition_index()], &row[stream.offset_index()])).collect(),
        rejected: rejected.iter().map(|row| position(&row[0], &row[1])).collect(),
        accepted: accepted(catalog, &insert.table).await,
    };
    Left { observed, late }
}

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
