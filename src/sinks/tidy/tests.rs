use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::TryStreamExt;

use super::*;
use crate::checkpoints::{CheckpointStore, Claimant};
use crate::event::{TIMESTAMP_ZONE, Transform, timestamp_type};
use crate::iceberg::{CatalogConfig, Change, Operation, read_file};
use crate::sinks::{Target, stage, take};
use crate::time::clock::{Clock, SystemClock};
use crate::vitals::Vitals;

const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = HOUR / 60;

struct World {
    folder: tempfile::TempDir,
    catalog: Catalog,
    target: Target,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Catalog::open(&CatalogConfig::embedded(), folder.path()).await.expect("a catalog");
        let fields = vec![Field::new("t", timestamp_type(), true), Field::new("v", DataType::Int64, true)];
        let spec = TableSpec {
            schema: Arc::new(Schema::new(fields)),
            partitions: vec![PartitionField { column: "t".into(), transform: Transform::Hour }],
            sort: vec!["t".into(), "v".into()],
            properties: BTreeMap::new(),
        };
        let table = TableName::parse("marts.hits").expect("a name");
        World { folder, catalog, target: Target { table, spec, owned: true, evolve: false } }
    }

    /// A new run, which fences older ones.
    async fn publisher(&self) -> Publisher {
        let store = CheckpointStore::open("state", self.folder.path(), "job").expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let (claimant, vitals) = (Claimant::new(clock.clone()), Vitals::new(&clock));
        let targets = std::slice::from_ref(&self.target);
        let taken = take(&self.catalog, &store, &claimant, targets, &vitals).await.expect("taken");
        taken.begin().await.expect("begun")
    }

    fn tidy(&self) -> Tidy {
        Tidy::new(&self.target.table, self.target.spec.clone(), 0)
    }

    fn batch(&self, rows: &[(i64, i64)]) -> RecordBatch {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone(TIMESTAMP_ZONE)), Arc::new(values)];
        RecordBatch::try_new(self.target.spec.schema.clone(), columns).expect("columns of the schema")
    }

    async fn append(&self, rows: &[(i64, i64)]) {
        let table = self.catalog.load(&self.target.table).await.expect("answers").expect("is there");
        let add = stage(&table, &self.target.spec.sort, vec![self.batch(rows)]).await.expect("staged");
        let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
        self.catalog.commit(&change).await.expect("appended");
    }

    /// Rows of each file, in the files' order.
    async fn files(&self) -> Vec<Vec<(i64, i64)>> {
        let table = self.catalog.load(&self.target.table).await.expect("answers").expect("is there");
        let columns = ["t", "v"].map(String::from);
        let mut files = Vec::new();
        let filter = ScanFilter { time: Some(("t".into(), EventTime::MIN..EventTime::MAX)), equals: Vec::new() };
        for file in plan_files(&table, None, &filter).await.expect("planned") {
            let batches = read_file(&table, &file, &columns, None).await.expect("opened");
            let mut rows = Vec::new();
            for batch in batches.try_collect::<Vec<_>>().await.expect("read") {
                let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
                let values = batch.column(1).as_primitive::<Int64Type>().values();
                rows.extend(times.iter().copied().zip(values.iter().copied()));
            }
            files.push(rows);
        }
        files.sort();
        files
    }

    async fn rows(&self) -> Vec<(i64, i64)> {
        let mut rows = self.files().await.concat();
        rows.sort_unstable();
        rows
    }
}

#[tokio::test]
async fn what_earlier_runs_left_is_found_and_becomes_one_sorted_file() {
    let world = World::new().await;
    let publisher = world.publisher().await;
    world.append(&[(20 * MINUTE, 1), (10 * MINUTE, 2)]).await;
    world.append(&[(50 * MINUTE, 3)]).await;
    world.append(&[(5 * MINUTE, 4)]).await;
    world.append(&[(HOUR, 5)]).await;
    for value in [6, 7] {
        world.append(&[(2 * HOUR, value)]).await;
    }
    let before = world.rows().await;
    let mut tidy = world.tidy();
    let edge = EventTime(2 * HOUR);
    let found = tidy.find(&world.catalog, edge).await.expect("found");
    assert_eq!(found, BTreeSet::from([EventTime(0)]), "hour 1 has one file, hour 2 is above the edge");
    tidy.saw(found);
    let rewrite = tidy.next(edge).expect("hour 0");
    assert!(tidy.next(edge).is_none(), "each is given once");
    rewrite.clone().run(&publisher).await;
    assert_eq!(world.rows().await, before);
    let files = world.files().await;
    assert_eq!(files.len(), 4);
    assert_eq!(files[0], [(5 * MINUTE, 4), (10 * MINUTE, 2), (20 * MINUTE, 1), (50 * MINUTE, 3)]);
    rewrite.run(&publisher).await;
    assert_eq!(world.files().await, files, "one file is left alone");
}

#[tokio::test]
async fn a_rewrite_that_a_crash_cut_off_before_its_commit_doubles_nothing() {
    let world = World::new().await;
    let publisher = world.publisher().await;
    for value in 0..3 {
        world.append(&[(value * MINUTE, value)]).await;
    }
    let before = world.rows().await;
    let mut tidy = world.tidy();
    tidy.saw(BTreeSet::from([EventTime(0)]));
    let rewrite = tidy.next(EventTime(HOUR)).expect("hour 0");
    let options = &rewrite.options;
    let cut_off = compact(&world.catalog, &rewrite.table, &rewrite.range, options).await.expect("done").expect("small");
    assert_eq!(world.files().await.len(), 3, "staged files are nobody's");
    rewrite.clone().run(&publisher).await;
    assert_eq!((world.files().await.len(), world.rows().await), (1, before.clone()));
    publisher.replace(cut_off).await.expect_err("the files that it replaces are gone");
    assert_eq!((world.files().await.len(), world.rows().await), (1, before));
}

#[tokio::test]
async fn large_files_and_tables_of_a_newer_run_are_left_alone() {
    let world = World::new().await;
    let older = world.publisher().await;
    for value in 0..3 {
        world.append(&[(value * MINUTE, value)]).await;
    }
    let before = world.files().await;
    let mut tidy = world.tidy();
    tidy.saw(BTreeSet::from([EventTime(0)]));
    let mut rewrite = tidy.next(EventTime(HOUR)).expect("hour 0");
    let small_bytes = std::mem::replace(&mut rewrite.options.small_bytes, 1);
    rewrite.clone().run(&older).await;
    assert_eq!(world.files().await, before, "they are large");
    rewrite.options.small_bytes = small_bytes;
    let newer = world.publisher().await;
    rewrite.clone().run(&older).await;
    assert_eq!(world.files().await, before, "a newer run owns the table");
    rewrite.run(&newer).await;
    assert_eq!(world.files().await.len(), 1);
}

#[tokio::test]
async fn a_complete_partition_is_rewritten_again_only_when_many_rows_have_trickled_in() {
    let world = World::new().await;
    let mut tidy = world.tidy();
    let rows = world.batch(&[(10, 1), (HOUR - 1, 2), (HOUR, 3), (5, 4)]);
    assert_eq!(tidy.partitions_of(&[rows]), BTreeSet::from([EventTime(0), EventTime(HOUR)]));
    let hour = BTreeSet::from([EventTime(0)]);
    tidy.saw(hour.clone());
    assert!(tidy.next(EventTime(HOUR - 1)).is_none());
    assert!(tidy.next(EventTime(HOUR)).is_some());
    for _ in 1..AGAIN_TIMES {
        tidy.saw(hour.clone());
        assert!(tidy.next(EventTime(HOUR)).is_none());
    }
    tidy.saw(hour);
    assert!(tidy.next(EventTime(HOUR)).is_some());
}
