//! Topics, messages, transactions and groups on the real broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders, Timestamp};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::{kafka_address, unique};

/// Far more than the broker needs for anything, so that a test fails rather than hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a test writes into a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Partition; nobody else chooses it.
    pub partition: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The record's timestamp in milliseconds; `None`: the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// What a topic holds, as a read_committed consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// The record's timestamp in milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
}

/// Makes a topic with a name of its own, which begins with `stem`; answers the name.
pub fn create_topic(stem: &str, partitions: usize) -> String {
    create_topic_with(stem, partitions, &[])
}

/// As [`create_topic`], with topic settings.
pub fn create_topic_with(stem: &str, partitions: usize, settings: &[(&str, &str)]) -> String {
    create_topic_at(&kafka_address(), stem, partitions, settings)
}

/// As [`create_topic_with`], on another broker.
pub fn create_topic_at(address: &str, stem: &str, partitions: usize, settings: &[(&str, &str)]) -> String {
    create(address, stem, partitions, 1, settings)
}

/// As [`create_topic_at`], with so many copies of each partition, and waits until all of them are in step.
pub fn create_replicated_topic_at(address: &str, stem: &str, partitions: usize, copies: i32) -> String {
    let topic = create(address, stem, partitions, copies, &[]);
    let in_step = || partition_nodes(address, &topic).values().all(|(_, copies_there)| *copies_there == copies);
    while !in_step() {
        std::thread::sleep(Duration::from_millis(50));
    }
    topic
}

/// For each partition, the node that leads it, and how many copies are in step.
pub fn partition_nodes(address: &str, topic: &str) -> BTreeMap<i32, (i32, i32)> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", address).create().expect("a consumer can be made");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("broker answers");
    let nodes = |partition: &MetadataPartition| {
        (partition.id(), (partition.leader(), i32::try_from(partition.isr().len()).expect("is small")))
    };
    metadata.topics().iter().flat_map(|topic| topic.partitions().iter().map(nodes)).collect()
}

fn create(address: &str, stem: &str, partitions: usize, copies: i32, settings: &[(&str, &str)]) -> String {
    let name = unique(stem).replace('_', "-");
    let partitions = i32::try_from(partitions).expect("few partitions");
    let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(copies));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let results = block_on(admin_at(address).create_topics([&topic], &admin_options())).expect("broker answers");
    assert!(results.iter().all(Result::is_ok), "creating {name}: {results:?}");
    name
}

/// Deletes a topic and makes another one of the same name.
pub fn make_anew(topic: &str, partitions: usize) {
    delete_topic(topic);
    let partitions = i32::try_from(partitions).expect("few partitions");
    let anew = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    // The name is free when the broker has let go of the old one.
    for _ in 0..1_000 {
        let results = block_on(admin().create_topics([&anew], &admin_options())).expect("broker answers");
        match results[..] {
            [Err((_, RDKafkaErrorCode::TopicAlreadyExists))] => std::thread::sleep(Duration::from_millis(10)),
            _ => return assert!(results.iter().all(Result::is_ok), "making {topic} anew: {results:?}"),
        }
    }
    panic!("{topic} isn't deleted");
}

/// Changes a setting of a topic, and takes all others back.
pub fn alter_topic(topic: &str, key: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let results = block_on(admin().alter_configs([&change], &admin_options())).expect("broker answers");
    assert!(results.iter().all(Result::is_ok), "changing {topic}: {results:?}");
}

/// The offsets of a topic that are committed to a group, by partition, as Kafka's own `kafka-consumer-groups` shows them.
pub fn group_offsets(group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let shown = tool("consumer.group.ConsumerGroupCommand", &["--describe", "--group", group]);
    let offset = |line: &str| {
        let mut words = line.split_whitespace();
        let of_topic = words.next() == Some(group) && words.next() == Some(topic);
        let partition = words.next().filter(|_| of_topic)?.parse().expect("a partition");
        Some((partition, words.next()?.parse().ok()?))
    };
    shown.lines().filter_map(offset).collect()
}

/// Runs one of Kafka's own tools against the broker, and answers what it prints.
pub fn tool(class: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(server());
    command.args(["tool", class, "--bootstrap-server", &kafka_address()]).args(arguments);
    let output = command.output().expect("the script can be started");
    assert!(output.status.success(), "{class} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("tools print text")
}

/// The script that starts and ends brokers.
pub fn server() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/kafka/server")
}

/// Adds partitions to a topic, up to `total`.
pub fn add_partitions(topic: &str, total: usize) {
    let grown = NewPartitions::new(topic, total);
    let results = block_on(admin().create_partitions([&grown], &admin_options())).expect("broker answers");
    assert!(results.iter().all(Result::is_ok), "adding partitions to {topic}: {results:?}");
}

/// Deletes a topic.
pub fn delete_topic(topic: &str) {
    let results = block_on(admin().delete_topics(&[topic], &admin_options())).expect("broker answers");
    assert!(results.iter().all(Result::is_ok), "deleting {topic}: {results:?}");
}

/// Deletes the records of a partition below `offset`, as retention does.
pub fn trim(topic: &str, partition: i32, offset: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("offset is valid");
    block_on(admin().delete_records(&offsets, &admin_options())).expect("broker deletes records");
}

/// Writes messages, in their order within each partition, and waits until the broker has them all.
pub fn produce(topic: &str, messages: &[Message]) {
    let producer = Producer::new(&[("enable.idempotence", "true")]);
    producer.send(topic, messages);
    producer.flush();
}

/// Offsets of the end of each partition, open transactions aside.
pub fn ends(topic: &str) -> Vec<i64> {
    let consumer = consumer();
    let partitions = partition_count(&consumer, topic);
    (0..partitions).map(|partition| end(&consumer, topic, partition)).collect()
}

/// All records of a topic that a read_committed consumer sees, by partition and offset.
pub fn read(topic: &str) -> Vec<Record> {
    let consumer = consumer();
    let mut records = Vec::new();
    for partition in 0..partition_count(&consumer, topic) {
        let end = end(&consumer, topic, partition);
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("offset is valid");
        consumer.assign(&assignment).expect("partition exists");
        // Markers and aborted records take offsets too, so the position tells when the end is reached.
        while position(&consumer, topic, partition) < end {
            let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
            let message = match message {
                Err(KafkaError::PartitionEOF(_)) => break,
                other => other.expect("record is readable"),
            };
            records.push(Record {
                partition,
                offset: message.offset(),
                timestamp_ms: match message.timestamp() {
                    Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms),
                    Timestamp::NotAvailable => None,
                },
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
            });
        }
    }
    records
}

/// A producer that notices every failed delivery; for transactions too.
pub struct Producer {
    inner: ThreadedProducer<Deliveries>,
}

impl Producer {
    /// A producer with further librdkafka properties.
    pub fn new(properties: &[(&str, &str)]) -> Producer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka_address()).set("linger.ms", "5").set("compression.type", "zstd");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let inner = config.create_with_context(Deliveries::default()).expect("properties are valid");
        Producer { inner }
    }

    /// A producer of transactions, ready to begin one. A later one with the same id fences this one.
    pub fn transactional(id: &str) -> Producer {
        let producer = Producer::new(&[("transactional.id", id)]);
        producer.inner.init_transactions(TIMEOUT).expect("broker takes transactions");
        producer
    }

    /// Begins a transaction.
    pub fn begin(&self) {
        self.inner.begin_transaction().expect("no transaction is open");
    }

    /// Commits the open transaction.
    pub fn commit(&self) {
        self.inner.commit_transaction(TIMEOUT).expect("transaction commits");
        self.check();
    }

    /// Aborts the open transaction, when all of it has reached the broker.
    pub fn abort(&self) {
        self.flush();
        self.inner.abort_transaction(TIMEOUT).expect("transaction aborts");
    }

    /// Hands messages over; waits only when the queue is full.
    pub fn send(&self, topic: &str, messages: &[Message]) {
        for message in messages {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition);
            record.key = message.key.as_deref();
            record.payload = message.value.as_deref();
            record.timestamp = message.timestamp_ms;
            while let Err((error, returned)) = self.inner.send(record) {
                let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                assert!(full, "sending to {topic}: {error}");
                std::thread::sleep(Duration::from_millis(1));
                record = returned;
            }
        }
        self.check();
    }

    /// Hands a message with headers over.
    pub fn send_with_headers(&self, topic: &str, message: &Message, headers: &[(&str, &str)]) {
        let mut list = OwnedHeaders::new();
        for (name, value) in headers {
            list = list.insert(Header { key: name, value: Some(value.as_bytes()) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition).headers(list);
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        record.timestamp = message.timestamp_ms;
        if let Err((error, _)) = self.inner.send(record) {
            panic!("sending to {topic}: {error}");
        }
    }

    /// Waits until the broker has everything that was sent.
    pub fn flush(&self) {
        self.inner.flush(TIMEOUT).expect("broker takes all messages");
        self.check();
    }

    fn check(&self) {
        let failed = self.inner.context().failed.lock().expect("no test panics while it holds this");
        assert!(failed.is_none(), "delivery failed: {failed:?}");
    }
}

/// The first failed delivery of a producer.
#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.lock().expect("no test panics while it holds this").get_or_insert_with(|| error.clone());
        }
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    admin_at(&kafka_address())
}

fn admin_at(address: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", address).create().expect("properties are valid")
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

fn consumer() -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka_address()).set("group.id", "tests").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    config.create().expect("properties are valid")
}

fn partition_count(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("broker answers");
    i32::try_from(metadata.topics()[0].partitions().len()).expect("few partitions")
}

fn end(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    consumer.fetch_watermarks(topic, partition, TIMEOUT).expect("partition exists").1
}

fn position(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let positions = consumer.position().expect("partitions are assigned");
    match positions.find_partition(topic, partition).map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => -1,
    }
}
