//! Sources: the logs that streams are read from, as decoded records with their positions.
//!
//! Owns how records leave Kafka and files, and what a position means there. Invariant: every record of a partition is given
//! exactly once, in offset order, from the position that was asked for; never from another one because that was
//! easier. Sources know nothing of time, windows or checkpoints: they say where the log ends, never that it is idle.

mod agreement;
mod anew;
mod asking;
#[cfg(test)]
mod conformance;
mod ends;
mod file;
mod history;
mod identities;
mod intake;
pub mod kafka;
mod lane;
mod logs;
mod memory;
mod seen;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::decode::DecoderError;
use crate::event::{Decoded, LiveFace, ResumeOffset, Stream};
use crate::secret::Properties;

pub use agreement::{Agreement, DisagreementError, added_columns, agree, declaration, seen_anew};
pub use anew::{Anew, AnewError};
pub use asking::{Answers, ask};
pub use ends::{Ends, LogEnd};
pub use file::FileSource;
pub use history::{History, HistoryEvent, HistoryOptions};
pub use identities::{Identities, compare, identity};
pub use intake::{Intake, IntakeEvent, TakeUp, resume};
pub use kafka::{KafkaLog, KafkaSource};
pub use lane::{Lane, LaneEvent, LaneOptions, LaneRecords};
pub use logs::{Logs, RealLogs};
pub use memory::{MemoryLogs, MemoryPartitions, MemoryRecord};
pub use seen::Seen;
pub use telling::Telling;

/// A log being read, partition by partition.
///
/// Between partitions there is no order. A source is used by one thread, which may be blocked for as long as it allows.
pub trait Source: Send {
    /// Waits up to `wait` for the next piece of the log, and gives it. Returns earlier as soon as there is one.
    ///
    /// A piece that was given isn't given again: whoever needs it again opens the log anew at an older position. A broker
    /// that doesn't answer is no error, the source keeps trying and gives [`SourceEvent::Idle`].
    ///
    /// # Errors
    /// [`SourceError::OffsetOutOfRange`] and [`SourceError::TopicMissing`] will come again until a person acts; the
    /// source gives no more records of any partition. After any error the source must be opened anew.
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError>;

    /// Stops (true) or resumes (false) the delivery of a partition, for event-time alignment. From the return on, nothing
    /// of a stopped partition is given, an end neither; resumed, it goes on with the first record not yet given.
    /// Idempotent; a partition that isn't assigned is left alone.
    ///
    /// # Errors
    /// [`SourceError::Client`] if the client refuses, which is our bug or a broken client.
    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError>;

    /// Adds a partition, from a position on (one that was found while running). A partition that is assigned already
    /// goes on where it is.
    ///
    /// # Errors
    /// [`SourceError::Client`] if the client refuses, which is our bug or a broken client; for a file, if it isn't
    /// partition 0.
    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError>;
}

/// What a source has to say.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// The next records of one partition, good and bad.
    Records(Decoded),
    /// All of the partition was given: the position equals the end of the log, confirmed by a request that just
    /// succeeded, and no transaction is open. Repeated about every second while it stays so; silence means the opposite.
    AtEnd {
        /// Partition whose end is reached.
        partition: i32,
        /// The end. May lie above the last record: a log holds markers that aren't records.
        offset: ResumeOffset,
    },
    /// Nothing in the time that was allowed.
    Idle,
    /// A bounded source has given everything; it says so for ever.
    Ended,
}

/// The consumer group under which brokers and lag tools know the one who keeps checkpoints as `owner`: `kappa-<job>`, or
/// `kappa-archive-<history>`, as a history has one archiver, whatever jobs call its stream.
pub fn group_of(owner: &str) -> String {
    format!("kappa-{owner}")
}

/// What `open` needs beside the stream.
#[derive(Clone, Default)]
pub struct SourceSettings {
    /// Properties of librdkafka, as the profile has them.
    pub kafka: BTreeMap<String, String>,
    /// The consumer group under which brokers and lag tools know us; we are never a member of it.
    pub group: String,
    /// The project folder: relative paths of files start there.
    pub root: PathBuf,
}

impl std::fmt::Debug for SourceSettings {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kafka: Properties = self.kafka.clone().into_iter().collect();
        let mut shown = f.debug_struct("SourceSettings");
        shown.field("kafka", &kafka).field("group", &self.group).field("root", &self.root).finish()
    }
}

/// Why a log can't be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Records that we need are gone, or the log is shorter than it was. Never resolved by skipping.
    #[error("{}", out_of_range(topic, *partition, *wanted, *low, *high))]
    OffsetOutOfRange {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The offset that was to be read next.
        wanted: i64,
        /// First offset of the log.
        low: i64,
        /// End of the log: the offset of its next record.
        high: i64,
    },
    /// Another topic has the name: offsets of the one that was read mean other records now.
    #[error(
        "topic {topic} was deleted and made anew: it had the id {was} when it was read, and has {is} now; offsets that were taken \
         stand for other records in it; to read the new one, reset the position of all its partitions"
    )]
    TopicMadeAnew {
        /// Topic.
        topic: String,
        /// The broker's id of the topic that was read.
        was: String,
        /// Its id of the one that is there.
        is: String,
    },
    /// The topic isn't there.
    #[error("topic {topic} doesn't exist on {brokers}{hint}")]
    TopicMissing {
        /// Topic.
        topic: String,
        /// Brokers that were asked.
        brokers: String,
        /// A near name, or how to create one.
        hint: String,
    },
    /// A property that would break a promise.
    #[error("[kafka] {property} can't be set: {reason}")]
    PropertyOwned {
        /// Property.
        property: String,
        /// Why it is ours.
        reason: &'static str,
    },
    /// A property that librdkafka doesn't take.
    #[error("[kafka] isn't a configuration that librdkafka takes: {reason}")]
    Configuration {
        /// What librdkafka says.
        reason: String,
    },
    /// A request that was answered with an error, or not in time.
    #[error(
        "{brokers}: {request} of topic {topic} failed: {reason}; check [kafka] bootstrap.servers and that the broker is up"
    )]
    Request {
        /// Brokers that were asked.
        brokers: String,
        /// What was asked for.
        request: &'static str,
        /// Topic.
        topic: String,
        /// What the client says.
        reason: String,
    },
    /// A broker is there, but doesn't let us in or isn't the one it should be.
    #[error("{brokers}: no connection is made: {reason}; {way_out}")]
    Refused {
        /// Brokers that were asked.
        brokers: String,
        /// What the client says.
        reason: String,
        /// Which properties decide it.
        way_out: &'static str,
    },
    /// No broker is reached.
    #[error("{brokers}: no broker answers: {reason}; {way_out}")]
    Unreachable {
        /// Brokers that were asked.
        brokers: String,
        /// What the client says.
        reason: String,
        /// Which properties decide it.
        way_out: &'static str,
    },
    /// The broker knows us, but we lack a right.
    #[error(
        "{brokers}: our user may not {} {kind} {name}; give it the right: kafka-acls.sh --add --allow-principal User:NAME \
         --operation {operation} --{kind} {name}",
        operation.to_lowercase()
    )]
    NotAllowed {
        /// Brokers that were asked.
        brokers: String,
        /// What was tried, as Kafka names it.
        operation: &'static str,
        /// `topic` or `group`.
        kind: &'static str,
        /// Of the topic or the group.
        name: String,
    },
    /// Reading a partition failed in a way that waiting doesn't cure.
    #[error("reading partition {partition} of topic {topic} on {brokers} failed: {reason}")]
    Read {
        /// Brokers.
        brokers: String,
        /// Topic.
        topic: String,
        /// Partition; -1 if it concerns all.
        partition: i32,
        /// What the client says.
        reason: String,
    },
    /// The client refused a call.
    #[error("partition {partition} of {log} can't be {action}: {reason}")]
    Client {
        /// Topic or file.
        log: String,
        /// Partition.
        partition: i32,
        /// What was tried.
        action: &'static str,
        /// What the client says.
        reason: String,
    },
    /// The thread that reads a stream is gone: a bug of ours. The run can go on from its checkpoint.
    #[error("reading stream {stream} stopped unexpectedly: {message}")]
    Stopped {
        /// Stream.
        stream: String,
        /// What is known of it.
        message: String,
    },
    /// A file that can't be opened or read.
    #[error("file {} can't be read at row {row}", path.display())]
    File {
        /// Path.
        path: PathBuf,
        /// Row at which reading stopped.
        row: i64,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A Parquet file that isn't one, or is broken.
    #[error("file {} isn't a readable Parquet file", path.display())]
    Parquet {
        /// Path.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The declaration doesn't fit the log.
    #[error("stream {stream} can't be decoded")]
    Decoder {
        /// Stream.
        stream: String,
        /// What doesn't fit.
        #[source]
        source: DecoderError,
    },
}

impl SourceError {
    /// Whether a log that was there doesn't answer, so that whoever had begun to read it may wait for it.
    pub fn is_outage(&self) -> bool {
        matches!(self, SourceError::Request { .. } | SourceError::Unreachable { .. })
    }
}

fn out_of_range(topic: &str, partition: i32, wanted: i64, low: i64, high: i64) -> String {
    let place = format!("partition {partition} of topic {topic}");
    if wanted < low {
        let last = low - 1;
        let count = low - wanted;
        return format!(
            "{place}: {count} offsets, {wanted} to {last}, are lost: the log now begins at {low} (retention or deletion); \
             to go on without them, reset the position"
        );
    }
    format!(
        "{place}: offset {wanted} lies beyond the end of the log, {high}: the topic was made anew or cut; \
         to read what is there now, reset the position"
    )
}

/// Opens the live face of `stream` at `positions`: the first offset to read of each partition.
///
/// # Errors
/// If the declaration, the properties or the file don't fit. A broker that doesn't answer is no error here.
pub fn open(
    stream: &Stream,
    settings: &SourceSettings,
    positions: &BTreeMap<i32, ResumeOffset>,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(match &stream.live {
        LiveFace::Kafka { topic, .. } => Box::new(KafkaSource::open(stream, topic, settings, positions)?),
        LiveFace::File { path, format } => {
            let from = positions.get(&0).copied().unwrap_or(ResumeOffset(0));
            Box::new(FileSource::open(stream, &settings.root.join(path), format.kind, from)?)
        }
    })
}
