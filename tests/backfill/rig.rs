//! A folder with a catalog and checkpoints, the drivers on it, and tables as sorted lines.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::TryStreamExt;
use kappa::archive::{self, ArchiveError, ArchiveOptions, ArchiveReport, RejectsReport};
use kappa::backfill::{self, BackfillError, BackfillOptions, BackfillPlan, BackfillReport};
use kappa::checkpoints::{CheckpointStore, SavepointLabel};
use kappa::diff::{self, DiffOptions, DiffReport};
use kappa::event::{EventTime, PartitionField, TIMESTAMP_ZONE, TableName, Transform};
use kappa::iceberg::{
    Catalog, CatalogConfig, Change, CompactOptions, FileWriter, Operation, PartitionRange, ScanFilter, Table,
    WriteOptions, compact, plan_files, read_file,
};
use kappa::job::{Colour, Plan, compile};
use kappa::live::{self, RunError, RunOptions, RunReport, Until};
use kappa::recompute::Requested;
use kappa::reposition::{Destination, Moving, Positions, Repositioned, Upgrade, execute, upgrade};
use kappa::start::{Start, Vouched};
use kappa::store::Stores;
use kappa::time::clock::{Clock, SystemClock};
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
        BackfillOptions { requested, include_late: self.include_late, workers: 2, memory_max: None }
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

    fn archive_setup(&self, log: &Log) -> archive::Setup {
        archive::Setup {
            catalog: self.catalog.clone(),
            state: Stores::default().place("state", self.folder.path()).expect("a folder"),
            logs: Arc::new(log.clone()),
            clock: Arc::new(SystemClock::start()),
        }
    }

    /// Decodes the rejects of the plan's history again.
    pub async fn decode_rejects(&self, plan: &Plan) -> Result<RejectsReport, ArchiveError> {
        let setup = self.archive_setup(&Log::new(Vec::new()));
        archive::decode_rejects(&plan.streams[0], &setup).await
    }

    async fn archive_by(
        &self,
        plan: &Plan,
        log: &Log,
        lanes: usize,
        evolve: bool,
    ) -> Result<ArchiveReport, ArchiveError> {
        let setup = self.archive_setup(log);
        let options = ArchiveOptions {
            lanes,
            checkpoint_interval: Duration::from_millis(5),
            until_end: true,
            evolve,
            ..ArchiveOptions::default()
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
        self.live_by(plan, log, RunOptions { workers: 2, drain, start, ..RunOptions::default() }).await
    }

    /// Runs live to the end of the log, in small steps.
    pub async fn live_by(&self, plan: &Arc<Plan>, log: &Log, options: RunOptions) -> Result<RunReport, RunError> {
        let setup = live::Setup {
            catalog: self.catalog.clone(),
            checkpoints: CheckpointStore::open("state", self.folder.path(), &plan.name).expect("a folder"),
            logs: Arc::new(log.clone()),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            checkpoint_interval: Duration::from_millis(20),
            until: Until::End,
            epoch_rows: 50,
            rejects_max_millionths: 1_000_000,
            ..options
        };
        live::run(plan, &setup, &options, &CancellationToken::new(), &|_| {}).await
    }

    fn checkpoints(&self, plan: &Plan) -> CheckpointStore {
        CheckpointStore::open("state", self.folder.path(), &plan.name).expect("a folder")
    }

    async fn moved(&self, plan: &Plan, destination: &Destination) -> Repositioned {
        let (checkpoints, clock) = (self.checkpoints(plan), clock());
        let moving = Moving { plan, catalog: &self.catalog, checkpoints: &checkpoints, clock: &clock };
        execute(&moving, destination).await.expect("the job is moved")
    }

    /// Resets a job to positions of its log.
    pub async fn reset(&self, plan: &Plan, positions: Positions) -> Repositioned {
        self.moved(plan, &Destination::Reset(positions)).await
    }

    /// Keeps the newest checkpoint, if there is one.
    pub async fn keep(&self, plan: &Plan, name: &str) -> bool {
        let (name, reason) = (name.parse().expect("a name"), "a test".to_owned());
        let label = SavepointLabel { name, created: EventTime(0), reason };
        self.checkpoints(plan).keep_newest(&label).await.expect("kept").is_some()
    }

    /// Takes a job back to a savepoint.
    pub async fn restore(&self, plan: &Plan, name: &str) -> Repositioned {
        let name = name.parse().expect("a name");
        let savepoint = self.checkpoints(plan).savepoint(&name).await.expect("it was kept");
        self.moved(plan, &Destination::Savepoint(Box::new(savepoint))).await
    }

    /// Goes over to another version of a job.
    pub async fn upgrade(&self, plan: &Plan, log: &Log) -> Upgrade {
        let (checkpoints, clock) = (self.checkpoints(plan), clock());
        let moving = Moving { plan, catalog: &self.catalog, checkpoints: &checkpoints, clock: &clock };
        let logs: Arc<dyn kappa::sources::Logs> = Arc::new(log.clone());
        upgrade(&moving, &logs, Vouched::default()).await.expect("upgraded")
    }

    /// Somebody else appends a row that no job makes.
    pub async fn append_junk(&self, name: &str, window: i64) {
        let Some(table) = self.table(name).await else { return };
        let time = |time: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone(TIMESTAMP_ZONE))
        };
        let rows = RecordBatch::try_from_iter([
            ("window_start", time(window)),
            ("window_end", time(window)),
            ("host", Arc::new(StringArray::from(vec!["junk"])) as ArrayRef),
        ]);
        let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
        writer.write(&rows.expect("rows")).await.expect("written");
        let add = writer.finish().await.expect("finished");
        let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
        self.catalog.commit(&change).await.expect("appended");
    }

    /// Somebody else rewrites all files of a table that is partitioned by the hour of `window_start`.
    pub async fn compact(&self, name: &str) -> String {
        let table = TableName::parse(name).expect("a name");
        let field = PartitionField { column: "window_start".into(), transform: Transform::Hour };
        let range = PartitionRange { field, from: EventTime::MIN, to: EventTime::MAX };
        let options = CompactOptions { small_files_min: 1, ..CompactOptions::default() };
        if self.table(name).await.is_some()
            && let Some(change) = compact(&self.catalog, &table, &range, &options).await.expect("rewritten")
        {
            self.catalog.commit(&change).await.expect("replaced");
        }
        "compaction".to_owned()
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
        let options = DiffOptions { range, drain, workers: 2, limit: 5, memory_max: None };
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

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
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
