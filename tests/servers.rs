//! The servers and readers that other tests trust: each is what those tests take it for.

use crate::support::kafka::{self, Message, Producer};
use crate::support::project::{Catalog, Project};
use crate::support::{Value, postgres_address, python};

fn message(partition: i32, value: &str, timestamp_ms: i64) -> Message {
    let value = Some(value.as_bytes().to_vec());
    Message { partition, key: Some(b"k".to_vec()), value, timestamp_ms: Some(timestamp_ms) }
}

#[test]
fn the_broker_keeps_partition_order_and_timestamps() {
    let topic = kafka::create_topic("order", 3);
    kafka::produce(&topic, &[message(2, "b", 2_000), message(0, "a", 1_356_998_400_000), message(2, "c", 1_000)]);
    let found: Vec<_> = kafka::read(&topic)
        .into_iter()
        .map(|record| (record.partition, record.offset, record.timestamp_ms, record.value.expect("has a value")))
        .collect();
    let expected = [
        (0, 0, Some(1_356_998_400_000), b"a".to_vec()),
        (2, 0, Some(2_000), b"b".to_vec()),
        (2, 1, Some(1_000), b"c".to_vec()),
    ];
    assert_eq!(found, expected);
    assert_eq!(kafka::ends(&topic), [1, 0, 2]);
}

#[test]
fn aborted_records_are_hidden_and_leave_gaps_in_offsets() {
    let topic = kafka::create_topic("aborted", 1);
    let producer = Producer::transactional(&topic);
    producer.begin();
    producer.send(&topic, &[message(0, "kept", 1)]);
    producer.commit();
    producer.begin();
    producer.send(&topic, &[message(0, "dropped", 2)]);
    producer.abort();
    producer.begin();
    producer.send(&topic, &[message(0, "kept too", 3)]);
    producer.commit();
    let offsets: Vec<i64> = kafka::read(&topic).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 4]);
    assert_eq!(kafka::ends(&topic), [6]);
}

#[test]
fn a_topic_grows_and_is_trimmed() {
    let topic = kafka::create_topic("grown", 1);
    kafka::produce(&topic, &[message(0, "a", 1), message(0, "b", 2)]);
    kafka::add_partitions(&topic, 2);
    kafka::trim(&topic, 0, 1);
    let offsets: Vec<(i32, i64)> = kafka::read(&topic).iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(offsets, [(0, 1)]);
    kafka::delete_topic(&topic);
}

#[test]
fn both_readers_agree_on_a_table_of_every_catalog() {
    let mut catalogs = vec![Catalog::Sql, Catalog::Rest, Catalog::GuardedOnS3];
    catalogs.extend(postgres_address().map(|_| Catalog::PostgresOnS3));
    for catalog in catalogs {
        let project = Project::on_kafka(catalog, "");
        let table = format!("{}.sample", project.namespace());
        python::script_output("tests/readers/write_sample.py", &[&project.reader_catalog(), &table]);

        let [read, missing] = python::pyiceberg(&project, [&table, "nothing.here"]);
        let read = read.expect("table was written");
        let expected = [
            vec![Value::Null, Value::Timestamp(1_800_000_007), "y".into(), (-0.0).into()],
            vec![1.into(), Value::Timestamp(-1_800_000_000), "x".into(), 1.5.into()],
            vec![2.into(), Value::Timestamp(1_800_000_000), Value::Null, Value::Null],
        ];
        assert_eq!(read.rows(), expected);
        assert_eq!(read.partitioning, ["hour(ts)", "name"]);
        assert_eq!(read.files.len(), 3);
        assert_eq!(read.newest("added-records"), Some(3));
        assert_eq!(read.problems, Vec::<String>::new());
        let from_duckdb = python::duckdb(&project, &format!("SELECT * FROM {{{table}}} ORDER BY id NULLS FIRST"));
        assert_eq!(from_duckdb, expected);
        assert!(missing.is_none());
    }
}
