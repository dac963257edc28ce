//! Random cases in one process, through the program's own drivers: many ways to read one log, all of which must leave what the
//! model says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kappa::checkpoints::CheckpointStore;
use kappa::event::TableName;
use kappa::iceberg::{Catalog, CatalogConfig, CatalogKind, ScanFilter, plan_files, read_file};
use kappa::job::{Plan, compile};
use kappa::live::{RunOptions, Setup, Until, run};
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::memory::MemoryLogs;
use super::random::Random;
use super::{Case, Names, Observed, seeds};
use crate::model::Value;
use crate::support::columns::rows;

/// Cases of the suite.
const CASES: u64 = 200;

/// One way to read a log.
#[derive(Clone, Copy, Debug)]
struct Reading {
    workers: usize,
    batch_rows: usize,
    /// How often the run is stopped on its way and started again, by other numbers of workers.
    restarts: usize,
}

#[test]
fn every_way_of_running_live_gives_the_rows_of_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    for seed in seeds(0, CASES) {
        let case = Case::generate(seed);
        let mut random = Random::new(seed ^ 0x5eed);
        let batch_rows = random.pick(&[1, 7, 100, 10_000]);
        let whole = Reading { workers: 1, batch_rows, restarts: 0 };
        let workers = random.pick(&[2, 4]);
        let pieces = Reading { workers, batch_rows: random.pick(&[1, 7, 100, 10_000]), restarts: random.below(4) };
        for reading in [whole, pieces] {
            let observed = runtime.block_on(run_live(&case, reading, &mut random));
            case.check(&format!("live, {reading:?}"), &observed);
        }
    }
}

/// Runs a case live to its drained end.
async fn run_live(case: &Case, reading: Reading, random: &mut Random) -> Observed {
    let folder = tempfile::tempdir().expect("temporary folder");
    let names = Names { topic: "topic", namespace: "ns", result: "result", history: None };
    let plan =
        Arc::new(compile("case", &case.sql(&names)).unwrap_or_else(|errors| panic!("seed {}: {errors:?}", case.seed)));
    let catalog = catalog(folder.path()).await;
    let checkpoints = CheckpointStore::open("state", folder.path(), "case").expect("folder takes files");
    let whole: Vec<usize> = case.partitions.iter().map(Vec::len).collect();
    for restart in 0..=reading.restarts {
        let last = restart == reading.restarts;
        // Every partition that will hold records holds one from the start: an empty one counts as idle.
        let part = |length: &usize| if *length == 0 { 0 } else { 1 + random.below(*length) };
        let ends = if last { whole.clone() } else { whole.iter().map(part).collect() };
        let logs = MemoryLogs {
            partitions: Arc::new(case.partitions.clone()),
            ends,
            batch_rows: reading.batch_rows,
            seed: random.bits(),
        };
        let setup = Setup {
            catalog: catalog.clone(),
            checkpoints: checkpoints.clone(),
            logs: Arc::new(logs),
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
        let ended = run(&plan, &setup, &options, &CancellationToken::new(), &|_| {}).await;
        ended.unwrap_or_else(|error| panic!("seed {}, {reading:?}: {error}", case.seed));
    }
    observe(&catalog, &plan).await
}

async fn catalog(folder: &Path) -> Catalog {
    let config = CatalogConfig {
        kind: CatalogKind::Sql,
        uri: "sqlite:catalog.db".to_owned(),
        name: "kappa".to_owned(),
        warehouse: "warehouse".to_owned(),
        properties: std::collections::BTreeMap::new(),
    };
    Catalog::open(&config, folder).await.expect("a new SQLite catalog")
}

/// The tables of a run whose stream has no history. Independent readers look at such tables elsewhere.
async fn observe(catalog: &Catalog, plan: &Plan) -> Observed {
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
        late: positions(table_rows(catalog, &insert.late, &position).await),
        rejected: positions(table_rows(catalog, &insert.table.with_suffix("_rejects"), &position).await),
        accepted: accepted(catalog, &insert.table).await,
    }
}

async fn table_rows(catalog: &Catalog, name: &TableName, columns: &[String]) -> Vec<Vec<Value>> {
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
