//! The topic: made and filled once, the same events also as lines of a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::events::{EVENT_BYTES, Event, PARTITIONS};

const FLUSH_MAX: Duration = Duration::from_secs(120);
/// How long a full queue is served before it is tried again.
const SERVE: Duration = Duration::from_millis(20);

/// Fails on the first message that the broker doesn't take.
struct Deliveries;

impl rdkafka::client::ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("a message was not delivered: {error}");
        }
    }
}

/// Makes the topic and writes `count` events into it and, as lines, into `lines`.
pub fn fill(address: &str, topic: &str, lines: &Path, count: u64) {
    create(address, topic);
    let mut file = BufWriter::new(File::create(lines).expect("the folder takes files"));
    produce(address, topic, 0..count, |number, text| {
        let event = Event::new(number, count);
        event.write(text);
        file.write_all(text).and_then(|()| file.write_all(b"\n")).expect("the disk has room");
        (event.partition(), event.ts)
    });
    file.flush().expect("the disk has room");
}

/// Sends an event for each number; `write` writes one and answers its partition and its time in milliseconds.
pub fn produce(
    address: &str,
    topic: &str,
    numbers: Range<u64>,
    mut write: impl FnMut(u64, &mut Vec<u8>) -> (i32, i64),
) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("enable.idempotence", "true");
    config.set("linger.ms", "20").set("batch.num.messages", "10000").set("queue.buffering.max.kbytes", "65536");
    let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries).expect("properties are valid");
    let mut text = Vec::with_capacity(EVENT_BYTES);
    for number in numbers {
        let (partition, time) = write(number, &mut text);
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(partition).payload(text.as_slice()).timestamp(time);
        while let Err((error, returned)) = producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "sending to {topic}: {error}");
            producer.poll(SERVE);
            record = returned;
        }
        if number % 1_024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH_MAX).expect("the broker takes all messages");
}

/// Makes the topic.
pub fn create(address: &str, topic: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", address).create().expect("properties are valid");
    let new = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(1));
    let results = block_on(admin.create_topics([&new], &AdminOptions::new())).expect("the broker answers");
    assert!(results.iter().all(Result::is_ok), "creating {topic}: {results:?}");
}
