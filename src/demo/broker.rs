//! A Kafka broker inside this process, filled with the demo's topic.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::DemoError;
use super::requests::{Message, PARTITIONS};

/// The topic of the demo's job.
pub const TOPIC: &str = "web-requests";
/// Far longer than an embedded broker ever takes.
const FLUSH_MAX: Duration = Duration::from_secs(60);
/// How long to wait for room in the producer's queue at a time.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// The broker; it lives as long as this value, and keeps everything in memory.
pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("servers", &self.servers()).finish()
    }
}

impl Broker {
    /// Starts a broker with the topic, empty, on a free port of the loopback interface.
    pub fn start() -> Result<Broker, DemoError> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(TOPIC, PARTITIONS, 1)?;
        Ok(Broker { cluster })
    }

    /// Its address, as `bootstrap.servers` takes it.
    pub fn servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Puts all messages into their partitions, in order; returns when the broker has them.
    pub fn fill(&self, messages: &[Message]) -> Result<(), DemoError> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.servers())
            // One request at a time, so that a retry can't change the order.
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "20")
            .create()?;
        for message in messages {
            let mut record = BaseRecord::to(TOPIC)
                .partition(message.partition)
                .timestamp(message.timestamp_ms)
                .key(&message.key)
                .payload(&message.value);
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(ROOM_WAIT);
                record = back;
            }
        }
        Ok(producer.flush(FLUSH_MAX)?)
    }
}
