//! A topic in memory that is the log of every stream: its partitions are taken in turns, in small batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kappa::event::{EventTime, ResumeOffset, Stream};
use kappa::sources::{Logs, MemoryLogs, MemoryRecord, Source, SourceError};
use kappa::start::{LogFacts, LogNature, Stamp};

/// Records of a batch: few, so that batches of partitions alternate.
const BATCH_ROWS: usize = 7;

/// One record: the log's timestamp in microseconds, and its bytes.
pub type Record = (i64, String);

/// A topic.
#[derive(Clone, Debug)]
pub struct Log {
    /// Records by partition.
    pub partitions: Arc<Vec<Vec<Record>>>,
    /// Records of each partition below this offset are gone.
    pub low: i64,
}

impl Log {
    /// A topic with these partitions.
    pub fn new(partitions: Vec<Vec<Record>>) -> Log {
        Log { partitions: Arc::new(partitions), low: 0 }
    }

    /// The topic when only the first records of each partition were there.
    pub fn up_to(&self, rows: usize) -> Log {
        Log::new(self.partitions.iter().map(|records| records[..rows.min(records.len())].to_vec()).collect())
    }

    /// The topic when retention has removed what is below an offset of each partition.
    pub fn trimmed(&self, below: i64) -> Log {
        Log { low: below, ..self.clone() }
    }

    /// The topic as the log of `stream`.
    fn of(&self, stream: &Stream) -> MemoryLogs {
        let record = |(timestamp, text): &Record| MemoryRecord {
            timestamp: Some(*timestamp),
            value: Some(text.clone().into_bytes()),
            ..MemoryRecord::default()
        };
        let partitions = self.partitions.iter().map(|records| records.iter().map(record).collect());
        MemoryLogs::new(BTreeMap::from([(stream.name.clone(), (0..).zip(partitions).collect())]), BATCH_ROWS)
    }
}

impl Logs for Log {
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        let mut facts = self.of(stream).facts(stream, at)?;
        facts.values_mut().for_each(|facts| facts.low = ResumeOffset(self.low));
        Ok(facts)
    }

    fn first_stamps(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        self.of(stream).first_stamps(stream, positions)
    }

    fn nature(&self, stream: &Stream) -> Result<LogNature, SourceError> {
        self.of(stream).nature(stream)
    }

    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError> {
        self.of(stream).partitions(stream)
    }

    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError> {
        assert!(positions.values().all(|from| from.0 >= self.low), "what is gone is not to be read: {positions:?}");
        self.of(stream).open(stream, positions)
    }

    fn report(&self, _: &Stream, _: &BTreeMap<i32, ResumeOffset>) {}

    fn is_bounded(&self, _: &Stream) -> bool {
        false
    }

    fn discovery_interval(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn retention(&self, _: &Stream) -> Option<Duration> {
        None
    }
}
