//! The Kafka source against librdkafka's in-process broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::{KafkaLog, KafkaSource, LogEnds};
use crate::event::{
    Column, ColumnType, Decoded, Format, FormatKind, LiveFace, Metadata, Micros, Origin, RejectReason, ResumeOffset,
    Stream,
};
use crate::sources::{Source, SourceError, SourceEvent, SourceSettings, open};
use crate::time::clock::{Clock, SystemClock};

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);
pub(in crate::sources) const TOPIC: &str = "events";

fn column(name: &str, column_type: ColumnType, origin: Origin) -> Column {
    Column { name: name.to_owned(), column_type, required: false, origin }
}

fn stream() -> Stream {
    Stream {
        name: "events".to_owned(),
        columns: vec![
            column("v", ColumnType::BigInt, Origin::Path(vec!["v".to_owned()])),
            column("k", ColumnType::Text, Origin::Metadata(Metadata::Key)),
            column("h", ColumnType::Text, Origin::Metadata(Metadata::Header("h".to_owned()))),
        ],
        event_time: 0,
        bound: Micros(0),
        marker: None,
        idle_after: None,
        max_future: None,
        live: LiveFace::Kafka {
            topic: TOPIC.to_owned(),
            format: Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false },
        },
        accepts_compacted: false,
        history: None,
    }
}

pub(in crate::sources) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    settings: SourceSettings,
}

impl Broker {
    pub(in crate::sources) fn with_partitions(partitions: i32) -> Broker {
        let cluster = MockCluster::new(1).expect("an in-process broker starts");
        cluster.create_topic(TOPIC, partitions, 1).expect("the topic is new");
        let servers = cluster.bootstrap_servers();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("message.max.bytes", "10000000")
            .create()
            .expect("the configuration is right");
        let kafka = BTreeMap::from([("bootstrap.servers".to_owned(), servers)]);
        let settings = SourceSettings { kafka, group: "kappa-test".to_owned(), ..SourceSettings::default() };
        Broker { cluster, producer, settings }
    }

    fn send(&self, partition: i32, value: &[u8]) {
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("header") });
        let record = BaseRecord::to(TOPIC).partition(partition).key("key").payload(value).timestamp(1_234);
        self.producer.send(record.headers(headers)).expect("the queue has room");
    }

    pub(in crate::sources) fn settings(&self) -> &SourceSettings {
        &self.settings
    }

    pub(in crate::sources) fn send_numbers(&self, partition: i32, numbers: std::ops::Range<i64>) {
        numbers.for_each(|number| self.send(partition, format!(r#"{{"v":{number}}}"#).as_bytes()));
        self.flush();
    }

    fn flush(&self) {
        self.producer.flush(LONG).expect("the in-process broker takes messages");
    }

    fn source(&self, positions: &[(i32, i64)]) -> KafkaSource {
        let positions = positions.iter().map(|(partition, from)| (*partition, ResumeOffset(*from))).collect();
        KafkaSource::open(&stream(), TOPIC, &self.settings, &positions).expect("the settings are right")
    }
}

/// What a source gave, by partition.
#[derive(Default)]
struct Given {
    values: BTreeMap<i32, Vec<i64>>,
    offsets: BTreeMap<i32, Vec<i64>>,
    next: BTreeMap<i32, i64>,
    rejects: Vec<(i32, i64, RejectReason)>,
    ends: BTreeMap<i32, i64>,
}

impl Given {
    fn take(&mut self, decoded: &Decoded) {
        let column = |index: usize| decoded.records.column(index).as_primitive::<Int64Type>().values().to_vec();
        self.values.entry(decoded.partition).or_default().extend(column(0));
        self.offsets.entry(decoded.partition).or_default().extend(column(4));
        self.next.insert(decoded.partition, decoded.next_offset.0);
        self.rejects.extend(decoded.rejects.iter().map(|reject| (reject.partition, reject.offset, reject.reason)));
        self.ends.remove(&decoded.partition);
    }
}

/// Polls until `enough`; panics when that takes too long.
fn read(source: &mut dyn Source, mut enough: impl FnMut(&Given) -> bool) -> Given {
    let mut given = Given::default();
    let clock = SystemClock::start();
    while !enough(&given) {
        assert!(clock.elapsed() < LONG, "got {:?} and ends {:?} only", given.next, given.ends);
        match source.poll(Duration::from_millis(200)).expect("the broker is well") {
            SourceEvent::Records(decoded) => given.take(&decoded),
            SourceEvent::AtEnd { partition, offset } => {
                given.ends.insert(partition, offset.0);
            }
            SourceEvent::Idle => {}
            SourceEvent::Ended => panic!("a topic has no end"),
        }
    }
    given
}

fn error_of(source: &mut dyn Source) -> SourceError {
    let clock = SystemClock::start();
    loop {
        assert!(clock.elapsed() < LONG, "no error in time");
        if let Err(error) = source.poll(Duration::from_millis(200)) {
            return error;
        }
    }
}

#[test]
fn every_partition_is_read_from_its_position_to_its_end() {
    let broker = Broker::with_partitions(3);
    broker.send_numbers(0, 0..20_000);
    broker.send_numbers(1, 0..100);
    let mut source = broker.source(&[(0, 5), (1, 0), (2, 0)]);
    let given = read(&mut source, |given| given.ends.len() == 3);
    assert_eq!(given.values[&0], (5..20_000).collect::<Vec<_>>());
    assert_eq!(given.offsets[&0], (5..20_000).collect::<Vec<_>>());
    assert_eq!(given.values[&1], (0..100).collect::<Vec<_>>());
    assert_eq!(given.ends, BTreeMap::from([(0, 20_000), (1, 100), (2, 0)]));
    assert_eq!(given.next, BTreeMap::from([(0, 20_000), (1, 100)]));
}

#[test]
fn an_end_is_repeated_while_it_stays_and_taken_back_by_records() {
    let broker = Broker::with_partitions(1);
    broker.send_numbers(0, 0..1);
    let mut source = broker.source(&[(0, 0)]);
    read(&mut source, |given| given.ends.contains_key(&0));
    // Nothing new was sent: what comes is the end again.
    let given = read(&mut source, |given| given.ends.contains_key(&0));
    assert!(given.values.is_empty());
    broker.send_numbers(0, 1..3);
    let given = read(&mut source, |given| given.ends.get(&0) == Some(&3));
    assert_eq!(given.values[&0], [1, 2]);
}

#[test]
fn a_record_carries_its_key_header_and_timestamp() {
    let broker = Broker::with_partitions(1);
    broker.send_numbers(0, 0..1);
    let mut source = broker.source(&[(0, 0)]);
    loop {
        if let SourceEvent::Records(decoded) = source.poll(LONG).expect("the broker is well") {
            assert_eq!(decoded.records.column(1).as_string::<i32>().value(0), "key");
            assert_eq!(decoded.records.column(2).as_string::<i32>().value(0), "header");
            let timestamps = decoded.records.column(5);
            let timestamps = timestamps.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
            assert_eq!(timestamps.value(0), 1_234_000);
            return;
        }
    }
}

#[test]
fn an_offset_beyond_the_log_stops_with_the_gap_and_is_never_reset() {
    let broker = Broker::with_partitions(1);
    broker.send_numbers(0, 0..10);
    let mut source = broker.source(&[(0, 25)]);
    let error = error_of(&mut source);
    let SourceError::OffsetOutOfRange { partition: 0, wanted: 25, low: 0, high: 10, .. } = error else {
        panic!("{error}");
    };
}

#[test]
fn b15_offsets_lost_to_retention_are_named_and_never_skipped() {
    let broker = Broker::with_partitions(1);
    // The in-process broker keeps 5 MiB of a partition.
    let large = format!(r#"{{"v":1,"x":"{}"}}"#, "x".repeat(1_000_000));
    for _ in 0..9 {
        broker.send(0, large.as_bytes());
        broker.flush();
    }
    let mut source = broker.source(&[(0, 0)]);
    let error = error_of(&mut source);
    let SourceError::OffsetOutOfRange { partition: 0, wanted: 0, low, high: 9, .. } = error else { panic!("{error}") };
    let expected = format!(
        "partition 0 of topic events: {low} offsets, 0 to {}, are lost: the log now begins at {low} (retention or \
         deletion); to go on without them, reset the position",
        low - 1
    );
    assert!(low > 0);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_partition_can_be_added_while_running() {
    let broker = Broker::with_partitions(2);
    broker.send_numbers(0, 0..10);
    broker.send_numbers(1, 0..10);
    let mut source = broker.source(&[(0, 0)]);
    let given = read(&mut source, |given| given.ends.contains_key(&0));
    assert_eq!(given.values.keys().collect::<Vec<_>>(), [&0]);
    source.assign(1, ResumeOffset(4)).expect("the partition exists");
    source.assign(0, ResumeOffset(0)).expect("it goes on where it is");
    let given = read(&mut source, |given| given.ends.contains_key(&1));
    assert_eq!(given.values[&1], (4..10).collect::<Vec<_>>());
    assert_eq!(given.values.len(), 1);
}

#[test]
fn a_paused_partition_goes_on_with_the_first_record_not_given() {
    let broker = Broker::with_partitions(2);
    broker.send_numbers(0, 0..30_000);
    broker.send_numbers(1, 0..10);
    let mut source = broker.source(&[(0, 0), (1, 0)]);
    let first = read(&mut source, |given| given.next.contains_key(&0));
    source.set_paused(0, true).expect("the partition is assigned");
    source.set_paused(0, true).expect("pausing twice is pausing");
    let during = read(&mut source, |given| given.ends.contains_key(&1));
    assert!(!during.next.contains_key(&0), "a paused partition gave records");
    source.set_paused(0, false).expect("the partition is known");
    let rest = read(&mut source, |given| given.ends.contains_key(&0));
    let all: Vec<i64> = first.values[&0].iter().chain(&rest.values[&0]).copied().collect();
    assert_eq!(all, (0..30_000).collect::<Vec<_>>());
    // Paused at its end, and records come meanwhile: librdkafka's own pausing would lose the first of them.
    source.set_paused(0, true).expect("the partition is assigned");
    broker.send_numbers(0, 30_000..30_005);
    source.set_paused(0, false).expect("the partition is known");
    let rest = read(&mut source, |given| given.ends.get(&0) == Some(&30_005));
    assert_eq!(rest.values[&0], (30_000..30_005).collect::<Vec<_>>());
}

#[test]
fn a_source_whose_partitions_are_all_paused_still_comes_back_in_time() {
    let broker = Broker::with_partitions(2);
    broker.send_numbers(0, 0..30_000);
    broker.send_numbers(1, 0..30_000);
    let mut source = broker.source(&[(0, 0), (1, 0)]);
    // By then pieces of both partitions wait to be given.
    read(&mut source, |given| given.next.len() == 2);
    for partition in [0, 1] {
        source.set_paused(partition, true).expect("the partition is assigned");
    }
    assert!(matches!(source.poll(Duration::from_millis(50)), Ok(SourceEvent::Idle)));
}

#[test]
fn big_and_broken_messages_keep_their_places() {
    let broker = Broker::with_partitions(1);
    let large = format!(r#"{{"v":7,"x":"{}"}}"#, "x".repeat(900_000));
    let messages: [&[u8]; 6] = [b"{\"v\":1}", b"{\"v\":\"x\"}", large.as_bytes(), b"", b"\xff\xfe", b"{\"v\":2}"];
    messages.iter().for_each(|message| broker.send(0, message));
    broker.flush();
    let mut source = broker.source(&[(0, 0)]);
    let given = read(&mut source, |given| given.ends.contains_key(&0));
    assert_eq!(given.values[&0], [1, 7, 2]);
    assert_eq!(given.offsets[&0], [0, 2, 5]);
    let rejected = [(0, 1, RejectReason::BadValue), (0, 3, RejectReason::Empty), (0, 4, RejectReason::Undecodable)];
    assert_eq!(given.rejects, rejected);
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let broker = Broker::with_partitions(1);
    broker.send_numbers(0, 0..5);
    let mut source = broker.source(&[(0, 0)]);
    read(&mut source, |given| given.ends.contains_key(&0));
    broker.cluster.broker_down(1).expect("the broker exists");
    // What was said before the connection broke may still come; then there must be silence, not errors.
    let mut idle = 0;
    while idle < 3 {
        match source.poll(Duration::from_millis(500)).expect("a broker that is away is no error") {
            SourceEvent::Idle => idle += 1,
            SourceEvent::AtEnd { .. } => idle = 0,
            other => panic!("{other:?}"),
        }
    }
    broker.cluster.broker_up(1).expect("the broker exists");
    broker.send_numbers(0, 5..7);
    let given = read(&mut source, |given| given.ends.get(&0) == Some(&7));
    assert_eq!(given.values[&0], [5, 6]);
}

#[test]
fn the_log_tells_partitions_ends_and_group_offsets() {
    let broker = Broker::with_partitions(2);
    broker.send_numbers(1, 0..4);
    let log = KafkaLog::connect(&broker.settings.kafka, "kappa-test").expect("the settings are right");
    assert_eq!(log.partitions(TOPIC).expect("the topic exists"), 2);
    let ends = log.ends(TOPIC).expect("the topic exists");
    assert_eq!(ends, BTreeMap::from([(0, LogEnds { low: 0, high: 0 }), (1, LogEnds { low: 0, high: 4 })]));
    assert!(log.committed(TOPIC).expect("the topic exists").is_empty());
    let positions = BTreeMap::from([(1, ResumeOffset(3))]);
    log.commit(TOPIC, &positions).expect("nobody else is in the group");
    assert_eq!(log.committed(TOPIC).expect("the topic exists"), positions);
    let times = log.offsets_for_times(TOPIC, i64::MIN).expect("the topic exists");
    assert_eq!(times.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    let error = log.partitions("evnets").expect_err("there is no such topic");
    let servers = broker.cluster.bootstrap_servers();
    assert_eq!(error.to_string(), format!("topic evnets doesn't exist on {servers}; did you mean events?"));
}

#[test]
fn properties_that_keep_promises_are_ours() {
    let mut settings = SourceSettings { group: "kappa-test".to_owned(), ..SourceSettings::default() };
    settings.kafka.insert("isolation.level".to_owned(), "read_uncommitted".to_owned());
    let error = open(&stream(), &settings, &BTreeMap::new()).err().expect("the property is ours");
    assert_eq!(
        error.to_string(),
        "[kafka] isolation.level can't be set: records of aborted transactions must not count: it is read_committed"
    );
    settings.kafka = BTreeMap::from([("no.such.property".to_owned(), "1".to_owned())]);
    let error = open(&stream(), &settings, &BTreeMap::new()).err().expect("there is no such property");
    assert!(error.to_string().contains("no.such.property"), "{error}");
}
