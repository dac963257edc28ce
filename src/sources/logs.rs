//! The logs behind a job's streams: what they hold, and how to read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::kafka::{self, metadata_interval};
use super::{KafkaLog, Source, SourceError, SourceSettings, open};
use crate::event::{EventTime, LiveFace, ResumeOffset, Stream};
use crate::start::{LogFacts, LogNature, Stamp};

/// Access to the live faces of streams. Blocking calls: use them off the async threads.
pub trait Logs: Send + Sync + std::fmt::Debug {
    /// What the log says of each partition: ends are asked first, then, with `at`, the first offset whose timestamp is
    /// at or after it. Fails when the log isn't there or doesn't answer in time.
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError>;

    /// The timestamp of the first record at or behind each of `positions`; [`Stamp::NoRecord`] where there is none. Fails
    /// when the log doesn't answer in time.
    fn first_stamps(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError>;

    /// How the log keeps its records; what it doesn't say is left unknown.
    fn nature(&self, stream: &Stream) -> Result<LogNature, SourceError>;

    /// What tells the log from another of the same name; `None` if it has nothing that does. Fails when it doesn't answer in
    /// time.
    fn identity(&self, _stream: &Stream) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// The partitions that there are now.
    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError>;

    /// Opens the given partitions at the given positions.
    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError>;

    /// Tells the log how far results are published, for lag tools only; nothing is read back. Failures are not errors.
    fn report(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>);

    /// Whether the log ends by itself, as a file does.
    fn is_bounded(&self, stream: &Stream) -> bool;

    /// How often to ask for partitions that were not there before.
    fn discovery_interval(&self) -> Duration;

    /// How long the log keeps a record at least; `None`: for ever, or it doesn't say.
    fn retention(&self, stream: &Stream) -> Option<Duration>;
}

/// The logs that a job file names: Kafka topics and files.
#[derive(Debug)]
pub struct RealLogs {
    /// How they are reached.
    settings: SourceSettings,
    /// Of the first question for a topic's id.
    telling_ids: OnceLock<KafkaLog>,
}

impl RealLogs {
    /// Logs that are reached so.
    pub fn new(settings: SourceSettings) -> RealLogs {
        RealLogs { settings, telling_ids: OnceLock::new() }
    }

    fn kafka(&self) -> Result<KafkaLog, SourceError> {
        KafkaLog::connect(&self.settings.kafka, &self.settings.group)
    }
}

impl Logs for RealLogs {
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        match &stream.live {
            // A file says where it ends when it is read.
            LiveFace::File { .. } => {
                let whole = LogFacts { low: ResumeOffset(0), high: ResumeOffset(i64::MAX), at_time: None };
                Ok(BTreeMap::from([(0, whole)]))
            }
            LiveFace::Kafka { topic, .. } => {
                let log = self.kafka()?;
                // Ends first: an open transaction hides records from the look-up, and the end of now stands in.
                let ends = log.ends(topic)?;
                let found = at.map(|at| log.offsets_for_times(topic, at.0)).transpose()?.unwrap_or_default();
                let facts = ends.into_iter().map(|(partition, ends)| {
                    let at_time = found.get(&partition).copied().flatten().map(ResumeOffset);
                    (partition, LogFacts { low: ResumeOffset(ends.low), high: ResumeOffset(ends.high), at_time })
                });
                Ok(facts.collect())
            }
        }
    }

    fn first_stamps(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        match &stream.live {
            LiveFace::File { .. } => Ok(positions.keys().map(|&partition| (partition, Stamp::None)).collect()),
            LiveFace::Kafka { topic, .. } => self.kafka()?.first_stamps(topic, positions),
        }
    }

    fn nature(&self, stream: &Stream) -> Result<LogNature, SourceError> {
        match &stream.live {
            LiveFace::File { .. } => Ok(LogNature::default()),
            LiveFace::Kafka { topic, .. } => Ok(kafka::nature(&self.settings.kafka, topic)),
        }
    }

    fn identity(&self, stream: &Stream) -> Result<Option<String>, SourceError> {
        let LiveFace::Kafka { topic, .. } = &stream.live else { return Ok(None) };
        // Asked with each checkpoint, so that its client stays.
        if let Some(log) = self.telling_ids.get() {
            return log.topic_id(topic);
        }
        let log = self.kafka()?;
        self.telling_ids.get_or_init(|| log).topic_id(topic)
    }

    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError> {
        match &stream.live {
            LiveFace::File { .. } => Ok(BTreeSet::from([0])),
            LiveFace::Kafka { topic, .. } => Ok((0..self.kafka()?.partitions(topic)?).collect()),
        }
    }

    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError> {
        open(stream, &self.settings, positions)
    }

    fn report(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) {
        let LiveFace::Kafka { topic, .. } = &stream.live else { return };
        // Groups whose right is missing, each told once.
        static REFUSED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        match self.kafka().and_then(|log| log.commit(topic, positions)) {
            Ok(()) => {}
            Err(error @ SourceError::NotAllowed { .. }) => {
                let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
                if refused.insert(self.settings.group.clone()) {
                    tracing::warn!("lag tools don't see how far this is: {error}");
                }
            }
            Err(error) => tracing::debug!(%error, "group offsets were not committed; lag tools show older ones"),
        }
    }

    fn is_bounded(&self, stream: &Stream) -> bool {
        matches!(stream.live, LiveFace::File { .. })
    }

    fn discovery_interval(&self) -> Duration {
        metadata_interval(&self.settings.kafka)
    }

    fn retention(&self, stream: &Stream) -> Option<Duration> {
        let LiveFace::Kafka { topic, .. } = &stream.live else { return None };
        super::kafka::retention(&self.settings.kafka, topic)
    }
}
