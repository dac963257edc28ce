//! L1: taking the topic's messages in batches from librdkafka, as the Kafka source does, and nothing else.
#![expect(unsafe_code, reason = "rd_kafka_consume_batch_queue has no safe wrapper")]

use std::ptr;

use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::events::PARTITIONS;
use crate::usage::{Cost, Stopwatch};

/// Messages a call, as the source takes them.
const BATCH_MESSAGES: usize = 8_192;
const WAIT_MS: i32 = 100;

/// What bounds librdkafka's memory, as in the source.
const PROPERTIES: &[(&str, &str)] = &[
    ("queued.min.messages", "65536"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "250"),
    ("group.id", "bench"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
];

/// Takes `count` messages of `topic` from its beginning.
pub fn measure(address: &str, topic: &str, count: u64) -> Cost {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    for (property, value) in PROPERTIES {
        config.set(*property, *value);
    }
    let stopwatch = Stopwatch::start();
    let consumer: BaseConsumer = config.create().expect("properties are valid");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("the beginning is an offset");
    }
    consumer.assign(&assignment).expect("partitions exist");
    let (messages, bytes) = take(&consumer, count);
    let cost = stopwatch.stop();
    assert_eq!(messages, count, "the topic holds all messages");
    assert_eq!(bytes, count * crate::events::EVENT_BYTES as u64, "the topic holds the events");
    cost
}

fn take(consumer: &BaseConsumer, count: u64) -> (u64, u64) {
    // SAFETY: the client outlives the queue, whose reference is given back below.
    let queue = unsafe { rdk::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    assert!(!queue.is_null(), "a consumer with a group has a queue");
    let mut batch = vec![ptr::null_mut(); BATCH_MESSAGES];
    let (mut messages, mut bytes) = (0, 0);
    let (mut wait_ms, mut wanted) = (0, BATCH_MESSAGES);
    while messages < count {
        // SAFETY: the queue is alive, and there is room for `wanted` pointers.
        let taken = unsafe { rdk::rd_kafka_consume_batch_queue(queue, wait_ms, batch.as_mut_ptr(), wanted) };
        let taken = usize::try_from(taken).expect("the queue can be read");
        for message in &batch[..taken] {
            // SAFETY: the call made the messages ours; each is looked at, then given back once.
            unsafe {
                if RDKafkaErrorCode::from((**message).err) == RDKafkaErrorCode::NoError {
                    messages += 1;
                    bytes += (**message).len as u64;
                }
                rdk::rd_kafka_message_destroy(*message);
            }
        }
        // A call waits until the whole batch is full; so first what is there, and else for one message.
        (wait_ms, wanted) = if taken == 0 { (WAIT_MS, 1) } else { (0, BATCH_MESSAGES) };
    }
    // SAFETY: the reference is ours, and not used any more.
    unsafe { rdk::rd_kafka_queue_destroy(queue) };
    (messages, bytes)
}
