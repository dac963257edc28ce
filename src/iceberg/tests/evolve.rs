//! Widening: columns and types change, rows don't.

use arrow::array::{Float64Array, Int32Array};
use arrow::datatypes::Float64Type;

use super::*;

fn spec_of(fields: &[(&str, DataType)]) -> TableSpec {
    let fields = fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    TableSpec { schema, partitions: vec![hour_of("t")], sort: Vec::new(), properties: BTreeMap::new() }
}

fn narrow() -> TableSpec {
    spec_of(&[("t", timestamp_type()), ("n", DataType::Int32), ("d", DataType::Decimal128(4, 2))])
}

fn wide() -> TableSpec {
    let inner = DataType::Struct(vec![Field::new("a", DataType::Utf8, true)].into());
    spec_of(&[
        ("new", DataType::Float64),
        ("t", timestamp_type()),
        ("n", DataType::Int64),
        ("d", DataType::Decimal128(20, 2)),
        ("inner", inner),
    ])
}

async fn append_rows(catalog: &Catalog, columns: Vec<(&str, ArrayRef)>) {
    let table = reload(catalog).await;
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
    writer.write(&batch).await.expect("written");
    let add = writer.finish().await.expect("finished");
    let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
    catalog.commit(&change).await.expect("appended");
}

fn times(hour: i64) -> (&'static str, ArrayRef) {
    let times = TimestampMicrosecondArray::from(vec![hour * HOUR]).with_timezone(TIMESTAMP_ZONE);
    ("t", Arc::new(times))
}

#[tokio::test]
async fn rows_from_before_and_behind_a_widening_are_read_as_one_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    catalog.create(&name(), &narrow()).await.expect("a table");
    append_rows(&catalog, vec![times(0), ("n", Arc::new(Int32Array::from(vec![7])))]).await;
    assert!(reload(&catalog).await.difference(&wide()).is_some());

    let properties = BTreeMap::from([("said".to_owned(), "with it".to_owned())]);
    let changes = catalog.evolve(&name(), &wide(), &properties).await.expect("widened");
    assert_eq!(
        changes,
        [
            "column `new` added (Float64)",
            "column `n`: Int32 becomes Int64",
            "column `d`: Decimal128(4, 2) becomes Decimal128(20, 2)",
            "column `inner` added (Struct(\"a\": Utf8))",
        ]
    );
    let table = reload(&catalog).await;
    assert_eq!(table.difference(&wide()), None);
    assert_eq!(table.properties().get("said").map(String::as_str), Some("with it"));
    let again = catalog.evolve(&name(), &wide(), &properties).await.expect("nothing to do");
    assert_eq!(again, Vec::<String>::new());

    let n = Arc::new(Int64Array::from(vec![i64::MAX]));
    append_rows(&catalog, vec![times(1), ("n", n), ("new", Arc::new(Float64Array::from(vec![0.5])))]).await;
    let table = reload(&catalog).await;
    let mut rows = Vec::new();
    for file in plan_files(&table, None, &ScanFilter::default()).await.expect("planned") {
        for batch in read(&table, &file, &["n", "new", "inner"]).await {
            let n = batch.column(0).as_primitive::<Int64Type>().value(0);
            let new = batch.column(1).as_primitive::<Float64Type>();
            rows.push((n, new.is_valid(0).then(|| new.value(0)), batch.column(2).null_count()));
        }
    }
    rows.sort_by_key(|row| row.0);
    assert_eq!(rows, [(7, None, 1), (i64::MAX, Some(0.5), 1)]);
    // Manifests of files from before are rewritten too.
    let change = Change { operation: Operation::Overwrite, remove: hours(0, 1), ..Change::nothing(&table) };
    assert_eq!(catalog.commit(&change).await.expect("removed").removed_records, 1);
}

#[tokio::test]
async fn what_would_change_rows_is_refused_column_by_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let table = catalog.create(&name(), &wide()).await.expect("a table");
    let other = spec_of(&[
        ("t", DataType::Utf8),
        ("n", DataType::Int32),
        ("d", DataType::Decimal128(20, 3)),
        ("new", DataType::Float64),
    ]);
    assert_eq!(
        table.evolution(&other).expect_err("nothing of it can be"),
        "it is partitioned by its column `t`, which is Timestamp(µs, \"+00:00\"), not Utf8; its column `n` is Int64, which \
         can't become Int32; its column `d` is Decimal128(20, 2), which can't become Decimal128(20, 3)"
    );
    let other = TableSpec { partitions: Vec::new(), ..wide() };
    let refused = table.evolution(&other).expect_err("another partitioning");
    assert_eq!(refused, "it is partitioned by hour(t), not by nothing");
    let error = catalog.evolve(&name(), &other, &BTreeMap::new()).await.expect_err("nor by the catalog");
    assert!(matches!(error, CommitError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_table_that_somebody_has_claimed_meanwhile_is_not_widened() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let table = catalog.create(&name(), &narrow()).await.expect("a table");
    let evolution = table.evolution(&wide()).expect("it can be widened");
    catalog.commit(&Change::nothing(&table)).await.expect("a claim is a snapshot");
    let error = catalog.evolve_on(&table, &evolution, &BTreeMap::new()).await.expect_err("the table has moved on");
    assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    assert!(reload(&catalog).await.difference(&wide()).is_some());
}
