//! What is written comes back, and only what is asked for.

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int32Array, ListArray, StructArray,
};
use arrow::buffer::OffsetBuffer;

use super::*;
use crate::event::{ColumnType, FieldType};

fn field(name: &str, column_type: ColumnType) -> FieldType {
    FieldType { name: name.into(), column_type }
}

fn all_types() -> Vec<FieldType> {
    let inner = ColumnType::Struct(vec![field("a", ColumnType::Text), field("b", ColumnType::Timestamp)]);
    vec![
        field("boolean", ColumnType::Boolean),
        field("int", ColumnType::Int),
        field("bigint", ColumnType::BigInt),
        field("float", ColumnType::Float),
        field("double", ColumnType::Double),
        field("small", ColumnType::Decimal { precision: 9, scale: 2 }),
        field("medium", ColumnType::Decimal { precision: 18, scale: 0 }),
        field("large", ColumnType::Decimal { precision: 38, scale: 10 }),
        field("text", ColumnType::Text),
        field("bytes", ColumnType::Bytes),
        field("date", ColumnType::Date),
        field("time", ColumnType::Timestamp),
        field("uuid", ColumnType::Uuid),
        field("list", ColumnType::Array(Box::new(inner.clone()))),
        field("struct", inner),
    ]
}

fn decimal(precision: u8, scale: i8, values: [Option<i128>; 3]) -> ArrayRef {
    let array = Decimal128Array::from(values.to_vec());
    Arc::new(array.with_precision_and_scale(precision, scale).expect("they fit"))
}

fn one_of_each() -> RecordBatch {
    let types = all_types();
    let fields: Vec<Field> =
        types.iter().map(|field| Field::new(&field.name, field.column_type.arrow(), true)).collect();
    let times = |values: Vec<Option<i64>>| {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone(TIMESTAMP_ZONE)) as ArrayRef
    };
    let DataType::Struct(inner) = fields[14].data_type() else { panic!("a struct") };
    let structs = |length: usize| {
        let text: StringArray = (0..length).map(|index| (index != 1).then(|| format!("s{index}"))).collect();
        let time = times((0..length as i64).map(|index| Some(index - 1)).collect());
        StructArray::new(inner.clone(), vec![Arc::new(text), time], None)
    };
    let DataType::List(item) = fields[13].data_type() else { panic!("a list") };
    let nulls = vec![true, false, true].into();
    let list = ListArray::new(item.clone(), OffsetBuffer::from_lengths([2, 0, 0]), Arc::new(structs(2)), Some(nulls));
    let uuids =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([7; 16]), None, Some([255; 16])].into_iter(), 16);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        Arc::new(Float32Array::from(vec![Some(-0.0), None, Some(f32::NAN)])),
        Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), None, Some(1e300)])),
        decimal(9, 2, [Some(-999_999_999), None, Some(1)]),
        decimal(18, 0, [Some(-1), None, Some(999_999_999_999_999_999)]),
        decimal(38, 10, [Some(-(10_i128.pow(38) - 1)), None, Some(42)]),
        Arc::new(StringArray::from(vec![Some(""), None, Some("ein längerer Text als ein Bound")])),
        Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None, Some(&[])])),
        Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(20_000)])),
        times(vec![Some(-62_135_596_800_000_000), None, Some(253_402_300_799_999_999)]),
        Arc::new(uuids.expect("sixteen bytes each")),
        Arc::new(list),
        Arc::new(structs(3)),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of the schema")
}

#[tokio::test]
async fn every_column_type_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let rows = one_of_each();
    let table_spec = TableSpec { schema: rows.schema(), ..spec(Vec::new()) };
    let table = catalog.create(&name(), &TableSpec { sort: vec!["time".into()], ..table_spec }).await.expect("a table");
    let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
    writer.write(&rows).await.expect("written");
    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = writer.finish().await.expect("finished");
    let text = serde_json::to_string(&change).expect("a change can be stored");
    assert_eq!(serde_json::from_str::<Change>(&text).expect("and read"), change);
    catalog.commit(&change).await.expect("appended");
    let table = reload(&catalog).await;
    let files = plan_files(&table, None, &ScanFilter::default()).await.expect("planned");
    let columns: Vec<String> = all_types().into_iter().map(|field| field.name).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    assert_eq!(read(&table, &files[0], &columns).await, [rows]);
    assert_eq!(read(&table, &files[0], &[]).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[tokio::test]
async fn hours_before_1970_are_partitions_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    by_hour(&catalog).await;
    let rows: Vec<Row> = (-3..3).map(|hour| (Some(hour * HOUR + 1), None, hour)).chain([(Some(-1), None, 7)]).collect();
    append(&catalog, &rows).await;
    let table = reload(&catalog).await;
    let filter = ScanFilter { time: Some(("t".into(), EventTime(-HOUR)..EventTime(0))), equals: Vec::new() };
    let files = plan_files(&table, None, &filter).await.expect("planned");
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].partition, [("t_hour".to_owned(), Some("1969-12-31-23".to_owned()))]);
    assert_eq!((files[0].lower, files[0].upper), (Some(EventTime(-HOUR + 1)), Some(EventTime(-1))));
    let mut change = Change { operation: Operation::Overwrite, ..Change::nothing(&table) };
    change.remove = hours(-2, 0);
    catalog.commit(&change).await.expect("deleted");
    assert_eq!(values_of(&reload(&catalog).await).await, [-3, 0, 1, 2]);
}

#[tokio::test]
async fn a_time_range_reads_its_rows_and_only_files_and_row_groups_that_may_hold_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let table = catalog.create(&name(), &spec(Vec::new())).await.expect("a table");
    for part in 0..3 {
        let rows: Vec<Row> = (0..1_000).map(|row| (Some(part * 1_000 + row), None, row)).collect();
        append(&catalog, &rows).await;
    }
    append(&catalog, &[(None, None, 1)]).await;
    let now = reload(&catalog).await;
    assert_eq!(table.current_snapshot_id(), None, "a table is the state that it was loaded in");
    let time = ("t".to_owned(), EventTime(1_500)..EventTime(2_100));
    let filter = ScanFilter { time: Some(time.clone()), equals: Vec::new() };
    let files = plan_files(&now, None, &filter).await.expect("planned");
    assert_eq!(
        files.iter().map(|file| file.lower).collect::<Vec<_>>(),
        [Some(EventTime(1_000)), Some(EventTime(2_000))]
    );
    let mut count = 0;
    for file in &files {
        let rows = read_file(&now, file, &["v".to_owned()], Some(&time)).await.expect("opened");
        let rows: Vec<RecordBatch> = rows.try_collect().await.expect("read");
        count += rows.iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    assert_eq!(count, 600);
    let all = ScanFilter { time: Some(("t".into(), EventTime::MIN..EventTime::MAX)), equals: Vec::new() };
    assert_eq!(plan_files(&now, None, &all).await.expect("planned").len(), 4);
    let first = *now.ancestors().last().expect("a snapshot");
    assert_eq!(plan_files(&now, Some(first), &all).await.expect("planned").len(), 1);
    assert_eq!(plan_files(&table, None, &all).await.expect("planned"), []);
}

#[tokio::test]
async fn files_roll_at_their_target_size_and_few_are_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let table = by_hour(&catalog).await;
    let options = WriteOptions { target_bytes: 20_000, open_files_max: 2, ..WriteOptions::default() };
    let mut writer = FileWriter::new(&table, options).expect("a writer");
    for round in 0..20_i64 {
        let rows =
            (0..2_000).map(|row| (Some((row % 3) * HOUR + round), None, (row * 7_919 + round * 104_729) % 1_000_003));
        writer.write(&batch(&rows.collect::<Vec<Row>>())).await.expect("written");
    }
    let staged = writer.finish().await.expect("finished");
    assert_eq!(staged.iter().map(|file| file.record_count).sum::<u64>(), 40_000);
    assert!(staged.len() > 3, "{}", staged.len());
    assert!(staged.iter().all(|file| {
        let (lower, upper) = file.bounds("t").expect("bounds");
        lower.0.div_euclid(HOUR) == upper.0.div_euclid(HOUR)
    }));
}

#[tokio::test]
async fn rows_that_do_not_fit_the_table_are_refused_by_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0].set_nullable(false);
    let required = TableSpec { schema: Arc::new(Schema::new(fields)), ..spec(Vec::new()) };
    let table = catalog.create(&name(), &required).await.expect("a table");
    let mut writer = FileWriter::new(&table, WriteOptions::default()).expect("a writer");
    let extra = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
    let error = writer
        .write(&RecordBatch::try_new(Arc::new(extra), vec![Arc::new(Int64Array::from(vec![1]))]).expect("rows"))
        .await;
    assert_eq!(
        error.expect_err("no such column").to_string(),
        "table marts.hits, column `x`: the rows have it and the table doesn't; add it to the table"
    );
    let without = batch(&[(Some(0), None, 1)]).project(&[2]).expect("a column");
    let error = writer.write(&without).await.expect_err("t is required").to_string();
    assert!(error.contains("column `t`: it is required"), "{error}");
    let error = writer.write(&batch(&[(None, None, 1)])).await.expect_err("t is null").to_string();
    assert!(error.contains("bring rows to its columns"), "{error}");
    writer
        .write(&batch(&[(Some(0), None, 1)]).project(&[2, 0]).expect("columns"))
        .await
        .expect("any order, null for the rest");
    assert_eq!(writer.finish().await.expect("finished").len(), 1);
}
