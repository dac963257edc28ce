//! The Kafka source on the real broker, where librdkafka's in-process one can't follow: transactions, and topics that grow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kappa::event::ResumeOffset;
use kappa::job::compile;
use kappa::sources::{KafkaSource, Source, SourceEvent, SourceSettings};

use crate::support::kafka::{self, Message, Producer};
use crate::support::kafka_address;

/// Of a poll; far more polls are allowed than a loaded machine needs.
const WAIT: Duration = Duration::from_millis(200);
const POLLS_MAX: usize = 300;
/// How often the end of a partition is confirmed before another counts as silent: once a second or so.
const CONFIRMATIONS: usize = 3;

/// What a source has given so far, by partition.
#[derive(Debug, Default)]
struct Given {
    records: BTreeMap<i32, usize>,
    /// How often each partition was said to be at its end.
    ends: BTreeMap<i32, usize>,
}

impl Given {
    fn of(counts: &BTreeMap<i32, usize>, partition: i32) -> usize {
        counts.get(&partition).copied().unwrap_or(0)
    }

    /// Polls until `enough`.
    fn read(source: &mut KafkaSource, enough: impl Fn(&Given) -> bool) -> Given {
        let mut given = Given::default();
        for _ in 0..POLLS_MAX {
            if enough(&given) {
                return given;
            }
            match source.poll(WAIT).expect("the broker is well") {
                SourceEvent::Records(decoded) => {
                    *given.records.entry(decoded.partition).or_default() += decoded.records.num_rows();
                }
                SourceEvent::AtEnd { partition, .. } => *given.ends.entry(partition).or_default() += 1,
                SourceEvent::Idle => {}
                SourceEvent::Ended => panic!("a topic has no end"),
            }
        }
        panic!("not in {POLLS_MAX} polls: {given:?}");
    }
}

fn open(topic: &str, partitions: impl IntoIterator<Item = i32>) -> KafkaSource {
    let job = format!(
        "CREATE STREAM s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) LIVE FROM KAFKA '{topic}' FORMAT JSON;
         INSERT INTO ICEBERG 'ns.result' SELECT window_start, window_end, count(*) AS n FROM TUMBLE(s, t, INTERVAL '1 hour')
         GROUP BY window_start, window_end;"
    );
    let plan = compile("source", &job).expect("the job is valid");
    let kafka = BTreeMap::from([("bootstrap.servers".to_owned(), kafka_address())]);
    let settings = SourceSettings { kafka, group: "kappa-source".to_owned(), ..SourceSettings::default() };
    let positions = partitions.into_iter().map(|partition| (partition, ResumeOffset(0))).collect();
    KafkaSource::open(&plan.streams[0], topic, &settings, &positions).expect("the settings are right")
}

fn message(partition: i32) -> Message {
    Message { partition, value: Some(br#"{"t":"2026-01-01T00:00:00Z"}"#.to_vec()), ..Message::default() }
}

#[test]
fn a_partition_with_an_open_transaction_is_not_at_its_end() {
    let topic = kafka::create_topic("open", 2);
    kafka::produce(&topic, &[message(0), message(1)]);
    let producer = Producer::transactional(&topic);
    producer.begin();
    producer.send(&topic, &[message(1)]);
    producer.flush();
    let mut source = open(&topic, [0, 1]);
    let given = Given::read(&mut source, |given| Given::of(&given.ends, 0) >= CONFIRMATIONS);
    assert_eq!(given.records, BTreeMap::from([(0, 1), (1, 1)]), "nothing of the transaction");
    assert_eq!(given.ends.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0]));
    producer.commit();
    let given = Given::read(&mut source, |given| Given::of(&given.ends, 1) > 0);
    assert_eq!(given.records, BTreeMap::from([(1, 1)]), "now that it is committed");
}

#[test]
fn an_added_partition_is_read_at_once_though_its_reader_has_not_heard_of_it() {
    let topic = kafka::create_topic("added", 1);
    kafka::produce(&topic, &[message(0)]);
    let mut source = open(&topic, [0]);
    Given::read(&mut source, |given| Given::of(&given.ends, 0) > 0);
    kafka::add_partitions(&topic, 2);
    kafka::produce(&topic, &[message(1), message(1)]);
    // The reader's own look at the topic comes every thirty seconds.
    source.assign(1, ResumeOffset(0)).expect("the partition exists");
    let given = Given::read(&mut source, |given| Given::of(&given.records, 1) == 2);
    assert!(Given::of(&given.ends, 0) < 10, "at once, or partition 0 would have been confirmed more often: {given:?}");
}
