//! The live driver against a log in memory, a catalog in a folder, and a plain computation of what must come out.

mod behind;
mod clocks;
mod damaged;
mod failures;
mod memory_log;
mod overlapping;
mod peers;
mod quiet;
mod reposition;
mod restarts;
mod revised;
mod starts;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{RunError, RunOptions, RunReport, Setup, Until, run};
use crate::checkpoints::{CheckpointStore, Manifest, Version};
use crate::event::TableName;
use crate::iceberg::{Catalog, CatalogConfig, ScanFile, ScanFilter, Table, plan_files, read_file};
use crate::job::Plan;
use crate::state::LegColumns;
use crate::time::clock::SystemClock;
use memory_log::{MemoryLogs, Record, Shared};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 2026-01-01T00:00:00Z
const NOON: i64 = 1_767_225_600 * SECOND;
const BOUND: i64 = 5 * SECOND;

const STREAM: &str = "
CREATE STREAM clicks (host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM KAFKA 'clicks' FORMAT JSON;
";
const HITS: &str = "
INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
";
const TOTALS: &str = "
INSERT INTO ICEBERG 'marts.totals' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, count(*) AS hits, sum(bytes) AS bytes
FROM TUMBLE(clicks, t, INTERVAL '5 minutes')
WHERE bytes > 50
GROUP BY window_start, window_end
PUBLISH WHOLE PARTITIONS;
";

/// Result rows: window start and host, then hits and bytes.
type Rows = BTreeMap<(i64, String), (i64, i64)>;

/// A project folder, a log and a job.
struct World {
    folder: tempfile::TempDir,
    logs: Arc<MemoryLogs>,
    plan: Arc<Plan>,
}

impl World {
    fn new(job: &str, logs: Arc<MemoryLogs>) -> World {
        let plan = crate::job::compile("job", job)
            .unwrap_or_else(|problems| panic!("{}", problems.render(crate::job::Colour::Plain)));
        World { folder: tempfile::tempdir().expect("a folder"), logs, plan: Arc::new(plan) }
    }

    /// As a new process would open it.
    async fn setup(&self) -> Setup {
        let root = self.folder.path();
        Setup {
            catalog: Catalog::open(&CatalogConfig::embedded(), root).await.expect("an embedded catalog"),
            checkpoints: CheckpointStore::open("state", root, &self.plan.name).expect("a folder"),
            logs: Arc::new(Shared(self.logs.clone())),
            clock: Arc::new(SystemClock::start()),
        }
    }

    async fn run(&self, options: &RunOptions, stop: &CancellationToken) -> Result<RunReport, RunError> {
        run(&self.plan, &self.setup().await, options, stop, &|_| {}).await
    }

    async fn run_to_end(&self, options: &RunOptions) -> RunReport {
        self.run(options, &CancellationToken::new()).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn version<'a>(&'a self, legs: &'a [LegColumns]) -> Version<'a> {
        Version { fingerprint: &self.plan.fingerprint, legs }
    }

    async fn manifest(&self) -> Manifest {
        let newest = self.setup().await.checkpoints.newest().await.expect("readable");
        newest.manifest.expect("there is a checkpoint")
    }

    async fn table(&self, name: &str) -> Table {
        let name = TableName::parse(name).expect("a name");
        self.setup().await.catalog.load(&name).await.expect("answers").expect("is there")
    }

    async fn files(&self, name: &str) -> Vec<ScanFile> {
        plan_files(&self.table(name).await, None, &ScanFilter::default()).await.expect("files")
    }

    async fn batches(&self, name: &str, columns: &[&str]) -> Vec<RecordBatch> {
        let table = self.table(name).await;
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        let mut batches = Vec::new();
        for file in self.files(name).await {
            let rows = read_file(&table, &file, &columns, None).await.expect("opens");
            batches.extend(rows.try_collect::<Vec<_>>().await.expect("reads"));
        }
        batches
    }

    /// The rows of `marts.hits`.
    ///
    /// # Panics
    /// When a window and host come twice.
    async fn hits(&self) -> Rows {
        let batches = self.batches("marts.hits", &["window_start", "host", "hits", "bytes"]).await;
        rows(&batches, |batch, row| batch.column(1).as_string::<i32>().value(row).to_owned())
    }

    /// The rows of `marts.totals`.
    async fn totals(&self) -> Rows {
        let batches = self.batches("marts.totals", &["window_start", "window_end", "hits", "bytes"]).await;
        rows(&batches, |_, _| String::new())
    }

    /// Checks that the newest manifest and the newest snapshots' summaries account for all records of the log.
    async fn assert_all_accounted_for(&self, expected: &Expected) {
        let manifest = self.manifest().await;
        let progress = &manifest.streams["clicks"];
        let of = |count: fn(&crate::checkpoints::PartitionProgress) -> u64| progress.values().map(count).sum::<u64>();
        assert_eq!((of(|at| at.taken), of(|at| at.rejected)), (expected.produced, expected.rejected));
        for (insert, late) in manifest.inserts.iter().zip([expected.late_hits, expected.late_totals]) {
            let sum = |counts: &BTreeMap<i32, u64>| counts.values().sum::<u64>();
            assert_eq!(sum(&insert.late), late, "{}", insert.table);
            assert_eq!(sum(&insert.accepted) + late + expected.rejected, expected.produced, "{}", insert.table);
        }
        let table = self.table("marts.hits").await;
        let snapshots = table.ancestor_snapshots();
        let newest = snapshots.iter().map(|snapshot| &snapshot.summary().additional_properties);
        let summary = newest.into_iter().find(|summary| summary.contains_key("kappa.accepted")).expect("published");
        let accepted = expected.produced - expected.late_hits - expected.rejected;
        let counts = [accepted, expected.late_hits, expected.rejected].map(|count| count.to_string());
        assert_eq!(["kappa.accepted", "kappa.late", "kappa.rejected"].map(|key| summary[key].clone()), counts);
    }
}

fn rows(batches: &[RecordBatch], host: impl Fn(&RecordBatch, usize) -> String) -> Rows {
    let mut rows = Rows::new();
    for batch in batches {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let (hits, bytes) = (batch.column(2).as_primitive::<Int64Type>(), batch.column(3).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            let key = (starts.value(row), host(batch, row));
            let twice = rows.insert(key.clone(), (hits.value(row), bytes.value(row)));
            assert_eq!(twice, None, "{key:?} is there twice");
        }
    }
    rows
}

/// Short epochs and checkpoints, so that a small log has many of both; and as many bad records in one as chance brings.
fn options(workers: usize) -> RunOptions {
    RunOptions {
        workers,
        checkpoint_interval: Duration::from_millis(20),
        epoch_rows: 500,
        rejects_max_millionths: 1_000_000,
        ..RunOptions::default()
    }
}

fn to_end(workers: usize) -> RunOptions {
    RunOptions { until: Until::End, ..options(workers) }
}

fn drained(workers: usize) -> RunOptions {
    RunOptions { until: Until::End, drain: true, ..options(workers) }
}

fn click(host: &str, bytes: i64, time: i64) -> Record {
    let text = chrono::DateTime::from_timestamp_micros(time).expect("a time").to_rfc3339();
    Record { timestamp: time, value: format!(r#"{{"host":"{host}","bytes":{bytes},"t":"{text}"}}"#) }
}

/// A log of `partitions` that advance at their own pace, with late, broken and future records in between; and what must
/// come out of it.
fn fill(logs: &MemoryLogs, seed: u64, partitions: usize, records: usize) -> Expected {
    let mut random = StdRng::seed_from_u64(seed);
    let mut expected = Expected::default();
    for partition in 0..partitions {
        let step = random.random_range(SECOND / 2..3 * SECOND);
        let (mut clock, mut seen) = (NOON, None);
        for _ in 0..records {
            clock += random.random_range(0..2 * step);
            let kind = random.random_range(0..100);
            let time = if kind < 10 { clock - random.random_range(0..90 * SECOND) } else { clock };
            let (host, bytes) = (format!("h{}", random.random_range(0..7)), random.random_range(0..100));
            let mut record = click(&host, bytes, time);
            expected.produced += 1;
            match kind {
                98 => record.value = "broken".to_owned(),
                99 => record.timestamp = time - 2 * 60 * MINUTE,
                _ => {}
            }
            logs.append("clicks", partition, [record]);
            if kind >= 98 {
                expected.rejected += 1;
                continue;
            }
            expected.add(&host, bytes, time, seen);
            seen = seen.max(Some(time));
        }
    }
    expected
}

/// A plain computation of both results.
#[derive(Debug, Default)]
struct Expected {
    hits: Rows,
    totals: Rows,
    produced: u64,
    rejected: u64,
    late_hits: u64,
    late_totals: u64,
}

impl Expected {
    fn add(&mut self, host: &str, bytes: i64, time: i64, seen: Option<i64>) {
        let start = |size: i64| time - time.rem_euclid(size);
        let is_late = |size: i64| seen.is_some_and(|seen| start(size) + size <= seen - BOUND);
        let add = |rows: &mut Rows, size: i64, host: &str| {
            let row = rows.entry((start(size), host.to_owned())).or_default();
            *row = (row.0 + 1, row.1 + bytes);
        };
        match is_late(MINUTE) {
            true => self.late_hits += 1,
            false => add(&mut self.hits, MINUTE, host),
        }
        if bytes > 50 {
            match is_late(5 * MINUTE) {
                true => self.late_totals += 1,
                false => add(&mut self.totals, 5 * MINUTE, ""),
            }
        }
    }
}
