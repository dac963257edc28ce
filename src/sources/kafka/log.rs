//! What a topic looks like from outside: partitions, ends, offsets for times, and the group's offsets for lag tools.
//! Reads no records, but for [`KafkaLog::first_stamps`]. Every request has a time limit, and its error names broker, topic
//! and cause.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, KafkaContext, brokers, consumer};
use super::complaint::Complaint;
use crate::event::ResumeOffset;
use crate::sources::SourceError;

/// How long each try of a request may take while no broker lets us in: together they are what a user waits for a message.
const TRY_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(6)];
/// How long the last try may take if nothing stands in the way of an answer: a broker that is slow, not one that is away.
const PATIENT_WAIT: Duration = Duration::from_secs(20);
/// How long to listen for what a client has to say: all of it is there already.
const EVENTS_WAIT: Duration = Duration::from_millis(50);
/// How long names of other topics, for a hint, may take.
const HINT_WAIT: Duration = Duration::from_secs(5);

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
    group: String,
}

impl std::fmt::Debug for KafkaLog {
    /// Without properties, of which some are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("brokers", &self.brokers).field("group", &self.group).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// A client of the brokers in `kafka` (librdkafka's properties), for `group`. Connects at the first request.
    ///
    /// # Errors
    /// If the properties aren't librdkafka's, or one is ours.
    pub fn connect(kafka: &BTreeMap<String, String>, group: &str) -> Result<KafkaLog, SourceError> {
        Ok(KafkaLog { consumer: consumer(kafka, group)?, brokers: brokers(kafka), group: group.to_owned() })
    }

    /// Number of partitions of `topic`, as it is now; they are numbered from 0.
    ///
    /// # Errors
    /// [`SourceError::TopicMissing`] with a near name; [`SourceError::Request`] if no broker answers.
    pub fn partitions(&self, topic: &str) -> Result<i32, SourceError> {
        let request = "metadata";
        let metadata = match self.ask(|wait| self.consumer.fetch_metadata(Some(topic), wait)) {
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
            Some(code) => Err(self.failed(request, topic, &KafkaError::MetadataFetch(code))),
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
        let answer = self.ask(|wait| self.consumer.offsets_for_times(list.clone(), wait));
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
    /// [`SourceError::Request`] if no broker answers, or a member of the group is active; [`SourceError::NotAllowed`] without
    /// the right to read the group.
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
        // Without a coordinator, or the right to have one, a commit waits for a minute; this question waits less.
        self.ask_group(|wait| self.consumer.committed_offsets(list.clone(), wait))
            .and_then(|_| self.consumer.commit(&list, CommitMode::Sync))
            .map_err(|error| self.group_failed(request, topic, &error))
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
        let answer = self.ask_group(|wait| self.consumer.committed_offsets(list.clone(), wait));
        let answer = answer.map_err(|error| self.group_failed(request, topic, &error))?;
        let mut positions = BTreeMap::new();
        for element in answer.elements() {
            if let Offset::Offset(offset) = element.offset() {
                positions.insert(element.partition(), ResumeOffset(offset));
            }
        }
        Ok(positions)
    }

    fn missing(&self, topic: &str) -> SourceError {
        let all = self.consumer.fetch_metadata(None, HINT_WAIT);
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

    /// Asks again while no broker answers, as long as that may help.
    pub(super) fn ask<T>(&self, call: impl Fn(Duration) -> KafkaResult<T>) -> KafkaResult<T> {
        self.ask_unless(Complaint::is_lasting, call)
    }

    /// As [`KafkaLog::ask`], of the group's coordinator.
    fn ask_group<T>(&self, call: impl Fn(Duration) -> KafkaResult<T>) -> KafkaResult<T> {
        self.ask_unless(|complaint| complaint.is_lasting() || complaint.is_about_group(), call)
    }

    fn ask_unless<T>(
        &self,
        hopeless: impl Fn(&Complaint) -> bool,
        call: impl Fn(Duration) -> KafkaResult<T>,
    ) -> KafkaResult<T> {
        let mut answer = call(TRY_WAITS[0]);
        for wait in [TRY_WAITS[1], TRY_WAITS[2], PATIENT_WAIT] {
            let unanswered = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
            if !unanswered.is_some_and(client::is_transient) {
                break;
            }
            match self.complaint() {
                Some(complaint) if hopeless(&complaint) || wait == PATIENT_WAIT => break,
                _ => answer = call(wait),
            }
        }
        answer
    }

    /// What keeps the client from a broker, as its events say by now.
    fn complaint(&self) -> Option<Complaint> {
        // Log lines pass by within a poll, each error ends one; nothing else comes, as nothing is assigned.
        while self.consumer.poll(EVENTS_WAIT).is_some() {}
        self.consumer.context().complaint()
    }

    pub(super) fn failed(&self, request: &'static str, topic: &str, error: &KafkaError) -> SourceError {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return self.not_allowed("Describe", "topic", topic);
        }
        match self.complaint().filter(|_| code.is_none_or(client::is_transient)) {
            Some(complaint) => complaint.into_error(&self.brokers),
            None => self.request_error(request, topic, error.to_string()),
        }
    }

    fn group_failed(&self, request: &'static str, topic: &str, error: &KafkaError) -> SourceError {
        // The client asks for the coordinator by itself, and is refused as an event.
        let is_refused = error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
            || self.complaint().is_some_and(|complaint| complaint.is_about_group());
        match is_refused {
            true => self.not_allowed("Read", "group", &self.group),
            false => self.failed(request, topic, error),
        }
    }

    fn not_allowed(&self, operation: &'static str, kind: &'static str, name: &str) -> SourceError {
        SourceError::NotAllowed { brokers: self.brokers.clone(), operation, kind, name: name.to_owned() }
    }

    pub(super) fn request_error(&self, request: &'static str, topic: &str, reason: String) -> SourceError {
        SourceError::Request { brokers: self.brokers.clone(), request, topic: topic.to_owned(), reason }
    }
}

fn is_missing(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic))
}
