//! A job that runs while its brokers die.

use crate::model::{self, Row};
use crate::replay::{Case, Names};
use crate::support::broker::Broker;
use crate::support::catalog;
use crate::support::kafka::{self, Message, Producer};
use crate::support::process::Running;
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;

const JOB: &str = "jobs/deployed.sql";

/// A case on a broker of a test's own, with its topic and job.
pub struct Deployed {
    case: Case,
    address: String,
    pub topic: String,
    project: Project,
}

impl Deployed {
    /// With so many copies of each partition.
    pub fn on(broker: &Broker, copies: i32) -> Deployed {
        let case = Case::steady(71, 1_000);
        let topic = kafka::create_replicated_topic_at(broker.address(), "deployed", case.partitions.len(), copies);
        let run = "checkpoint_interval = \"100ms\"\nrejects_max = \"100%\"\nlisten = \"127.0.0.1:0\"";
        let project = Project::with_kafka(Catalog::Sql, &[("bootstrap.servers", broker.address())], run);
        let names = Names { topic: &topic, namespace: project.namespace(), result: "result", history: None };
        project.write(JOB, case.sql(&names));
        Deployed { case, address: broker.address().to_owned(), topic, project }
    }

    /// Starts the job.
    pub fn start(&self) -> Running {
        self.project.start(&["run", JOB])
    }

    /// The messages in so many parts, each with as much of every partition.
    pub fn parts<const N: usize>(&self) -> [Vec<Message>; N] {
        let mut parts = [const { Vec::new() }; N];
        let mut places = vec![0; self.case.partitions.len()];
        for message in self.case.kafka_messages() {
            let partition = usize::try_from(message.partition).expect("isn't negative");
            parts[places[partition] * N / self.case.partitions[partition].len()].push(message);
            places[partition] += 1;
        }
        parts
    }

    /// Sends messages, and waits until the broker has them.
    pub fn send(&self, messages: &[Message]) {
        let producer = Producer::new(&[("bootstrap.servers", self.address.as_str())]);
        producer.send(&self.topic, messages);
        producer.flush();
    }

    /// What the job publishes while its log goes on: all windows below the model's watermark.
    pub fn expected(&self) -> Vec<Row> {
        let log = self.case.log();
        let judged = model::judge(&log, &self.case.stream, &self.case.query);
        let closed = model::watermark(&log, &self.case.stream).expect("the log has records");
        model::results(&judged, &self.case.stream, &self.case.query, closed)
    }

    /// How many rows are published.
    pub fn rows(&self) -> u64 {
        catalog::row_count(&self.project, &format!("{}.result", self.project.namespace()))
    }

    /// Asserts that the result holds the expected rows.
    pub fn audit(&self) {
        let [result] = sound_tables(&self.project, [&format!("{}.result", self.project.namespace())]);
        let differences = model::differences(&self.expected(), &result.rows(), self.case.key_columns());
        assert_eq!(differences, Vec::<String>::new());
    }
}
