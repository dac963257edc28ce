//! A broker that is killed under a running job: input pauses, health says so when it lasts, and the job goes on when the
//! broker is back, with the results that it would have had anyway.
//!
//! An outage counts as one after five minutes ([`kappa::server::OUTAGE_MAX`]), which this test waits for: it is the longest of
//! all, and does next to nothing.

use std::time::Duration;

use super::hours::LIMIT;
use crate::model::{self, Row};
use crate::operating::address;
use crate::replay::{Case, Names};
use crate::support::broker::Broker;
use crate::support::kafka::{self, Message, Producer};
use crate::support::process::Running;
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;
use crate::support::{catalog, http};

const JOB: &str = "jobs/outage.sql";
/// Until an outage is told: five minutes, and what its first failing request and a loaded machine take.
const TOLD_WITHIN: Duration = Duration::from_secs(480);
/// Warnings in that time: one a minute of the request that fails, and now and then what the client says of the cause.
const LINES_MAX: usize = 12;

/// A case on a broker of its own.
struct Deployed {
    case: Case,
    broker: Broker,
    topic: String,
    project: Project,
}

impl Deployed {
    fn new() -> Deployed {
        let case = Case::steady(71, 1_000);
        let broker = Broker::start();
        let topic = kafka::create_topic_at(broker.address(), "outage", case.partitions.len(), &[]);
        let run = "checkpoint_interval = \"100ms\"\nrejects_max = \"100%\"\nlisten = \"127.0.0.1:0\"";
        let project = Project::with_kafka(Catalog::Sql, &[("bootstrap.servers", broker.address())], run);
        let names = Names { topic: &topic, namespace: project.namespace(), result: "result", history: None };
        project.write(JOB, case.sql(&names));
        Deployed { case, broker, topic, project }
    }

    /// Both halves of every partition.
    fn halves(&self) -> [Vec<Message>; 2] {
        let mut halves = [Vec::new(), Vec::new()];
        let mut places = vec![0; self.case.partitions.len()];
        for message in self.case.kafka_messages() {
            let partition = usize::try_from(message.partition).expect("isn't negative");
            let half = usize::from(places[partition] >= self.case.partitions[partition].len() / 2);
            places[partition] += 1;
            halves[half].push(message);
        }
        halves
    }

    fn send(&self, messages: &[Message]) {
        let producer = Producer::new(&[("bootstrap.servers", self.broker.address())]);
        producer.send(&self.topic, messages);
        producer.flush();
    }

    /// What the job publishes while its log goes on: all windows below the model's watermark.
    fn expected(&self) -> Vec<Row> {
        let log = self.case.log();
        let judged = model::judge(&log, &self.case.stream, &self.case.query);
        let closed = model::watermark(&log, &self.case.stream).expect("the log has records");
        model::results(&judged, &self.case.stream, &self.case.query, closed)
    }

    fn rows(&self) -> u64 {
        catalog::row_count(&self.project, &format!("{}.result", self.project.namespace()))
    }
}

/// Status and body of `/healthz`.
fn health(address: &str) -> (u16, String) {
    let page = http::get(address, "/healthz").expect("it listens");
    (page.status, page.body)
}

/// Warnings and errors so far.
fn complaints(run: &Running) -> Vec<String> {
    let is_complaint = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
    run.stderr().lines().filter(is_complaint).map(str::to_owned).collect()
}

#[test]
fn a_job_waits_for_a_killed_broker_and_goes_on_as_if_nothing_had_been() {
    let mut deployed = Deployed::new();
    let [before, after] = deployed.halves();
    deployed.send(&before);
    let mut run = deployed.project.start(&["run", JOB]);
    let address = address(&mut run);
    run.wait_until("windows are published", LIMIT, || deployed.rows() > 0);
    assert_eq!(health(&address), (200, "alive\n".to_owned()));
    assert_eq!(complaints(&run), [""; 0]);

    deployed.broker.kill();
    run.wait_until("the outage is told", TOLD_WITHIN, || health(&address).0 == 503);
    let told = health(&address).1;
    assert!(told.starts_with("outage: log: couldn't ask for the ends of the log for 5m"), "{told}");
    assert_eq!(http::get(&address, "/readyz").map(|page| page.status), Some(200), "it reads what comes");
    let published = deployed.rows();
    let lines = complaints(&run);
    assert!((5..=LINES_MAX).contains(&lines.len()), "{lines:#?}");

    deployed.broker.start_again();
    deployed.send(&after);
    run.wait_until("health is back", LIMIT, || health(&address) == (200, "alive\n".to_owned()));
    run.wait_for_stderr("could ask for the ends of the log again", LIMIT);
    let expected = deployed.expected();
    assert!(expected.len() as u64 > published, "there is more to publish");
    run.wait_until("all is published", LIMIT, || deployed.rows() >= expected.len() as u64);
    assert!(!run.stderr().contains("starting again"), "one attempt waits for it:\n{}", run.stderr());
    run.terminate();
    run.wait(LIMIT).ok();
    let [result] = sound_tables(&deployed.project, [&format!("{}.result", deployed.project.namespace())]);
    let key_columns = deployed.case.key_columns();
    assert_eq!(model::differences(&expected, &result.rows(), key_columns), Vec::<String>::new());
}
