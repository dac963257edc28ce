//! Tables as others leave them: with other schemas, formats, deletes, and in odd places.

use arrow::array::{Int32Array, UInt32Array};
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, ManifestListWriter, ManifestWriterBuilder,
    NestedField, PrimitiveType, SnapshotReference, SnapshotRetention, Struct, Type,
};

use super::super::catalog::MetadataChange;
use super::*;

async fn update(catalog: &Catalog, updates: Vec<TableUpdate>) {
    let table = reload(catalog).await;
    let change = MetadataChange { updates, requirements: Vec::new() };
    catalog.backend.commit(&table, &change).await.expect("updated");
}

fn field(id: i32, name: &str, kind: PrimitiveType) -> Arc<NestedField> {
    Arc::new(NestedField::optional(id, name, Type::Primitive(kind)))
}

#[tokio::test]
async fn renamed_added_and_widened_columns_are_right_in_old_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let fields =
        [("old", DataType::Int32), ("dropped", DataType::Int32)].map(|(name, kind)| Field::new(name, kind, true));
    let first = Arc::new(Schema::new(fields.to_vec()));
    let (partitions, sort) = (Vec::new(), Vec::new());
    let table_spec = TableSpec { schema: first.clone(), partitions, sort, properties: BTreeMap::new() };
    let table = catalog.create(&name(), &table_spec).await.expect("a table");
    let numbers = || Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
    let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
    writer.write(&RecordBatch::try_new(first, vec![numbers(), numbers()]).expect("rows")).await.expect("written");
    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = writer.finish().await.expect("finished");
    catalog.commit(&change).await.expect("appended");

    // `dropped` takes a new id: a column of that name, but another column.
    let fields = [field(1, "new", PrimitiveType::Long), field(3, "dropped", PrimitiveType::String)];
    let schema = iceberg::spec::Schema::builder().with_schema_id(1).with_fields(fields).build().expect("a schema");
    update(&catalog, vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }]).await;
    let table = reload(&catalog).await;
    let files = plan_files(&table, None, &ScanFilter::default()).await.expect("planned");
    let rows = read(&table, &files[0], &["dropped", "new"]).await;
    let expected: [(&str, ArrayRef); 2] = [
        ("dropped", Arc::new(StringArray::from(vec![None::<&str>, None]))),
        ("new", Arc::new(Int64Array::from(vec![Some(1), None]))),
    ];
    let expected = expected.map(|(name, array)| (name, array, true));
    assert_eq!(rows, [RecordBatch::try_from_iter_with_nullable(expected).expect("rows")]);
}

#[tokio::test]
async fn a_timestamp_without_a_zone_reads_as_utc_and_stays_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0] = Field::new("t", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), true);
    let without = TableSpec { schema: Arc::new(Schema::new(fields)), ..spec(vec![hour_of("t")]) };
    catalog.create(&name(), &without).await.expect("a table");
    append(&catalog, &[(Some(HOUR + 1), None, 1), (Some(5), None, 2)]).await;
    let table = reload(&catalog).await;
    let kept = table.metadata().current_schema().field_by_name("t").expect("a column");
    assert_eq!(*kept.field_type, Type::Primitive(PrimitiveType::Timestamp));
    assert_eq!(rows_of(&table).await, [(Some(5), None, 2), (Some(HOUR + 1), None, 1)]);
    let time = ("t".to_owned(), EventTime(HOUR)..EventTime(2 * HOUR));
    let filter = ScanFilter { time: Some(time.clone()), equals: Vec::new() };
    let files = plan_files(&table, None, &filter).await.expect("planned");
    assert_eq!(files.len(), 1);
    let rows = read_file(&table, &files[0], &["t".to_owned()], Some(&time)).await.expect("opened");
    let rows: Vec<RecordBatch> = rows.try_collect().await.expect("read");
    assert_eq!(rows[0].schema().field(0).data_type(), &timestamp_type());
    assert_eq!(rows[0].num_rows(), 1);
}

#[tokio::test]
async fn format_3_is_refused_for_reading_and_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    by_hour(&catalog).await;
    update(&catalog, vec![TableUpdate::UpgradeFormatVersion { format_version: FormatVersion::V3 }]).await;
    let table = reload(&catalog).await;
    let error = plan_files(&table, None, &ScanFilter::default()).await.expect_err("format 3").to_string();
    assert_eq!(error, "table marts.hits has format v3; only formats 1 and 2 are supported: rewrite it as format 2");
    assert!(FileWriter::new(&table, WriteOptions::default()).is_err());
    let error = catalog.commit(&Change::nothing(&table)).await.expect_err("format 3");
    assert!(matches!(error, CommitError::Rejected { .. }), "{error}");
}

/// A snapshot with one position delete file, as other engines write them.
async fn add_delete_file(catalog: &Catalog) {
    let table = reload(catalog).await;
    let (metadata, io) = (table.metadata(), table.inner.file_io());
    let id = 77;
    let location = |file: &str| format!("{}/metadata/{file}", table.location());
    let spec = metadata.default_partition_spec().as_ref().clone();
    let output = io.new_output(location("deletes.avro")).expect("an output");
    let builder = ManifestWriterBuilder::new(output, Some(id), metadata.current_schema().clone(), spec);
    let mut manifest = builder.build_v2_deletes();
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(location("deletes.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(1)
        .file_size_in_bytes(1)
        .build();
    manifest.add_file(file.expect("an entry"), -1).expect("added");
    let manifest = manifest.write_manifest_file().await.expect("written");
    let list = io.new_output(location("list.avro")).expect("an output").writer().await.expect("a writer");
    let (parent, sequence) = (metadata.current_snapshot_id(), metadata.next_sequence_number());
    let mut list = ManifestListWriter::v2(list, id, parent, sequence);
    list.add_manifests([manifest].into_iter()).expect("added");
    list.close().await.expect("written");
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(metadata.last_updated_ms())
        .with_manifest_list(location("list.avro"))
        .with_summary(iceberg::spec::Summary {
            operation: iceberg::spec::Operation::Delete,
            additional_properties: std::collections::HashMap::new(),
        })
        .with_schema_id(0)
        .build();
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let main = TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference };
    update(catalog, vec![TableUpdate::AddSnapshot { snapshot }, main]).await;
}

#[tokio::test]
async fn a_table_with_delete_files_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    catalog.create(&name(), &spec(Vec::new())).await.expect("a table");
    append(&catalog, &[(Some(0), None, 1)]).await;
    add_delete_file(&catalog).await;
    let table = reload(&catalog).await;
    let error = plan_files(&table, None, &ScanFilter::default()).await.expect_err("deletes").to_string();
    assert!(error.contains("has delete files") && error.contains("rewrite_data_files"), "{error}");
    let error = catalog.commit(&Change::nothing(&table)).await.expect_err("deletes").to_string();
    assert!(error.contains("has delete files"), "{error}");
}

#[tokio::test]
async fn catalogs_and_warehouses_may_lie_in_folders_of_any_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join("ä %20?#b");
    std::fs::create_dir(&odd).expect("created");
    let catalog = open(&odd).await;
    by_hour(&catalog).await;
    append(&catalog, &[(Some(0), None, 1)]).await;
    assert!(odd.join("catalog/catalog.db").exists());
    assert_eq!(values_of(&reload(&open(&odd).await).await).await, [1]);
}

#[tokio::test]
async fn integers_of_other_widths_fit_if_their_values_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let table = catalog.create(&name(), &spec(Vec::new())).await.expect("a table");
    let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
    let narrow = UInt32Array::from(vec![u32::MAX]);
    let rows = RecordBatch::try_from_iter([("v", Arc::new(narrow) as ArrayRef)]).expect("rows");
    writer.write(&rows).await.expect("it fits BIGINT");
    let text = RecordBatch::try_from_iter([("v", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).expect("rows");
    let error = writer.write(&text).await.expect_err("no number").to_string();
    assert!(error.contains("table marts.hits"), "{error}");
}
