//! A topic whose log stamps its records (LogAppendTime). The stamps rise, so one of them says of all records before it how old
//! they are at least: a run knows its first whole window without anybody's word.

use std::collections::BTreeMap;

use crate::model::{SECOND, Value};
use crate::support::kafka::{self, Message, Producer};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;

/// Records that are sent between two looks at how far the stamps have come.
const SENT_AT_ONCE: usize = 20;
const MAX_FUTURE: i64 = SECOND;

/// A topic with records over some seconds, by their stamps, and the project that counts them by the second.
struct Stamped {
    topic: String,
    project: Project,
    /// Stamps of all records, by offset, in microseconds.
    stamps: Vec<i64>,
}

impl Stamped {
    fn new() -> Stamped {
        let topic = kafka::create_topic_with("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
        let producer = Producer::new(&[]);
        let message = Message { value: Some(b"{}".to_vec()), timestamp_ms: Some(1), ..Message::default() };
        let mut stamps: Vec<i64> = Vec::new();
        while stamps.last().unwrap_or(&0) - stamps.first().unwrap_or(&0) < 5 * SECOND {
            for _ in 0..SENT_AT_ONCE {
                producer.send(&topic, std::slice::from_ref(&message));
                producer.flush();
            }
            let stamp = |record: kafka::Record| record.timestamp_ms.expect("the log stamps it") * 1_000;
            stamps = kafka::read(&topic).into_iter().map(stamp).collect();
        }
        Stamped { topic, project: Project::on_kafka(Catalog::Sql, ""), stamps }
    }

    /// Runs a job with a result of its own to the drained end: it publishes the seconds from `from` on, whole.
    #[track_caller]
    fn publishes(&self, result: &str, start: &[&str], from: i64) {
        let (path, table) = (format!("jobs/{result}.sql"), format!("{}.{result}", self.project.namespace()));
        let job = format!(
            "CREATE STREAM events (t TIMESTAMP NOT NULL FROM METADATA 'timestamp',
               WATERMARK FOR t AS t MAX FUTURE INTERVAL '1 second')
             LIVE FROM KAFKA '{}' FORMAT JSON;

             INSERT INTO ICEBERG '{table}' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, count(*) AS records FROM TUMBLE(events, t, INTERVAL '1 second')
             GROUP BY window_start, window_end;",
            self.topic
        );
        self.project.write(&path, job);
        self.project.kappa(&[&["run", &path, "--until", "end", "--drain"], start].concat()).ok();
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for stamp in &self.stamps {
            *expected.entry(stamp - stamp.rem_euclid(SECOND)).or_default() += 1;
        }
        expected.retain(|start, _| *start >= from);
        assert!(expected.len() > 1, "there is something to publish: {from} of {:?}", self.stamps);
        let [published] = sound_tables(&self.project, [&table]);
        let row = |row: Vec<Value>| match row[..] {
            [Value::Timestamp(start), _, Value::Integer(records)] => (start, records),
            _ => panic!("{row:?} is no second"),
        };
        assert_eq!(published.rows().into_iter().map(row).collect::<BTreeMap<_, _>>(), expected, "{result}");
    }

    /// The first offset that was stamped a second or more behind the beginning.
    fn later(&self) -> i64 {
        let later = self.stamps.iter().position(|stamp| *stamp >= self.stamps[0] + SECOND).expect("five seconds");
        i64::try_from(later).expect("is small")
    }

    /// Start of the first window that certainly has no record below an offset.
    fn whole_from(&self, offset: i64) -> i64 {
        self.stamps[usize::try_from(offset).expect("isn't negative")] + MAX_FUTURE + 1
    }
}

#[test]
fn a_log_that_stamps_its_records_tells_the_first_whole_window() {
    let stamped = Stamped::new();
    let later = stamped.later();
    stamped.publishes("whole", &[], i64::MIN);
    stamped.project.write("offsets.csv", format!("{},0,{later}\n", stamped.topic));
    stamped.publishes("from_offsets", &["--start", "offsets.csv"], stamped.whole_from(later));
    kafka::trim(&stamped.topic, 0, later);
    stamped.publishes("cut_off", &[], stamped.whole_from(later));
    let time = stamped.whole_from(later) + SECOND - stamped.whole_from(later).rem_euclid(SECOND);
    let text = chrono::DateTime::from_timestamp_micros(time).expect("is a year of four digits").to_rfc3339();
    stamped.publishes("from_a_time", &["--start", &text], time);
}
