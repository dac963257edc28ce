//! What the parts do together, on a SQLite catalog and a folder; commits also on every other catalog and in a bucket.

mod commits;
mod cuts;
mod evolve;
mod expiry;
mod foreign;
mod races;
mod rest;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use futures::stream::TryStreamExt;

use super::testing::World;
use super::*;
use crate::event::{EventTime, PartitionField, TIMESTAMP_ZONE, TableName, Transform, timestamp_type};
use crate::secret::Properties;
use crate::store::Stores;

/// A catalog and the name of its table.
trait Named {
    fn catalog(&self) -> &Catalog;
    fn name(&self) -> TableName;
}

impl Named for Catalog {
    fn catalog(&self) -> &Catalog {
        self
    }

    fn name(&self) -> TableName {
        name()
    }
}

impl Named for World {
    fn catalog(&self) -> &Catalog {
        self
    }

    fn name(&self) -> TableName {
        self.table("hits")
    }
}

const HOUR: i64 = 3_600_000_000;

/// Time, name, value: nulls in the first two.
type Row = (Option<i64>, Option<&'static str>, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("t", timestamp_type(), true),
        Field::new("name", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.0).collect();
    let names: StringArray = rows.iter().map(|row| row.1).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone(TIMESTAMP_ZONE)), Arc::new(names), Arc::new(values)];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema")
}

fn hour_of(column: &str) -> PartitionField {
    PartitionField { column: column.into(), transform: Transform::Hour }
}

fn name() -> TableName {
    TableName::parse("marts.hits").expect("a name")
}

fn config() -> CatalogConfig {
    CatalogConfig { uri: "sqlite:catalog/catalog.db".into(), ..CatalogConfig::embedded() }
}

async fn open(folder: &Path) -> Catalog {
    Catalog::open(&config(), folder).await.expect("a catalog")
}

fn spec(partitions: Vec<PartitionField>) -> TableSpec {
    TableSpec { schema: schema(), partitions, sort: vec!["t".into()], properties: BTreeMap::new() }
}

async fn by_hour(at: &impl Named) -> Table {
    at.catalog().create(&at.name(), &spec(vec![hour_of("t")])).await.expect("a table")
}

async fn reload(at: &impl Named) -> Table {
    at.catalog().load(&at.name()).await.expect("an answer").expect("a table")
}

async fn stage(table: &Table, rows: &[Row]) -> Vec<StagedFile> {
    let mut writer = FileWriter::new(table, WriteOptions::default()).expect("a writer");
    writer.write(&batch(rows)).await.expect("written");
    writer.finish().await.expect("finished")
}

async fn append(at: &impl Named, rows: &[Row]) -> Committed {
    let table = reload(at).await;
    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = stage(&table, rows).await;
    at.catalog().commit(&change).await.expect("appended")
}

fn hours(from: i64, to: i64) -> Remove {
    let (from, to) = (EventTime(from * HOUR), EventTime(to * HOUR));
    Remove::Partitions(vec![PartitionRange { field: hour_of("t"), from, to }])
}

async fn read(table: &Table, file: &ScanFile, columns: &[&str]) -> Vec<RecordBatch> {
    let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let rows = read_file(table, file, &columns, None).await.expect("opened");
    rows.try_collect().await.expect("read")
}

/// All rows of the newest snapshot, sorted.
async fn rows_of(table: &Table) -> Vec<(Option<i64>, Option<String>, i64)> {
    let mut rows = Vec::new();
    for file in plan_files(table, None, &ScanFilter::default()).await.expect("planned") {
        for batch in read(table, &file, &["t", "name", "v"]).await {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let names = batch.column(1).as_string::<i32>();
            let values = batch.column(2).as_primitive::<Int64Type>();
            rows.extend((0..batch.num_rows()).map(|row| {
                let name = names.is_valid(row).then(|| names.value(row).to_owned());
                (times.is_valid(row).then(|| times.value(row)), name, values.value(row))
            }));
        }
    }
    rows.sort();
    rows
}

async fn values_of(table: &Table) -> Vec<i64> {
    let mut values: Vec<i64> = rows_of(table).await.into_iter().map(|row| row.2).collect();
    values.sort_unstable();
    values
}
