//! A folder with a catalog and checkpoints, the drivers on it, and tables as sorted lines.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::TryStreamExt;
use kappa::archive::{self, ArchiveError, ArchiveOptions, ArchiveReport, RejectsReport};
use kappa::backfill::{self, BackfillError, BackfillOptions, BackfillPlan, BackfillReport};
use kappa::checkpoints::{CheckpointStore, Manifest, SavepointLabel, Version};
use kappa::diff::{self, DiffError, DiffOptions, DiffReport};
use kappa::event::{EventTime, PartitionField, TIMESTAMP_ZONE, TableName, Transform};
use kappa::iceberg::{
    Catalog, CatalogConfig, Change, CompactOptions, FileWriter, Operation, PartitionRange, ScanFile, ScanFilter, Table,
    WriteOptions, compact, plan_files, read_file,
};
use kappa::job::{Colour, Plan, compile};
use kappa::live::{self, RunError, RunOptions, RunReport, Until};
use kappa::recompute::Requested;
use kappa::reposition::{
    self, Destination, Moving, RepositionError, Repositioned, Repositioning, Upgrade, execute, upgrade,
};
use kappa::start::{Start, Vouched};
use kappa::store::{Place, Stores};
use kappa::time::clock::{Clock, SystemClock};
use object_store::memory::InMemory;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::mortal::{Death, View};
use super::ticking::Ticking;
use crate::support::{Value, columns};

/// A project of a test, as one process works with it.
pub struct Rig {
    folder: Arc<TempDir>,
    /// Where its files are, if that isn't the folder.
    bucket: Option<Arc<InMemory>>,
    stores: Stores,
    clock: Arc<dyn Clock>,
    /// Its catalog.
    pub catalog: Catalog,
}

/// The bucket's name.
const BUCKET: &str = "lake";

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
        let clock = Arc::new(SystemClock::start());
        Rig { folder: Arc::new(folder), bucket: None, stores: Stores::default(), clock, catalog }
    }

    /// A project whose files are in memory, for what has nothing to do with disks: many cases, and deaths at any call.
    pub async fn in_memory() -> Rig {
        let folder = Arc::new(tempfile::tempdir().expect("temporary folder"));
        Rig::on(folder, Arc::new(InMemory::new()), None).await.0
    }

    /// Another process of a project in memory, which dies at that call.
    pub async fn mortal(&self, death: Death) -> (Rig, View) {
        let bucket = self.bucket.clone().expect("a project in memory");
        Rig::on(self.folder.clone(), bucket, Some(death)).await
    }

    async fn on(folder: Arc<TempDir>, bucket: Arc<InMemory>, death: Option<Death>) -> (Rig, View) {
        let view = View::new(&bucket, death);
        let stores = Stores::default().with_bucket(BUCKET, Arc::new(view.clone()));
        let warehouse = format!("s3://{BUCKET}/tables");
        let config = CatalogConfig { warehouse, stores: stores.clone(), ..CatalogConfig::embedded() };
        let catalog = Catalog::open(&config, folder.path()).await.expect("a SQLite catalog");
        (Rig { folder, bucket: Some(bucket), stores, clock: Arc::new(Ticking::default()), catalog }, view)
    }

    /// Where checkpoints are.
    fn state(&self) -> Place {
        let location = if self.bucket.is_some() { format!("s3://{BUCKET}/state") } else { "state".to_owned() };
        self.stores.place(&location, self.folder.path()).expect("it can be opened")
    }

    /// Archives to the end of the log.
    pub async fn archive(&self, plan: &Plan, log: &Log) -> ArchiveReport {
        self.try_archive(plan, log, 2).await.expect("history takes the log")
    }

    /// Archives the log for every stream of the plan.
    pub async fn archive_all(&self, plan: &Plan, log: &Log) {
        for stream in &plan.streams {
            let only = Plan { streams: vec![stream.clone()], ..plan.clone() };
            self.archive(&only, log).await;
        }
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
            state: self.state(),
            logs: Arc::new(log.clone()),
            clock: self.clock.clone(),
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
            // In memory the history is one of its own, not what is tested.
            checkpoint_interval: Duration::from_millis(if self.bucket.is_some() { 1_000_000 } else { 5 }),
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
            checkpoints: self.checkpoints(plan),
            logs: Arc::new(log.clone()),
            clock: self.clock.clone(),
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
        CheckpointStore::at(&self.state(), &plan.name)
    }

    fn moving<'a>(&'a self, plan: &'a Plan, checkpoints: &'a CheckpointStore) -> Moving<'a> {
        Moving { plan, catalog: &self.catalog, checkpoints, clock: &self.clock, take_over: false }
    }

    /// Moves a job somewhere else.
    pub async fn moved(&self, plan: &Plan, destination: &Destination) -> Repositioned {
        let checkpoints = self.checkpoints(plan);
        let moving = self.moving(plan, &checkpoints);
        execute(&moving, destination).await.expect("the job is moved")
    }

    /// What moving a job would do.
    pub async fn would_move(&self, plan: &Plan, destination: &Destination) -> Repositioning {
        let checkpoints = self.checkpoints(plan);
        let moving = self.moving(plan, &checkpoints);
        reposition::plan(&moving, destination).await.expect("the job can be moved")
    }

    /// The newest checkpoint of a job.
    pub async fn manifest(&self, plan: &Plan) -> Option<Manifest> {
        self.checkpoints(plan).newest().await.expect("checkpoints can be read").manifest
    }

    /// Keeps the newest checkpoint, if there is one.
    pub async fn keep(&self, plan: &Plan, name: &str) -> bool {
        let (name, reason) = (name.parse().expect("a name"), "a test".to_owned());
        let label = SavepointLabel { name, created: EventTime(0), reason };
        let legs = plan.state_columns();
        let version = Version { fingerprint: &plan.fingerprint, legs: &legs };
        self.checkpoints(plan).keep_newest(&label, &version).await.expect("kept").is_some()
    }

    /// Where a job stood when it was kept.
    pub async fn kept(&self, plan: &Plan, name: &str) -> Destination {
        let name = name.parse().expect("a name");
        let savepoint = self.checkpoints(plan).savepoint(&name).await.expect("it was kept");
        Destination::Savepoint(Box::new(savepoint))
    }

    /// Goes over to another version of a job.
    pub async fn upgrade(&self, plan: &Plan, log: &Log) -> Upgrade {
        self.try_upgrade(plan, log).await.expect("upgraded")
    }

    pub async fn try_upgrade(&self, plan: &Plan, log: &Log) -> Result<Upgrade, RepositionError> {
        let checkpoints = self.checkpoints(plan);
        let moving = self.moving(plan, &checkpoints);
        let logs: Arc<dyn kappa::sources::Logs> = Arc::new(log.clone());
        upgrade(&moving, &logs, Vouched::default()).await
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
        self.try_diff(plan, range, drain).await.expect("the range can be compared")
    }

    pub async fn try_diff(
        &self,
        plan: &Arc<Plan>,
        range: Range<EventTime>,
        drain: bool,
    ) -> Result<DiffReport, DiffError> {
        let options = DiffOptions { range, drain, workers: 2, limit: 5, memory_max: None };
        diff::diff(plan, &self.catalog, &options, &|_, _| {}).await
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
        let mut lines = Vec::new();
        for file in files(&table).await {
            lines.extend(lines_of(&table, &file, without).await);
        }
        lines.sort();
        lines
    }
}

/// The files of a table.
pub async fn files(table: &Table) -> Vec<ScanFile> {
    plan_files(table, None, &ScanFilter::default()).await.expect("manifests are readable")
}

/// The rows of a file as lines, doubles by their bits; columns named in `without` left out.
pub async fn lines_of(table: &Table, file: &ScanFile, without: &[&str]) -> Vec<String> {
    let schema = table.arrow_schema().expect("a schema");
    let names = schema.fields().iter().map(|field| field.name().clone());
    let names: Vec<String> = names.filter(|name| !without.contains(&name.as_str())).collect();
    let batches = read_file(table, file, &names, None).await.expect("the file is there");
    let batches: Vec<_> = batches.try_collect().await.expect("the file is readable");
    batches.iter().flat_map(columns::rows).map(|row| line(&names, &row)).collect()
}

/// A row as a line.
pub fn line(names: &[String], row: &[Value]) -> String {
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
