//! What goes and what stays, on real tables in a folder; each step's plan by itself.

mod compaction;
mod expiry;
mod orphans;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use futures::stream::TryStreamExt;
use tempfile::TempDir;

use super::*;
use crate::checkpoints::{Generation, Manifest, ManifestId};
use crate::event::{PartitionField, TIMESTAMP_ZONE, Transform, timestamp_type};
use crate::iceberg::{
    CatalogConfig, Change, FileWriter, Operation, ScanFilter, StagedFile, TableSpec, WriteOptions, plan_files,
    read_file,
};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// A table in a folder of its own, by the hour of `t`.
struct World {
    folder: TempDir,
    catalog: Catalog,
    name: TableName,
}

fn schema() -> SchemaRef {
    let fields = vec![Field::new("t", timestamp_type(), false), Field::new("v", DataType::Int64, false)];
    Arc::new(Schema::new(fields))
}

/// Two days from now on, so that what was written is old; with ages of a day.
fn later(execute: bool) -> MaintainOptions {
    use crate::time::clock::{Clock, SystemClock};
    MaintainOptions {
        now: EventTime(SystemClock::start().now().0 + 2 * DAY),
        snapshot_age: Some(ORPHAN_AGE_MIN),
        retain_last: None,
        orphan_age: ORPHAN_AGE_MIN,
        execute,
    }
}

impl World {
    async fn new(properties: &[(&str, &str)]) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Catalog::open(&CatalogConfig::embedded(), folder.path()).await.expect("a catalog");
        let name = TableName::parse("marts.hits").expect("a name");
        let spec = TableSpec {
            schema: schema(),
            partitions: vec![PartitionField { column: "t".into(), transform: Transform::Hour }],
            sort: vec!["t".into(), "v".into()],
            properties: properties.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        catalog.create(&name, &spec).await.expect("a table");
        World { folder, catalog, name }
    }

    async fn table(&self) -> Table {
        self.catalog.load(&self.name).await.expect("an answer").expect("a table")
    }

    async fn stage(&self, hour: i64, values: &[i64]) -> Vec<StagedFile> {
        let times = TimestampMicrosecondArray::from_iter_values(values.iter().map(|value| hour * HOUR + value));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(times.with_timezone(TIMESTAMP_ZONE)), Arc::new(Int64Array::from(values.to_vec()))];
        let mut writer = FileWriter::new(&self.table().await, WriteOptions::default()).expect("a writer");
        writer.write(&RecordBatch::try_new(schema(), columns).expect("rows")).await.expect("written");
        writer.finish().await.expect("finished")
    }

    async fn append(&self, hour: i64, values: &[i64]) -> i64 {
        let add = self.stage(hour, values).await;
        let change = Change { operation: Operation::Append, add, ..Change::nothing(&self.table().await) };
        self.catalog.commit(&change).await.expect("appended").snapshot_id
    }

    async fn maintain(&self, held: &Held, options: &MaintainOptions) -> Result<Maintained, MaintainError> {
        maintain(&self.catalog, &self.name, held, options).await.map(|done| done.expect("the table is there"))
    }

    async fn done(&self, options: &MaintainOptions) -> Maintained {
        self.maintain(&Held::default(), options).await.expect("maintained")
    }

    /// The values in the table, sorted.
    async fn values(&self) -> Vec<i64> {
        let (table, mut values) = (self.table().await, Vec::new());
        for file in plan_files(&table, None, &ScanFilter::default()).await.expect("planned") {
            let rows = read_file(&table, &file, &["v".to_owned()], None).await.expect("opened");
            for batch in rows.try_collect::<Vec<_>>().await.expect("read") {
                values.extend(batch.column(0).as_primitive::<Int64Type>().values());
            }
        }
        values.sort_unstable();
        values
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("warehouse/marts/hits")
    }

    fn put(&self, path: &str) {
        let path = self.place().join(path);
        std::fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder");
        std::fs::write(path, "x").expect("written");
    }

    /// Every file of the project with its bytes, catalog and all, but for the marks of those who read the catalog.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        walk(self.folder.path(), &mut |path| {
            if !path.to_string_lossy().ends_with("-shm") {
                tree.insert(path.to_owned(), std::fs::read(path).expect("readable"));
            }
        });
        tree
    }

    /// Paths below the table's location.
    fn files(&self) -> BTreeSet<String> {
        let (mut files, place) = (BTreeSet::new(), self.place());
        walk(&place, &mut |path| {
            let below = path.strip_prefix(&place).expect("below it");
            files.insert(below.display().to_string());
        });
        files
    }
}

fn walk(folder: &Path, seen: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { walk(&path, seen) } else { seen(&path) }
    }
}

/// A checkpoint of the table's archive, with nothing in it.
fn checkpoint(number: u64) -> Manifest {
    Manifest::empty(ManifestId::new(Generation(1), number), "archive-marts.hits")
}

#[tokio::test]
async fn a_dry_run_says_what_is_done_then_and_touches_nothing() {
    let world = World::new(&[]).await;
    for value in 0..6 {
        world.append(value % 2, &[value]).await;
    }
    world.put("data/t_hour=1970-01-01-00/orphan.parquet");
    let before = world.tree();
    let planned = world.done(&later(false)).await;
    assert!(world.tree() == before, "something was touched");
    assert_eq!((planned.snapshots.gone.len(), planned.orphans.count, planned.files.partitions), (5, 6, 2));
    let done = world.done(&later(true)).await;
    assert_eq!(done, planned);
    assert_eq!(world.values().await, [0, 1, 2, 3, 4, 5]);
    // What was rewritten is needed until the snapshot before has been replaced for long enough.
    let again = world.done(&MaintainOptions { now: EventTime(later(true).now.0 - 2 * DAY), ..later(true) }).await;
    assert_eq!((again.snapshots.gone.len(), again.orphans.count, again.files.files), (0, 0, 0));
    let last = world.done(&later(true)).await;
    assert_eq!((last.snapshots.gone.len(), last.snapshots.stay, last.files.files), (1, 1, 0));
    assert_eq!(world.files().iter().filter(|file| file.ends_with(".parquet")).count(), 2);
    assert_eq!(world.values().await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_table_that_keeps_its_files_for_others_is_only_compacted() {
    let world = World::new(&[("gc.enabled", "false")]).await;
    for value in 0..3 {
        world.append(0, &[value]).await;
    }
    world.put("data/orphan.parquet");
    let done = world.done(&later(true)).await;
    assert_eq!((done.snapshots.gone.len(), done.orphans.count, done.files.files), (0, 0, 3));
    assert!(world.files().contains("data/orphan.parquet"));
    assert_eq!(world.values().await, [0, 1, 2]);
}

#[tokio::test]
async fn a_table_whose_writer_keeps_its_checkpoints_elsewhere_is_refused() {
    let world = World::new(&[("kappa.hits.generation", "0000000001")]).await;
    let refused = world.maintain(&Held::default(), &later(true)).await.expect_err("unknown");
    insta::assert_snapshot!(
        refused,
        @"marts.hits is written by hits, which has no checkpoints at state.location, so files that wait there for their commit can't be told from orphans; use the profile that hits runs with, or, if it is gone for good, remove the table's properties kappa.hits.*"
    );
    let held = Held { owners: BTreeSet::from(["hits".to_owned()]), ..Held::default() };
    assert!(world.maintain(&held, &later(true)).await.is_ok());
}

#[tokio::test]
async fn what_a_backfill_uses_stays_until_it_is_done() {
    let world = World::new(&[]).await;
    for value in 0..3 {
        world.append(0, &[value]).await;
    }
    let mark = world.table().await.mark_in_use().await.expect("marked");
    let staged = world.stage(5, &[9]).await;
    let staged = Path::new(staged[0].path.trim_start_matches("file://"));
    // It is renewed all the time, as it were.
    walk(&world.place().join("metadata/in-use"), &mut touch);
    let before = world.files();
    let done = world.done(&later(true)).await;
    assert_eq!((done.snapshots.gone.len(), done.orphans.count, done.files.files), (0, 0, 3));
    assert!(done.in_use.is_some() && world.files().is_superset(&before), "what it reads, and what it has written");
    // A mark that nobody renews is an orphan itself.
    let planned = world.done(&MaintainOptions { now: EventTime(later(true).now.0 + 3 * DAY), ..later(false) }).await;
    assert!(planned.in_use.is_none() && planned.snapshots.gone.len() == 3 && planned.orphans.count > 1);
    mark.release().await;
    let done = world.done(&later(true)).await;
    assert_eq!((done.in_use, done.snapshots.gone.len()), (None, 3));
    assert!(!staged.exists(), "it was given up");
    assert_eq!(world.values().await, [0, 1, 2]);
}

/// Makes a file two days younger than now.
fn touch(path: &Path) {
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_micros(later(true).now.0.unsigned_abs());
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(later)).expect("it takes a time");
}

#[tokio::test]
async fn there_may_be_no_such_table_or_nothing_in_it() {
    let world = World::new(&[]).await;
    assert_eq!(world.done(&later(true)).await.snapshots, Expired::default());
    world.catalog.drop(&world.name).await.expect("dropped");
    let none = maintain(&world.catalog, &world.name, &Held::default(), &later(true)).await;
    assert!(none.expect("an answer").is_none());
}
