//! Rejects of a stream that takes keys and headers, decoded again: they come back with both, and those of which nobody kept
//! them stay.

use crate::model::Value;
use crate::support::kafka::{self, Message, Producer};
use crate::support::project::{Catalog, Project};
use crate::support::python::duckdb;

const JOB: &str = "jobs/readings.sql";
const SIDES: &str = "device TEXT FROM METADATA 'key', trace BYTES FROM METADATA 'header:trace', ";

/// The job over a topic, its stream with these columns beside the time.
fn job(project: &Project, topic: &str, columns: &str) {
    let namespace = project.namespace();
    project.write(
        JOB,
        format!(
            "CREATE STREAM readings ({columns}, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t)
             LIVE FROM KAFKA '{topic}' FORMAT JSON HISTORY FROM ICEBERG '{namespace}.readings_raw';
             INSERT INTO ICEBERG '{namespace}.readings' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, count(*) AS n FROM TUMBLE(readings, t, INTERVAL '1 minute')
             GROUP BY window_start, window_end;"
        ),
    );
}

/// A reading that INT doesn't hold, with these beside it.
fn send(topic: &str, minute: u32, key: Option<&str>, headers: &[(&str, &str)]) {
    let value = format!(r#"{{"x":3000000000,"t":"2026-01-01T00:{minute:02}:00Z"}}"#);
    let key = key.map(|key| key.as_bytes().to_vec());
    let message = Message { partition: 0, key, value: Some(value.into_bytes()), timestamp_ms: None };
    let producer = Producer::new(&[]);
    producer.send_with_headers(topic, &message, headers);
    producer.flush();
}

fn text(text: &str) -> Value {
    Value::from(text)
}

#[test]
fn rejects_come_back_with_their_keys_and_headers() {
    let topic = kafka::create_topic("readings", 1);
    let project = Project::on_kafka(Catalog::Sql, "");
    let archive = |arguments: &[&str]| project.kappa(&[&["archive", JOB], arguments].concat()).ok().stdout;
    job(&project, &topic, &format!("{SIDES}x INT"));
    send(&topic, 0, Some("a"), &[("trace", "old"), ("other", "o"), ("trace", "t0")]);
    send(&topic, 1, None, &[("trace", "")]);
    send(&topic, 2, Some(""), &[]);
    archive(&["--until", "end"]);
    let namespace = project.namespace();
    let kept = format!(
        "SELECT _offset, metadata[1].name, decode(metadata[1].value), metadata[2].name, decode(metadata[2].value) \
         FROM {{{namespace}.readings_raw_rejects}} ORDER BY _offset"
    );
    let row = |offset: i64, key: Value, trace: Value| [offset.into(), text("key"), key, text("header:trace"), trace];
    let rejects = [row(0, text("a"), text("t0")), row(1, Value::Null, text("")), row(2, text(""), Value::Null)];
    assert_eq!(duckdb(&project, &kept), rejects);

    job(&project, &topic, &format!("{SIDES}x BIGINT"));
    archive(&["--until", "end", "--evolve"]);
    let taken = archive(&["--rejects"]);
    assert!(taken.contains("3 records can be read now"), "{taken}");
    let history =
        format!("SELECT _offset, device, decode(trace), x FROM {{{namespace}.readings_raw}} ORDER BY _offset");
    let x = || Value::from(3_000_000_000_i64);
    let rows = [
        [0.into(), text("a"), text("t0"), x()],
        [1.into(), Value::Null, text(""), x()],
        [2.into(), text(""), Value::Null, x()],
    ];
    assert_eq!(duckdb(&project, &history), rows);
    assert!(duckdb(&project, &kept).is_empty());
}

#[test]
fn a_reject_from_before_the_key_was_declared_stays_one() {
    let topic = kafka::create_topic("readings", 1);
    let project = Project::on_kafka(Catalog::Sql, "");
    let archive = |arguments: &[&str]| project.kappa(&[&["archive", JOB], arguments].concat()).ok().stdout;
    job(&project, &topic, "x INT");
    send(&topic, 0, Some("a"), &[]);
    archive(&["--until", "end"]);
    job(&project, &topic, &format!("{SIDES}x INT"));
    archive(&["--until", "end", "--evolve"]);
    send(&topic, 1, Some("b"), &[]);
    archive(&["--until", "end"]);
    job(&project, &topic, &format!("{SIDES}x BIGINT"));
    archive(&["--until", "end", "--evolve"]);
    let taken = archive(&["--rejects"]).replace(project.namespace(), "NAMESPACE");
    insta::assert_snapshot!(taken, @r"
    NAMESPACE.readings_raw_rejects: 2 records, 1 record can be read now and went to NAMESPACE.readings_raw: event times 2026-01-01T00:01:00Z to 2026-01-01T00:01:00Z
      bad_value: 2 before, 1 left
      kept without a key or header that the stream takes now, so not decoded: 1 record
      windows of these times change: `kappa diff` shows them, `kappa backfill run` publishes them anew
    ");
    let history = format!("SELECT _offset, device FROM {{{}.readings_raw}}", project.namespace());
    assert_eq!(duckdb(&project, &history), [[1.into(), text("b")]]);
}
