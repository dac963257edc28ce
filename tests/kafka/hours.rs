//! A small job for stories about time: the records of a topic at clock times of one day, counted by the hour.

use std::path::Path;
use std::time::Duration;

use crate::model::{HOUR, Value};
use crate::support::kafka::{self, Message};
use crate::support::process::{Finished, Running};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;
use crate::support::{catalog, kafka_address};

/// For anything that a command does at once, on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The job.
pub const JOB: &str = "jobs/hours.sql";
/// 2026-01-01, in milliseconds.
const DAY_MS: i64 = 1_767_225_600_000;

/// The topic and the project that reads it.
pub struct Hours {
    /// The topic.
    pub topic: String,
    /// Where the job runs, on a SQLite catalog, with ten checkpoints a second.
    pub project: Project,
}

impl Hours {
    /// A topic with so many partitions; properties of `[kafka]` beside the address; the stream's watermark.
    pub fn new(partitions: usize, kafka: &[(&str, &str)], watermark: &str) -> Hours {
        let address = kafka_address();
        let kafka = [&[("bootstrap.servers", address.as_str())], kafka].concat();
        Hours::with_kafka(kafka::create_topic("hours", partitions), &kafka, watermark)
    }

    /// A topic that may be there, with all properties of `[kafka]`.
    pub fn with_kafka(topic: String, kafka: &[(&str, &str)], watermark: &str) -> Hours {
        let project = Project::with_kafka(Catalog::Sql, kafka, "checkpoint_interval = \"100ms\"");
        let namespace = project.namespace();
        let job = format!(
            "CREATE STREAM events (t TIMESTAMP NOT NULL, {watermark})
             LIVE FROM KAFKA '{topic}' FORMAT JSON
             HISTORY FROM ICEBERG '{namespace}.history';

             INSERT INTO ICEBERG '{namespace}.result' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, count(*) AS records FROM TUMBLE(events, t, INTERVAL '1 hour')
             GROUP BY window_start, window_end
             LATE INTO ICEBERG '{namespace}.late';"
        );
        project.write(JOB, job);
        Hours { topic, project }
    }

    /// Changes the job file.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.project.path().join(JOB);
        let text = std::fs::read_to_string(&path).expect("it was written");
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(path, text.replace(from, to)).expect("folder takes files");
    }

    /// Writes a file of offsets.
    pub fn offsets(&self, offsets: &[(i32, i64)]) -> &'static str {
        let line = |(partition, offset): &(i32, i64)| format!("{},{partition},{offset}\n", self.topic);
        self.project.write("offsets.csv", offsets.iter().map(line).collect::<String>());
        "offsets.csv"
    }

    /// Messages at partitions and clock times, such as `01:30` or `01:30:00.001`; record and event have the same time.
    pub fn messages(&self, records: &[(i32, &str)]) -> Vec<Message> {
        let message = |&(partition, clock): &(i32, &str)| Message {
            partition,
            value: Some(format!("{{\"t\":\"2026-01-01 {}\"}}", with_seconds(clock)).into_bytes()),
            timestamp_ms: Some(DAY_MS + milliseconds(clock)),
            key: None,
        };
        records.iter().map(message).collect()
    }

    /// Sends such messages, and waits until the broker has them.
    pub fn send(&self, records: &[(i32, &str)]) {
        kafka::produce(&self.topic, &self.messages(records));
    }

    /// Starts `kappa run`.
    pub fn run(&self, arguments: &[&str]) -> Running {
        self.project.start(&[&["run", JOB], arguments].concat())
    }

    /// Runs a command on the job to its end.
    #[track_caller]
    pub fn kappa(&self, command: &[&str], arguments: &[&str]) -> Finished {
        self.project.kappa(&[command, &[JOB], arguments].concat())
    }

    /// Runs a command on the job to its end, and holds all that it says against its snapshot.
    #[track_caller]
    pub fn says(&self, name: &str, command: &[&str], arguments: &[&str]) {
        let Finished { code, stdout, stderr, .. } = self.kappa(command, arguments);
        let line = [command, &[JOB], arguments].concat().join(" ");
        let said =
            format!("$ kappa {line}\n{stdout}--- stderr\n{stderr}--- exit {}\n", code.expect("no signal ends it"));
        self.snapshots().bind(|| insta::assert_snapshot!(name, said));
    }

    /// Where snapshots of messages are, without what differs from run to run.
    pub fn snapshots(&self) -> insta::Settings {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(Path::new("../messages/kafka"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(r"127\.0\.0\.1:\d+", "[BROKER]");
        settings.add_filter(&self.topic, "[TOPIC]");
        settings.add_filter(self.project.namespace(), "[NAMESPACE]");
        settings.add_filter(r"estimate: [\dms. ]+ to run", "estimate: [TIME] to run");
        settings.add_filter(r"\b[\d.]+ (B|KiB)\b", "[BYTES]");
        settings.add_filter(r"(?m)^\d{4}-\d\d-\d\dT\S+Z +", "[TIME] ");
        settings
    }

    /// Waits until a first run has decided where it begins.
    pub fn wait_until_begun(&self, run: &mut Running) {
        let begun = self.project.path().join(".kappa/state/hours/0000000001/0000000000.json");
        run.wait_until("it has begun", LIMIT, || begun.exists());
    }

    /// Waits until so many hours are published.
    pub fn wait_for_results(&self, run: &mut Running, count: u64) {
        run.wait_until("hours are published", LIMIT, || self.row_count("result") >= count);
    }

    /// How many rows one of the tables has by now.
    pub fn row_count(&self, table: &str) -> u64 {
        catalog::row_count(&self.project, &self.table(table))
    }

    /// The name of one of the tables, with its namespace.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.project.namespace())
    }

    /// What is published: the start of each hour as a clock time, and its count.
    pub fn results(&self) -> Vec<(String, i64)> {
        let [result] = sound_tables(&self.project, [&self.table("result")]);
        let row = |row: Vec<Value>| match row[..] {
            [Value::Timestamp(start), _, Value::Integer(count)] => {
                (format!("{:02}:00", (start - DAY_MS * 1_000) / HOUR), count)
            }
            _ => panic!("{row:?} is no hour"),
        };
        result.rows().into_iter().map(row).collect()
    }
}

fn with_seconds(clock: &str) -> String {
    if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() }
}

fn milliseconds(clock: &str) -> i64 {
    let time = chrono::NaiveTime::parse_from_str(&with_seconds(clock), "%H:%M:%S%.f").expect("a clock time");
    (time - chrono::NaiveTime::MIN).num_milliseconds()
}
