//! A log in memory: several partitions, cut into small batches, taken in turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kappa::decode::{Decoder, RawBatch, RawRecord};
use kappa::event::{EventTime, ResumeOffset, Stream};
use kappa::sources::{Logs, Source, SourceError, SourceEvent};
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

    fn records(&self, partition: i32) -> &[Record] {
        &self.partitions[usize::try_from(partition).expect("isn't negative")]
    }

    fn end(&self, partition: i32) -> i64 {
        i64::try_from(self.records(partition).len()).expect("is small")
    }

    fn numbers(&self) -> impl Iterator<Item = i32> {
        0..i32::try_from(self.partitions.len()).expect("is small")
    }
}

impl Logs for Log {
    fn facts(&self, _: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        let facts = |partition: i32| {
            let found = self.records(partition).iter().position(|(stamp, _)| at.is_some_and(|at| *stamp >= at.0));
            let at_time = found.map(|offset| ResumeOffset(i64::try_from(offset).expect("is small")));
            let facts = LogFacts { low: ResumeOffset(self.low), high: ResumeOffset(self.end(partition)), at_time };
            (partition, facts)
        };
        Ok(self.numbers().map(facts).collect())
    }

    fn first_stamps(
        &self,
        _: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        let stamp = |(&partition, position): (&i32, &ResumeOffset)| {
            let index = usize::try_from(position.0).expect("isn't negative");
            let stamp = self.records(partition).get(index).map(|(stamp, _)| *stamp);
            (partition, stamp.map_or(Stamp::NoRecord, |stamp| Stamp::ByProducer(EventTime(stamp))))
        };
        Ok(positions.iter().map(stamp).collect())
    }

    fn nature(&self, _: &Stream) -> Result<LogNature, SourceError> {
        Ok(LogNature::default())
    }

    fn partitions(&self, _: &Stream) -> Result<BTreeSet<i32>, SourceError> {
        Ok(self.numbers().collect())
    }

    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError> {
        let decoder = Decoder::new(stream).expect("test streams are JSON");
        assert!(positions.values().all(|from| from.0 >= self.low), "what is gone is not to be read: {positions:?}");
        let positions = positions.iter().map(|(partition, from)| (*partition, from.0)).collect();
        Ok(Box::new(Reading {
            log: self.clone(),
            decoder,
            positions,
            paused: BTreeSet::new(),
            told: BTreeSet::new(),
            turn: 0,
        }))
    }

    fn report(&self, _: &Stream, _: &BTreeMap<i32, ResumeOffset>) {}

    fn is_bounded(&self, _: &Stream) -> bool {
        false
    }

    fn discovery_interval(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn retention(&self, _stream: &Stream) -> Option<Duration> {
        None
    }
}

struct Reading {
    log: Log,
    decoder: Decoder,
    positions: BTreeMap<i32, i64>,
    paused: BTreeSet<i32>,
    told: BTreeSet<i32>,
    turn: usize,
}

impl Source for Reading {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        let free: Vec<(i32, i64)> = self
            .positions
            .iter()
            .filter(|(partition, _)| !self.paused.contains(partition))
            .map(|(partition, position)| (*partition, *position))
            .collect();
        let unread: Vec<(i32, i64)> =
            free.iter().copied().filter(|(partition, position)| *position < self.log.end(*partition)).collect();
        if let Some(&(partition, from)) = unread.get(self.turn % unread.len().max(1)) {
            self.turn += 1;
            let from = usize::try_from(from).expect("isn't negative");
            let records = self.log.records(partition);
            let to = (from + BATCH_ROWS).min(records.len());
            let mut raw = RawBatch::new(partition, self.decoder.inputs());
            for (offset, (stamp, text)) in records.iter().enumerate().take(to).skip(from) {
                let offset = i64::try_from(offset).expect("is small");
                raw.push(RawRecord { offset, timestamp: Some(*stamp), value: text.as_bytes() }, []);
            }
            let next = i64::try_from(to).expect("is small");
            self.positions.insert(partition, next);
            return Ok(SourceEvent::Records(self.decoder.decode(&raw, ResumeOffset(next))));
        }
        if let Some((partition, position)) = free.into_iter().find(|(partition, _)| !self.told.contains(partition)) {
            self.told.insert(partition);
            return Ok(SourceEvent::AtEnd { partition, offset: ResumeOffset(position) });
        }
        std::thread::sleep(wait.min(Duration::from_millis(2)));
        Ok(SourceEvent::Idle)
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        if paused {
            self.paused.insert(partition)
        } else {
            self.paused.remove(&partition)
        };
        Ok(())
    }

    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError> {
        self.positions.entry(partition).or_insert(from.0);
        Ok(())
    }
}
