//! A result and its table of late records, on any catalog: what tests of publishing publish to.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use tempfile::TempDir;

use super::{Publisher, Target, stage, take};
use crate::checkpoints::{CheckpointStore, Claimant};
use crate::event::{EventTime, PartitionField, TIMESTAMP_ZONE, Transform, timestamp_type};
use crate::iceberg::testing::World;
use crate::iceberg::{Catalog, Change, Operation, ScanFilter, Table, TableSpec, plan_files, read_file};
use crate::store::{Place, Stores, testing};
use crate::time::clock::{Clock, SystemClock};
use crate::vitals::Vitals;

/// Time and value.
pub(super) type Row = (i64, i64);

/// Tables, and where the checkpoints of the one who writes to them are.
pub(super) struct Sink {
    pub(super) world: World,
    pub(super) result: Target,
    pub(super) late: Target,
    checkpoints: Place,
    /// Goes with them.
    _folder: TempDir,
}

impl Sink {
    /// On SQLite and in folders.
    pub(super) async fn embedded() -> Sink {
        Sink::on(World::embedded().await)
    }

    /// On every catalog that there is; where tables are in a bucket, checkpoints are too.
    pub(super) async fn everywhere() -> Vec<Sink> {
        World::everywhere().await.into_iter().map(Sink::on).collect()
    }

    fn on(world: World) -> Sink {
        let folder = tempfile::tempdir().expect("a folder");
        let in_folder = || Stores::default().place("state", folder.path()).expect("a folder");
        let in_bucket = if world.folder().is_none() { testing::place() } else { None };
        let target = |name, owned| Target { table: world.table(name), spec: spec(), owned, evolve: false };
        let (result, late) = (target("hits", true), target("hits_late", false));
        Sink { result, late, checkpoints: in_bucket.unwrap_or_else(in_folder), world, _folder: folder }
    }

    /// A new run, which fences older ones.
    pub(super) async fn publisher(&self) -> Publisher {
        self.publisher_over(&self.world).await
    }

    /// As [`Sink::publisher`], over another way to the same catalog.
    pub(super) async fn publisher_over(&self, catalog: &Catalog) -> Publisher {
        let store = CheckpointStore::at(&self.checkpoints, "job");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let (claimant, vitals) = (Claimant::new(clock.clone()), Vitals::new(&clock));
        let targets = [self.result.clone(), self.late.clone()];
        let taken = take(catalog, &store, &claimant, &targets, &vitals).await.expect("taken");
        taken.begin().await.expect("begun")
    }

    /// A table as it is now.
    pub(super) async fn load(&self, target: &Target) -> Table {
        self.world.load(&target.table).await.expect("answers").expect("is there")
    }

    /// Appends to the result, as somebody else.
    pub(super) async fn append(&self, rows: &[Row]) {
        let table = self.load(&self.result).await;
        let add = stage(&table, &self.result.spec.sort, vec![batch(rows)]).await.expect("staged");
        let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
        self.world.commit(&change).await.expect("appended");
    }

    /// Rows of each file of a table, in the files' order.
    pub(super) async fn files(&self, target: &Target) -> Vec<Vec<Row>> {
        let table = self.load(target).await;
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

    /// Rows of a table, sorted.
    pub(super) async fn rows(&self, target: &Target) -> Vec<Row> {
        let mut rows = self.files(target).await.concat();
        rows.sort_unstable();
        rows
    }
}

fn spec() -> TableSpec {
    let fields = vec![Field::new("t", timestamp_type(), true), Field::new("v", DataType::Int64, true)];
    TableSpec {
        schema: Arc::new(Schema::new(fields)),
        partitions: vec![PartitionField { column: "t".into(), transform: Transform::Hour }],
        sort: vec!["t".into(), "v".into()],
        properties: BTreeMap::new(),
    }
}

/// Rows of such a table.
pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0));
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone(TIMESTAMP_ZONE)), Arc::new(values)];
    RecordBatch::try_new(spec().schema, columns).expect("columns of the schema")
}
