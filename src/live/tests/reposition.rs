//! Jobs that go on somewhere else: reset, taken back to a savepoint, upgraded; cut off, compacted and appended to meanwhile.
//! Old rows that must go are told from new ones by what somebody else has appended, or by the version that wrote them.

use std::collections::BTreeSet;
use std::task::Poll;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;

use super::*;
use crate::checkpoints::{Claimant, Process, Savepoint, SavepointLabel, SavepointName};
use crate::event::{EventTime, PartitionField, TIMESTAMP_ZONE, Transform};
use crate::iceberg::{Change, CompactOptions, FileWriter, Operation, PartitionRange, WriteOptions, compact};
use crate::live::starting;
use crate::reposition::{Destination, Moving, Positions, RepositionError, Repositioned, Upgrade, execute, upgrade};
use crate::start::{Start, Vouched};

fn job(version: i64) -> String {
    format!("{STREAM}{}{TOTALS}", HITS.replace("sum(bytes)", &format!("sum(bytes * {version})")))
}

fn version(rows: &Rows, version: i64) -> Rows {
    rows.iter().map(|(key, &(hits, bytes))| (key.clone(), (hits, bytes * version))).collect()
}

/// The rows of windows that start in `[from, to)`.
fn within(rows: &Rows, from: i64, to: i64) -> Rows {
    rows.iter().filter(|((start, _), _)| from <= *start && *start < to).map(|(key, row)| (key.clone(), *row)).collect()
}

impl World {
    fn compile(&mut self, job: &str) {
        let plan = crate::job::compile("job", job);
        self.plan = Arc::new(plan.unwrap_or_else(|problems| panic!("{}", problems.render(crate::job::Colour::Plain))));
    }

    async fn at_time(&self, time: i64) -> Positions {
        let start = Start::Time(EventTime(time));
        let starting = starting(&self.plan, &self.setup().await, &start, Vouched::default()).await.expect("whole");
        let places = starting.streams[0].places.iter().map(|(&partition, place)| (partition, place.offset)).collect();
        let tables = self.plan.inserts.iter().map(|insert| insert.table.clone());
        Positions {
            streams: BTreeMap::from([(self.plan.streams[0].name.clone(), places)]),
            first_windows: tables.zip(starting.first_windows).collect(),
            ..Positions::default()
        }
    }

    fn moving<'a>(&'a self, setup: &'a Setup) -> Moving<'a> {
        let Setup { catalog, checkpoints, clock, .. } = setup;
        Moving { plan: &self.plan, catalog, checkpoints, clock, take_over: false }
    }

    pub(super) async fn reposition(&self, destination: &Destination) -> Result<Repositioned, RepositionError> {
        execute(&self.moving(&self.setup().await), destination).await
    }

    pub(super) async fn reset_to(&self, time: i64) -> Repositioned {
        let destination = Destination::Reset(self.at_time(time).await);
        self.reposition(&destination).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keeps the newest checkpoint.
    pub(super) async fn keep(&self, name: &str) -> Savepoint {
        let name: SavepointName = name.parse().expect("a name");
        let label = SavepointLabel { name: name.clone(), created: EventTime(NOON), reason: "a test".into() };
        let checkpoints = self.setup().await.checkpoints;
        let kept = checkpoints.keep_newest(&label, &self.version(&self.plan.state_columns())).await;
        kept.expect("kept").expect("there is a checkpoint");
        checkpoints.savepoint(&name).await.expect("is there")
    }

    pub(super) async fn restore(&self, name: &SavepointName) -> Result<Repositioned, RepositionError> {
        let savepoint = self.setup().await.checkpoints.savepoint(name).await.expect("is there");
        self.reposition(&Destination::Savepoint(Box::new(savepoint))).await
    }

    async fn upgrade(&self) -> Upgrade {
        let setup = self.setup().await;
        let upgraded = upgrade(&self.moving(&setup), &setup.logs, Vouched::default()).await;
        upgraded.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Takes about this many records, or all that there are, then stops in order.
    pub(super) async fn run_some(&self, records: usize) {
        let stop = CancellationToken::new();
        self.logs.cancel_after(records, &stop);
        self.run(&to_end(2), &stop).await.expect("it stops in order");
        self.logs.cancel_no_more();
    }

    /// Takes about this many records, or all that there are, then is gone.
    pub(super) async fn cut_off(&self, records: usize, wait: Duration) {
        let cut_off = CancellationToken::new();
        self.logs.cancel_after(records, &cut_off);
        let (options, stop) = (to_end(2), CancellationToken::new());
        tokio::select! {
            ended = self.run(&options, &stop) => drop(ended.expect("all of it")),
            () = cut_off.cancelled() => tokio::time::sleep(wait).await,
        }
        self.logs.cancel_no_more();
    }

    /// Somebody else appends a row to `marts.hits`.
    pub(super) async fn append_junk(&self, window: i64) {
        let table = self.table("marts.hits").await;
        let times = |time: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone(TIMESTAMP_ZONE))
        };
        let number = || -> ArrayRef { Arc::new(Int64Array::from(vec![-1])) };
        let rows = RecordBatch::try_from_iter([
            ("window_start", times(window)),
            ("window_end", times(window + MINUTE)),
            ("host", Arc::new(StringArray::from(vec!["junk"])) as ArrayRef),
            ("hits", number()),
            ("bytes", number()),
        ]);
        let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
        writer.write(&rows.expect("rows")).await.expect("written");
        let add = writer.finish().await.expect("finished");
        let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
        self.setup().await.catalog.commit(&change).await.expect("appended");
    }

    /// Somebody else rewrites all files of a table.
    async fn compact(&self, name: &str) {
        let (table, catalog) = (TableName::parse(name).expect("a name"), self.setup().await.catalog);
        let field = PartitionField { column: "window_start".into(), transform: Transform::Hour };
        let range = PartitionRange { field, from: EventTime::MIN, to: EventTime::MAX };
        let options = CompactOptions { small_files_min: 1, ..CompactOptions::default() };
        if let Some(change) = compact(&catalog, &table, &range, &options).await.expect("rewritten") {
            catalog.commit(&change).await.expect("replaced");
        }
    }

    /// Records in a late or rejects table, each once.
    async fn records(&self, table: &str) -> BTreeSet<(i32, i64)> {
        let mut found = BTreeSet::new();
        for batch in self.batches(table, &["_partition", "_offset"]).await {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let offsets = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let position = (partitions.value(row), offsets.value(row));
                assert!(found.insert(position), "{position:?} is in {table} twice");
            }
        }
        found
    }

    /// Late and rejected records of a run over the whole log.
    pub(super) async fn assert_late_and_rejects_as_from_scratch(&self) {
        let scratch =
            World { folder: tempfile::tempdir().expect("a folder"), logs: self.logs.clone(), plan: self.plan.clone() };
        scratch.run_to_end(&drained(1)).await;
        for table in ["marts.hits_late", "marts.totals_late", "marts.hits_rejects"] {
            assert_eq!(self.records(table).await, scratch.records(table).await, "{table}");
        }
    }

    /// Checks that no snapshot of `marts.hits` since `first` has a window of two versions, or a row twice.
    async fn assert_whole_windows_since(&self, first: i64, versions: [&Rows; 2]) {
        let table = self.table("marts.hits").await;
        let columns = ["window_start", "host", "hits", "bytes"].map(str::to_owned);
        let snapshots: Vec<i64> = table.ancestors().into_iter().take_while(|&snapshot| snapshot != first).collect();
        assert!(snapshots.len() > 3, "it should take more than a commit or two: {}", snapshots.len());
        for snapshot in snapshots {
            let mut batches = Vec::new();
            for file in plan_files(&table, Some(snapshot), &ScanFilter::default()).await.expect("planned") {
                let rows = read_file(&table, &file, &columns, None).await.expect("opens");
                batches.extend(rows.try_collect::<Vec<_>>().await.expect("reads"));
            }
            let found = rows(&batches, |batch, row| batch.column(1).as_string::<i32>().value(row).to_owned());
            let starts: BTreeSet<i64> = found.keys().map(|(start, _)| *start).collect();
            for start in starts {
                let window = within(&found, start, start + 1);
                let whole = versions.iter().any(|version| within(version, start, start + 1) == window);
                assert!(whole, "snapshot {snapshot}, window {start}: {window:?}");
            }
        }
    }
}

/// What a future gives, unless it waits more often than that.
async fn cut_after<T>(polls: i64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left <= 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn republish(world_manifest: &Manifest) -> Vec<Option<(i64, i64)>> {
    world_manifest.inserts.iter().map(|insert| insert.republish.map(|range| (range.from.0, range.to.0))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_back_publishes_windows_again_and_takes_out_what_does_not_come_out_any_more() {
    let logs = MemoryLogs::new(40);
    let expected = fill(&logs, 81, 2, 4_000);
    let world = World::new(&job(1), logs.clone());
    world.run_to_end(&to_end(2)).await;
    let back = NOON + 13 * MINUTE;
    let before = world.hits().await;
    let newest = before.keys().last().map(|(start, _)| *start).expect("rows");
    assert!(newest > back + 60 * MINUTE, "there is much to publish again: up to {newest}");
    for minute in [5, 13, 14, 20] {
        world.append_junk(NOON + minute * MINUTE).await;
    }
    let (late, rejects) = (world.records("marts.hits_late").await, world.records("marts.hits_rejects").await);
    let done = world.reset_to(back).await;
    assert!(done.savepoint.as_ref().is_some_and(|name| name.as_str().starts_with("before-reset-2")), "{done:?}");
    let (hits, totals) = (&done.moves.inserts[0], &done.moves.inserts[1]);
    assert_eq!(hits.republish.map(|range| range.from.0), Some(back));
    assert!(hits.gaps.is_empty() && hits.late > 0 && late.len() as u64 > hits.late, "{hits:?}");
    assert!(totals.republish.is_some() && done.moves.dropped.windows > 0, "{done:?}");
    assert_eq!(
        done.moves.rejects["marts.hits_rejects"],
        rejects.len() as u64,
        "max_future reaches back to the first record"
    );
    assert_eq!(world.records("marts.hits_late").await, late, "old rows stay until their records are read again");
    assert_eq!(world.records("marts.hits_rejects").await, rejects);
    assert_eq!(world.hits().await.len(), before.len() + 4, "old rows stay until they are replaced");
    // Others rewrite the files in between, and the run is cut off and goes on.
    for round in 0..6 {
        world.cut_off(700, Duration::from_millis(round * 7)).await;
        world.compact("marts.hits").await;
    }
    world.run_to_end(&drained(2)).await;
    let mut wanted = expected.hits.clone();
    wanted.insert((NOON + 5 * MINUTE, "junk".into()), (-1, -1));
    assert_eq!(world.hits().await, wanted);
    assert_eq!(world.totals().await, expected.totals);
    assert_eq!(republish(&world.manifest().await), [None, None]);
    assert!(!world.table("marts.hits").await.properties().contains_key("kappa.republish"));
    world.assert_late_and_rejects_as_from_scratch().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_snapshot_has_whole_windows_while_another_version_takes_over() {
    let logs = MemoryLogs::new(25);
    let expected = fill(&logs, 82, 2, 6_000);
    let mut world = World::new(&job(1), logs.clone());
    world.run_to_end(&to_end(2)).await;
    let error = {
        world.compile(&job(3));
        let destination = Destination::Reset(world.at_time(NOON + 2 * MINUTE).await);
        world.reposition(&destination).await.expect_err("another version").to_string()
    };
    assert!(error.contains("kappa run --upgrade"), "{error}");
    let sealed = world.manifest().await.inserts[0].sealed_edge;
    let Upgrade::Done(upgraded) = world.upgrade().await else { panic!("the version differs") };
    let first = world.table("marts.hits").await.current_snapshot_id().expect("published");
    assert!(upgraded.done.moves.first_window <= sealed, "{upgraded:?}");
    assert_eq!(world.upgrade().await, Upgrade::UpToDate);
    for _ in 0..3 {
        world.run_some(500).await;
    }
    world.run_to_end(&drained(2)).await;
    let edge = upgraded.done.moves.first_window.0;
    assert!(expected.hits.keys().next().is_some_and(|(start, _)| *start < edge), "some windows stay as they were");
    let mut wanted = within(&expected.hits, i64::MIN, edge);
    wanted.extend(version(&within(&expected.hits, edge, i64::MAX), 3));
    assert_eq!(world.hits().await, wanted);
    assert_eq!(upgraded.backfill.map(|range| range.end.0), Some(edge));
    world.assert_whole_windows_since(first, [&expected.hits, &version(&expected.hits, 3)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_an_older_savepoint_publishes_each_window_once_in_the_end() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 83, 2, 4_000);
    let world = World::new(&job(1), logs.clone());
    world.run_some(3_000).await;
    world.keep("early").await;
    let early = world.manifest().await;
    assert!(!early.state.is_empty() && !early.held.is_empty(), "it has open windows and rows that wait");
    world.run_some(3_000).await;
    let late_hits = world.hits().await;
    let published = late_hits.keys().last().map(|(start, _)| *start).expect("rows");
    world.append_junk(published).await;
    let done = world.restore(&"early".parse().expect("a name")).await.expect("restored");
    assert!(done.moves.inserts[0].republish.is_some_and(|range| range.to.0 > published), "{done:?}");
    assert_eq!(world.manifest().await.streams, early.streams);
    for round in 0..3 {
        world.cut_off(1_500, Duration::from_millis(round * 11)).await;
    }
    world.run_to_end(&drained(3)).await;
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_late_and_rejects_as_from_scratch().await;
    world.assert_all_accounted_for(&expected).await;
    // A finished job can be taken back, too; and what was kept before undoes that.
    let done = world.restore(&"early".parse().expect("a name")).await.expect("restored");
    assert!(!world.manifest().await.finished);
    world.restore(&done.savepoint.expect("kept")).await.expect("undone");
    assert!(world.manifest().await.finished);
    assert_eq!(world.hits().await, expected.hits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_forward_leaves_a_gap_that_is_named() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 84, 2, 1_000);
    let world = World::new(&job(1), logs.clone());
    world.run_some(500).await;
    while world.manifest().await.watermark == EventTime::MIN {
        world.run_some(200).await;
    }
    let reached = world.manifest().await.watermark;
    let forward = NOON + 10 * 60 * MINUTE;
    let last = expected.hits.keys().last().map(|(start, _)| *start).expect("rows");
    let forward = forward.min(last - 2 * MINUTE).max(reached.0 + 10 * MINUTE);
    let forward = forward - forward.rem_euclid(MINUTE);
    let done = world.reset_to(forward).await;
    let hits = &done.moves.inserts[0];
    assert_eq!(hits.republish, None);
    let reached = reached.0 - reached.0.rem_euclid(MINUTE);
    let gaps: Vec<(i64, i64)> = hits.gaps.iter().map(|gap| (gap.start.0, gap.end.0)).collect();
    assert_eq!(gaps, [(reached, forward)]);
    world.run_to_end(&drained(2)).await;
    let mut wanted = within(&expected.hits, i64::MIN, reached);
    wanted.extend(within(&expected.hits, forward, i64::MAX));
    assert_eq!(world.hits().await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_never_goes_around_lost_state_and_needs_no_checkpoint_where_there_never_was_one() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 85, 1, 1_000);
    let world = World::new(&job(1), logs.clone());
    let done = world.reset_to(NOON + 3 * MINUTE).await;
    assert_eq!((done.savepoint, done.moves.checkpoint), (None, None));
    world.run_to_end(&to_end(1)).await;
    let published = world.hits().await;
    let newest = published.keys().last().map(|(start, _)| *start).expect("rows");
    assert_eq!(published, within(&expected.hits, NOON + 3 * MINUTE, newest + MINUTE));
    std::fs::remove_dir_all(world.folder.path().join("state")).expect("it was there");
    let destination = Destination::Reset(world.at_time(NOON).await);
    let error = world.reposition(&destination).await.expect_err("the state is gone");
    assert!(error.to_string().contains("state.location"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_process_runs_is_moved_only_by_who_takes_it_over() {
    let logs = MemoryLogs::new(50);
    let expected = fill(&logs, 87, 2, 500);
    let mut world = World::new(&job(1), logs.clone());
    world.run_to_end(&to_end(1)).await;
    world.keep("here").await;
    let here = "here".parse().expect("a name");
    let setup = world.setup().await;
    let process = Process { host: "elsewhere".into(), boot: "another".into(), pid: 7, started: 1 };
    let elsewhere = Claimant { process, take_over: true, ..Claimant::new(setup.clock.clone()) };

    setup.checkpoints.claim(&elsewhere).await.expect("it takes the job over");
    let refused = world.restore(&here).await.expect_err("it is being run").to_string();
    assert!(refused.starts_with("job is being run by pid 7 on elsewhere since "), "{refused}");
    let savepoint = Destination::Savepoint(Box::new(setup.checkpoints.savepoint(&here).await.expect("is there")));
    let moving = Moving { take_over: true, ..world.moving(&setup) };
    execute(&moving, &savepoint).await.expect("taken over");

    setup.checkpoints.claim(&elsewhere).await.expect("it takes the job over");
    world.compile(&job(3));
    let refused = upgrade(&world.moving(&setup), &setup.logs, Vouched::default()).await;
    let refused = refused.expect_err("it is being run").to_string();
    assert!(refused.starts_with("job is being run by pid 7 on elsewhere since "), "{refused}");
    let moving = Moving { take_over: true, ..world.moving(&setup) };
    let upgraded = upgrade(&moving, &setup.logs, Vouched::default()).await.expect("taken over");
    let Upgrade::Done(upgraded) = upgraded else { panic!("the version differs") };
    // Nobody waits for the one that was taken over.
    world.run_to_end(&drained(1)).await;
    let edge = upgraded.done.moves.first_window.0;
    let mut wanted = within(&expected.hits, i64::MIN, edge);
    wanted.extend(version(&within(&expected.hits, edge, i64::MAX), 3));
    assert_eq!(world.hits().await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_cut_off_anywhere_is_done_or_not_done() {
    let logs = MemoryLogs::new(50);
    let expected = fill(&logs, 86, 2, 500);
    let world = World::new(&job(1), logs.clone());
    world.run_to_end(&to_end(1)).await;
    world.keep("here").await;
    let mut polls = 0;
    let mut done = 0;
    while done < 2 {
        polls += 9;
        let destination = Destination::Reset(world.at_time(NOON + (polls % 7) * MINUTE).await);
        // Dropped at one of the places where it waits, as if the process had gone.
        match cut_after(polls, world.reposition(&destination)).await {
            Some(moved) => {
                moved.expect("done");
                done += 1;
            }
            None if polls % 2 == 0 => world.run_some(100).await,
            None => {}
        }
    }
    assert!(polls > 50, "it waits more often than that: {polls}");
    world.restore(&"here".parse().expect("a name")).await.expect("restored");
    world.run_to_end(&drained(2)).await;
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_late_and_rejects_as_from_scratch().await;
}
