//! Real input: every flight of New York in 2013, live, archived and as a backfill, against DuckDB over the CSV file.

use serde::Deserialize;

use crate::model::{self, Cell, Value};
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::{duckdb, script_output, sound_tables};

const JOB: &str = "jobs/flight_delays.sql";
const FLIGHTS: usize = 336_776;
/// Flights without a departure.
const CANCELLED: i64 = 8_255;

#[derive(Deserialize)]
struct Sent {
    partition: i32,
    key: String,
    timestamp_ms: i64,
    value: String,
}

#[test]
fn hourly_delays_of_2013_equal_duckdb_live_and_as_a_backfill() {
    let topic = kafka::create_topic("flights", 4);
    kafka::produce(&topic, &messages());
    let project = Project::on_kafka(Catalog::Sql, "");
    let job = include_str!("../../jobs/flight_delays.sql");
    assert!(job.contains("'flights'"), "the job names its topic");
    project.write(JOB, job.replace("'flights'", &format!("'{topic}'")));

    project.kappa(&["archive", JOB, "--until", "end"]).ok();
    project.kappa(&["run", JOB, "--until", "end", "--drain"]).ok();
    let [result] = sound_tables(&project, ["marts.flight_delays"]);
    let live = result.rows();
    assert_eq!(model::differences(&expected(), &live, 3), Vec::<String>::new());
    assert_eq!(result.partitioning, ["month(window_start)"]);
    assert_eq!(result.newest("kappa.accepted"), Some(i64::try_from(FLIGHTS).expect("is small") - CANCELLED));

    project.kappa(&["backfill", "run", JOB, "--from", "2013-06-01", "--to", "2013-07-01"]).ok();
    let [backfilled] = sound_tables(&project, ["marts.flight_delays"]);
    assert_eq!(backfilled.rows(), live, "June from history is June as it was live, to the bit");
    assert!(backfilled.snapshots.len() > result.snapshots.len(), "the backfill was published");
    project.kappa(&["diff", JOB, "--from", "2013-02-01", "--to", "2013-12-01"]).ok();

    let counts = "SELECT (SELECT count(*) FROM {raw.flights}), (SELECT count(*) FROM {raw.flights_rejects}), \
                  (SELECT count(*) FROM (SELECT DISTINCT _partition, _offset FROM {raw.flights})), \
                  (SELECT CAST(sum(flights) AS BIGINT) FROM {marts.flight_delays})";
    let departed = i64::try_from(FLIGHTS).expect("is small") - CANCELLED;
    assert_eq!(duckdb(&project, counts), [[departed, CANCELLED, departed, departed].map(Value::from)]);
}

fn messages() -> Vec<Message> {
    let lines = String::from_utf8(script_output("tests/flights/flights.py", &["messages"])).expect("JSON is UTF-8");
    let messages: Vec<Message> = lines
        .lines()
        .map(|line| serde_json::from_str::<Sent>(line).expect("a message a line"))
        .map(|sent| Message {
            partition: sent.partition,
            key: Some(sent.key.into_bytes()),
            value: Some(sent.value.into_bytes()),
            timestamp_ms: Some(sent.timestamp_ms),
        })
        .collect();
    assert_eq!(messages.len(), FLIGHTS);
    messages
}

fn expected() -> Vec<model::Row> {
    let rows: Vec<(i64, i64, String, i64, String, i64)> =
        serde_json::from_slice(&script_output("tests/flights/flights.py", &["expected"])).expect("rows of the result");
    let row = |(start, end, origin, flights, mean, worst): (i64, i64, String, i64, String, i64)| {
        let mean = f64::from_bits(u64::from_str_radix(&mean, 16).expect("hexadecimal digits"));
        vec![
            Cell::exactly(Value::Timestamp(start)),
            Cell::exactly(Value::Timestamp(end)),
            Cell::exactly(Value::Text(origin)),
            Cell::exactly(flights.into()),
            Cell::about(mean, 2),
            Cell::exactly(worst.into()),
        ]
    };
    rows.into_iter().map(row).collect()
}
