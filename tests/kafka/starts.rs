//! Where a run begins on the real broker: the windows that it publishes are the same rows as of a run from the beginning, and
//! none before.

use serde_json::Value as Json;

use super::hours::Hours;
use crate::model::{self, Row, SECOND, Value};
use crate::replay::{Case, Names, STEADY_START};
use crate::support::kafka::{self, Producer};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;

/// Messages of a partition: about 200 seconds of event time.
const MESSAGES: usize = 2_000;

/// A topic with disorder in four partitions, and the project that reads it.
struct Steady {
    case: Case,
    project: Project,
    topic: String,
}

impl Steady {
    fn new(seed: u64) -> Steady {
        let case = Case::steady_with_near_future(seed, MESSAGES);
        // A topic that takes timestamps further ahead than MAX FUTURE is warned of.
        let ahead = [("message.timestamp.after.max.ms", "10000")];
        let topic = kafka::create_topic_with("starts", case.partitions.len(), &ahead);
        kafka::produce(&topic, &case.kafka_messages());
        Steady { case, project: Project::on_kafka(Catalog::Sql, "rejects_max = \"100%\""), topic }
    }

    /// Writes the job file of a result of this name.
    fn job(&self, result: &str) -> String {
        let path = format!("jobs/{result}.sql");
        let names = Names { topic: &self.topic, namespace: self.project.namespace(), result, history: None };
        self.project.write(&path, self.case.sql(&names));
        path
    }

    /// What a run from the beginning publishes from a time on, by the model.
    fn expected(&self, from: i64) -> Vec<Row> {
        let judged = model::judge(&self.case.log(), &self.case.stream, &self.case.query);
        let rows = model::results(&judged, &self.case.stream, &self.case.query, i64::MAX);
        rows.into_iter().filter(|row| row[0].value >= Value::Timestamp(from)).collect()
    }

    /// Runs a job to the drained end, and holds what it has published against the windows from `from` on.
    fn check(&self, result: &str, from: i64, start: &[&str]) {
        let job = self.job(result);
        let end = ["--until", "end", "--drain", "--json"];
        let finished = self.project.kappa(&[&["run", &job][..], start, &end].concat()).ok();
        let report: Json = serde_json::from_str(&finished.stdout).expect("one JSON document");
        let taken = report["taken"]["s"].as_u64().expect("a number");
        let total = self.case.partitions.iter().map(Vec::len).sum::<usize>() as u64;
        assert!(taken < total * 3 / 4, "{taken} of {total} records were read");
        let [table] = sound_tables(&self.project, [&format!("{}.{result}", self.project.namespace())]);
        let expected = self.expected(from);
        assert!(expected.len() < self.expected(i64::MIN).len(), "something is left out");
        assert_eq!(model::differences(&expected, &table.rows(), self.case.key_columns()), Vec::<String>::new());
    }

    /// The first offset of each partition below which every record belongs to a window before `time`.
    fn offsets_of(&self, time: i64) -> Vec<usize> {
        let judged = model::judge(&self.case.log(), &self.case.stream, &self.case.query);
        let first = |partition: i32| {
            let own = judged.iter().filter(|record| record.partition == partition && !record.verdict.is_rejected());
            let mut at_or_after =
                own.filter(|record| record.fields[&self.case.stream.event_time] >= Value::Timestamp(time));
            usize::try_from(at_or_after.next().expect("the log goes on").offset).expect("isn't negative")
        };
        (0..).take(self.case.partitions.len()).map(first).collect()
    }
}

fn text(time: i64) -> String {
    let instant = chrono::DateTime::from_timestamp_micros(time).expect("is a year of four digits");
    instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

#[test]
fn a_start_at_a_time_publishes_whole_windows_from_it_on() {
    let steady = Steady::new(51);
    for (result, seconds) in [("on_an_edge", 100), ("between_edges", 103)] {
        let from = STEADY_START + seconds * SECOND;
        steady.check(result, from, &["--start", &text(from)]);
    }
}

#[test]
fn a_start_at_offsets_publishes_the_windows_that_somebody_vouches_for() {
    let steady = Steady::new(52);
    let from = STEADY_START + 120 * SECOND;
    let lines: Vec<String> = (0..)
        .zip(steady.offsets_of(from))
        .map(|(partition, offset): (usize, usize)| format!("{},{partition},{offset}\n", steady.topic))
        .collect();
    steady.project.write("offsets.csv", format!("topic,partition,offset\n{}", lines.concat()));
    let job = steady.job("vouched");
    let refused = steady.project.kappa(&["run", &job, "--start", "offsets.csv"]).exits(3);
    insta::assert_snapshot!(refused.stderr, @"error: offsets alone don't tell which window is the first whole one of s; state it with `--whole-from TIME`, or publish cut-off windows too with `--allow-partial`");
    steady.check("vouched", from, &["--start", "offsets.csv", "--whole-from", &text(from)]);
}

#[test]
fn records_of_a_transaction_that_is_open_at_the_look_up_are_not_passed_over() {
    let hours = Hours::new(1, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (0, "01:30")]);
    let producer = Producer::transactional(&hours.topic);
    producer.begin();
    producer.send(&hours.topic, &hours.messages(&[(0, "03:10"), (0, "03:50")]));
    producer.flush();
    // The look-up goes back by MAX FUTURE, an hour: nothing that is committed lies behind that.
    let mut run = hours.run(&["--start", "2026-01-01T03:00:00Z"]);
    hours.wait_until_begun(&mut run);
    producer.commit();
    hours.send(&[(0, "06:00")]);
    hours.wait_for_results(&mut run, 1);
    run.terminate();
    run.wait(super::hours::LIMIT).ok();
    assert_eq!(hours.results(), [("03:00", 2)].map(|(hour, count)| (hour.to_owned(), count)));
}
