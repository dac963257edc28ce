//! Timestamps of single records, where they decide where a run begins.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaLog;
use crate::event::{EventTime, ResumeOffset};
use crate::sources::SourceError;
use crate::start::Stamp;
use crate::time::clock::{Clock, SystemClock};

/// How long all of them may take together, connecting included.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// How long one poll waits.
const POLL_WAIT: Duration = Duration::from_millis(100);

impl KafkaLog {
    /// The timestamp of the first committed record at or behind each of `positions`.
    ///
    /// # Errors
    /// [`SourceError::Request`] if a record can't be read in time.
    pub fn first_stamps(
        &self,
        topic: &str,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        let request = "read of first records";
        if positions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut list = TopicPartitionList::new();
        for (&partition, position) in positions {
            let added = list.add_partition_offset(topic, partition, Offset::Offset(position.0));
            added.map_err(|error| self.failed(request, topic, &error))?;
        }
        self.consumer.assign(&list).map_err(|error| self.failed(request, topic, &error))?;
        let stamps = self.poll_stamps(positions.len());
        // Before an error is looked into, which takes what is still in the queue.
        self.consumer.unassign().map_err(|error| self.failed(request, topic, &error))?;
        match stamps {
            Ok(Some(stamps)) => Ok(stamps),
            Ok(None) => {
                let reason = format!("no answer within {} s", WAIT_MAX.as_secs());
                Err(self.request_error(request, topic, reason))
            }
            Err(error) => Err(self.failed(request, topic, &error)),
        }
    }

    /// The first word of each of so many partitions; `None` if some keep silent.
    fn poll_stamps(&self, partitions: usize) -> KafkaResult<Option<BTreeMap<i32, Stamp>>> {
        let mut stamps = BTreeMap::new();
        // For waiting only.
        let clock = SystemClock::start();
        while stamps.len() < partitions {
            match self.consumer.poll(POLL_WAIT) {
                Some(Ok(message)) => {
                    stamps.entry(message.partition()).or_insert_with(|| stamp(message.timestamp()));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    stamps.entry(partition).or_insert(Stamp::NoRecord);
                }
                // A broker that is away is tried again until the time is up.
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(super::client::is_transient) => {}
                Some(Err(error)) => return Err(error),
                None if clock.elapsed() > WAIT_MAX => return Ok(None),
                None => {}
            }
        }
        Ok(Some(stamps))
    }
}

fn stamp(timestamp: Timestamp) -> Stamp {
    let micros = |milliseconds: i64| EventTime(milliseconds.saturating_mul(1_000));
    match timestamp {
        Timestamp::CreateTime(milliseconds) if milliseconds >= 0 => Stamp::ByProducer(micros(milliseconds)),
        Timestamp::LogAppendTime(milliseconds) if milliseconds >= 0 => Stamp::ByLog(micros(milliseconds)),
        _ => Stamp::None,
    }
}
