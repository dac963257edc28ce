//! A folder with a catalog and checkpoints, the drivers on it, and tables as sorted lines.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kappa::archive::{self, ArchiveError, ArchiveOptions, ArchiveReport};
use kappa::backfill::{self, BackfillError, BackfillOptions, BackfillPlan, BackfillReport};
use kappa::checkpoints::CheckpointStore;
use kappa::diff::{self, DiffOptions, DiffReport};
use kappa::event::{EventTime, TableName};
use kappa::iceberg::{Catalog, CatalogConfig, ScanFilter, Table, plan_files, read_file};
use kappa::job::{Colour, Plan, compile};
use kappa::live::{self, RunError, RunOptions, RunReport, Until};
use kappa::recompute::Requested;
use kappa::start::{Start, Vouched};
use kappa::store::Stores;
use kappa::time::clock::SystemClock;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use crate::support::{Value, columns};

/// A project of a test.
pub struct Rig {
    folder: TempDir,
    /// Its catalog.
    pub catalog: Catalog,
}

/// How a range is backfilled or planned.
#[derive(Clone, Debug, Default)]
pub struct How {
    pub drain: bool,
    pub widen: bool,
    pub include_late: bool,
}

/// The end of history is the end of the log.
pub const DRAINED: How = How { drain: true, widen: false, include_late: false };

impl How {
    fn options(&self, range: Range<EventTime>) -> BackfillOptions {
        let requested = Requested { range, widen: self.widen, drain: self.drain };
        BackfillOptions { requested, include_late: self.include_late, workers: 2 }
    }
}

impl Rig {
    pub async fn new() -> Rig {
        let folder = tempfile::tempdir().expect("temporary folder");
        let catalog = Catalog::open(&CatalogConfig::embedded(), folder.path()).await.expect("a new SQLite catalog");
        Rig { folder, catalog }
    }

    /// Archives to the end of the log.
    pub async fn archive(&self, plan: &Plan, log: &Log) -> ArchiveReport {
        self.try_archive(plan, log, 2).await.expect("history takes the log")
    }

    pub async fn try_archive(&self, plan: &Plan, log: &Log, lanes: usize) -> Result<ArchiveReport, ArchiveError> {
        self.archive_by(plan, log, lanes, false).await
    }

    /// Archives to the end of the log, and widens the history to the plan's declaration.
    pub async fn evolve(&self, plan: &Plan, log: &Log) -> Result<ArchiveReport, ArchiveError> {
        self.archive_by(plan, log, 2, true).await
    }

    async fn archive_by(
        &self,
        plan: &Plan,
        log: &Log,
        lanes: usize,
        evolve: bool,
    ) -> Result<ArchiveReport, ArchiveError> {
        let setup = archive::Setup {
            catalog: self.catalog.clone(),
            state: Stores::default().place("state", self.folder.path()).expect("a folder"),
            logs: Arc::new(log.clone()),
            clock: Arc::new(SystemClock::start()),
        };
        let options = ArchiveOptions {
            lanes,
            checkpoint_interval: Duration::from_millis(5),
            start: Start::Earliest,
            until_end: true,
            evolve,
            memory_max: None,
        };
        archive::archive(&plan.streams[0], &setup, &options, &CancellationToken::new(), &|_| {}).await
    }

    /// Runs live to the end of the log, and drains it if wanted.
    pub async fn live(&self, plan: &Arc<Plan>, log: &Log, drain: bool) -> RunReport {
        self.try_live(plan, log, drain, Start::Earliest).await.expect("the job runs")
    }

    pub async fn try_live(
        &self,
        plan: &Arc<Plan>,
        log: &Log,
        drain: bool,
        start: Start,
    ) -> Result<RunReport, RunError> {
        let setup = live::Setup {
            catalog: self.catalog.clone(),
            checkpoints: CheckpointStore::open("state", self.folder.path(), &plan.name).expect("a folder"),
            logs: Arc::new(log.clone()),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            workers: 2,
            checkpoint_interval: Duration::from_millis(20),
            start,
            vouched: Vouched::default(),
            until: Until::End,
            drain,
            epoch_rows: 50,
            rejects_max_millionths: 1_000_000,
            memory_max: None,
            fail_point: None,
        };
        live::run(plan, &setup, &options, &CancellationToken::new(), &|_| {}).await
    }

    pub async fn try_backfill(
        &self,
        plan: &Arc<Plan>,
        range: Range<EventTime>,
        how: &How,
    ) -> Result<BackfillReport, BackfillError> {
        backfill::run(plan, &self.catalog, &how.options(range), &|_, _| {}).await
    }

    pub async fn backfill(&self, plan: &Arc<Plan>, range: Range<EventTime>, how: &How) -> BackfillReport {
        self.try_backfill(plan, range, how).await.expect("the range can be backfilled")
    }

    pub async fn plan(&self, plan: &Arc<Plan>, range: Range<EventTime>, how: &How) -> BackfillPlan {
        backfill::plan(plan, &self.catalog, &how.options(range), &|_, _| {}).await.expect("the range can be planned")
    }

    pub async fn diff(&self, plan: &Arc<Plan>, range: Range<EventTime>, drain: bool) -> DiffReport {
        let options = DiffOptions { range, drain, workers: 2, limit: 5 };
        diff::diff(plan, &self.catalog, &options, &|_, _| {}).await.expect("the range can be compared")
    }

    /// Asserts that what is published in a range is what history gives.
    pub async fn assert_equal(&self, plan: &Arc<Plan>, range: Range<EventTime>, drain: bool) {
        let found = self.diff(plan, range, drain).await;
        assert!(found.is_equal(), "{found:#?}");
    }

    pub async fn table(&self, name: &str) -> Option<Table> {
        self.catalog.load(&TableName::parse(name).expect("a name")).await.expect("the catalog answers")
    }

    /// The rows of a table as sorted lines, doubles by their bits; columns named in `without` left out. None for no table.
    pub async fn rows(&self, name: &str, without: &[&str]) -> Vec<String> {
        let Some(table) = self.table(name).await else { return Vec::new() };
        let schema = table.arrow_schema().expect("a schema");
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !without.contains(&name.as_str()))
            .collect();
        let mut lines = Vec::new();
        for file in plan_files(&table, None, &ScanFilter::default()).await.expect("manifests are readable") {
            let batches = read_file(&table, &file, &names, None).await.expect("the file is there");
            let batches: Vec<_> = batches.try_collect().await.expect("the file is readable");
            lines.extend(batches.iter().flat_map(columns::rows).map(|row| line(&names, &row)));
        }
        lines.sort();
        lines
    }
}

fn line(names: &[String], row: &[Value]) -> String {
    let shown = names.iter().zip(row).map(|(name, value)| match value {
        Value::Timestamp(time) => format!("{name}={}", EventTime(*time)),
        Value::Double(double) => format!("{name}={double:e}/{:016x}", double.to_bits()),
        value => format!("{name}={value:?}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The plan of a job.
pub fn job(name: &str, sql: &str) -> Arc<Plan> {
    Arc::new(compile(name, sql).unwrap_or_else(|errors| panic!("{}", errors.render(Colour::Plain))))
}

/// A time from RFC 3339.
pub fn at(text: &str) -> EventTime {
    EventTime(chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros())
}

/// A half-open range of times.
pub fn between(from: &str, to: &str) -> Range<EventTime> {
    at(from)..at(to)
}
