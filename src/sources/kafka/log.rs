//! What a topic looks like from outside: partitions, ends, offsets for times, and the group's offsets for lag tools.
//! Reads no records, but for [`KafkaLog::first_stamps`]. Every request has a time limit, and its error names broker and topic.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{KafkaContext, brokers, consumer};
use crate::event::ResumeOffset;
use crate::sources::SourceError;

/// How long a request may take, connecting included.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);

/// First offset and end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// First offset that is still there.
    pub low: i64,
    /// Last stable offset: everything below is committed. Equal to the offset of the next record unless a transaction
    /// is open.
    pub high: i64,
}

/// A client that asks about topics and commits a group's offsets.
pub struct KafkaLog {
    pub(super) consumer: BaseConsumer<KafkaContext>,
    brokers: String,
}

impl KafkaLog {
    /// A client of the brokers in `kafka` (librdkafka's properties), for `group`. Connects at the first request.
    ///
    /// # Errors
    /// If the properties aren't librdkafka's, or one is ours.
    pub fn connect(kafka: &BTreeMap<String, String>, group: &str) -> Result<KafkaLog, SourceError> {
        Ok(KafkaLog { consumer: consumer(kafka, group)?, brokers: brokers(kafka) })
    }

    /// Number of partitions of `topic`, as it is now; they are numbered from 0.
    ///
    /// # Errors
    /// [`SourceError::TopicMissing`] with a near name; [`SourceError::Request`] if no broker answers.
    pub fn partitions(&self, topic: &str) -> Result<i32, SourceError> {
        let request = "metadata";
        let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST_WAIT_MAX);
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) if is_missing(error.rdkafka_error_code()) => return Err(self.missing(topic)),
            Err(error) => return Err(self.failed(request, topic, &error)),
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(self.missing(topic));
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None if found.partitions().is_empty() => Err(self.missing(topic)),
            None => Ok(i32::try_from(found.partitions().len()).expect("Kafka numbers partitions in 32 bits")),
            code if is_missing(code) => Err(self.missing(topic)),
            Some(code) => Err(self.request_error(request, topic, code.to_string())),
        }
    }

    /// First offset and end of each partition of `topic`.
    ///
    /// # Errors
    /// As [`KafkaLog::partitions`].
    pub fn ends(&self, topic: &str) -> Result<BTreeMap<i32, LogEnds>, SourceError> {
        let partitions = self.partitions(topic)?;
        let lows = self.look_up("first offsets", topic, partitions, Offset::Beginning)?;
        let highs = self.look_up("end offsets", topic, partitions, Offset::End)?;
        let mut ends = BTreeMap::new();
        for partition in 0..partitions {
            let (Some(Some(low)), Some(Some(high))) = (lows.get(&partition), highs.get(&partition)) else {
                let reason = format!("no answer for partition {partition}");
                return Err(self.request_error("offsets", topic, reason));
            };
            ends.insert(partition, LogEnds { low: *low, high: *high });
        }
        Ok(ends)
    }

    /// For each partition of `topic` the first offset whose record has a timestamp at or after `micros`; `None` if there
    /// is none (also where an open transaction hides it).
    ///
    /// # Errors
    /// As [`KafkaLog::partitions`].
    pub fn offsets_for_times(&self, topic: &str, micros: i64) -> Result<BTreeMap<i32, Option<i64>>, SourceError> {
        let partitions = self.partitions(topic)?;
        // Timestamps are whole milliseconds: the first one at or after `micros`. Negative ones mean something else.
        let milliseconds = micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) != 0);
        self.look_up("offsets for times", topic, partitions, Offset::Offset(milliseconds.max(0)))
    }

    fn look_up(
        &self,
        request: &'static str,
        topic: &str,
        partitions: i32,
        time: Offset,
    ) -> Result<BTreeMap<i32, Option<i64>>, SourceError> {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(topic, partition, time);
            added.map_err(|error| self.failed(request, topic, &error))?;
        }
        let answer = self.consumer.offsets_for_times(list, REQUEST_WAIT_MAX);
        let answer = answer.map_err(|error| self.failed(request, topic, &error))?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.failed(request, topic, &error))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.insert(element.partition(), offset);
        }
        Ok(offsets)
    }

    /// Commits `positions` as the group's offsets of `topic`: for lag tools only, nobody reads them back to start from.
    ///
    /// # Errors
    /// [`SourceError::Request`] if no broker answers, or a member of the group is active.
    pub fn commit(&self, topic: &str, positions: &BTreeMap<i32, ResumeOffset>) -> Result<(), SourceError> {
        let request = "commit of group offsets";
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(position.0));
            added.map_err(|error| self.failed(request, topic, &error))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| self.failed(request, topic, &error))
    }

    /// The group's committed offsets of `topic`; partitions without one are left out.
    ///
    /// # Errors
    /// As [`KafkaLog::partitions`].
    pub fn committed(&self, topic: &str) -> Result<BTreeMap<i32, ResumeOffset>, SourceError> {
        let request = "group offsets";
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic)? {
            list.add_partition(topic, partition);
        }
        let answer = self.consumer.committed_offsets(list, REQUEST_WAIT_MAX);
        let answer = answer.map_err(|error| self.failed(request, topic, &error))?;
        let mut positions = BTreeMap::new();
        for element in answer.elements() {
            if let Offset::Offset(offset) = element.offset() {
                positions.insert(element.partition(), ResumeOffset(offset));
            }
        }
        Ok(positions)
    }

    fn missing(&self, topic: &str) -> SourceError {
        let all = self.consumer.fetch_metadata(None, REQUEST_WAIT_MAX);
        let names: Vec<String> = match &all {
            Ok(metadata) => metadata.topics().iter().map(|found| found.name().to_owned()).collect(),
            Err(_) => Vec::new(),
        };
        let near = names.iter().map(|name| (strsim::damerau_levenshtein(name, topic), name)).min();
        let hint = match near {
            Some((distance, name)) if distance > 0 && distance <= 2 + topic.len() / 5 => {
                format!("; did you mean {name}?")
            }
            _ => "; create it first".to_owned(),
        };
        SourceError::TopicMissing { topic: topic.to_owned(), brokers: self.brokers.clone(), hint }
    }

    pub(super) fn failed(&self, request: &'static str, topic: &str, error: &KafkaError) -> SourceError {
        self.request_error(request, topic, error.to_string())
    }

    pub(super) fn request_error(&self, request: &'static str, topic: &str, reason: String) -> SourceError {
        SourceError::Request { brokers: self.brokers.clone(), request, topic: topic.to_owned(), reason }
    }
}

fn is_missing(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic))
}
