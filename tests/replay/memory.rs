//! A log in memory for the program's own live driver: cut into batches at will, partitions taken in any turn, and only as
//! much of it there as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kappa::decode::{Decoder, RawBatch, RawRecord};
use kappa::event::{EventTime, ResumeOffset, Stream};
use kappa::sources::{Logs, Source, SourceError, SourceEvent};
use kappa::start::{LogFacts, LogNature, Stamp};

use super::case::Message;
use super::random::Random;

/// The log of one stream.
#[derive(Clone)]
pub struct MemoryLogs {
    /// Messages by partition.
    pub partitions: Arc<Vec<Vec<Message>>>,
    /// How much of each partition is there.
    pub ends: Vec<usize>,
    /// Records a batch at most.
    pub batch_rows: usize,
    /// Decides which partition comes next.
    pub seed: u64,
}

impl std::fmt::Debug for MemoryLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLogs").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl MemoryLogs {
    fn end(&self, partition: i32) -> i64 {
        let partition = usize::try_from(partition).expect("isn't negative");
        i64::try_from(self.ends[partition]).expect("is small")
    }

    fn numbers(&self) -> impl Iterator<Item = i32> {
        0..i32::try_from(self.partitions.len()).expect("is small")
    }
}

impl Logs for MemoryLogs {
    fn facts(&self, _: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        let facts = |partition: i32| {
            let messages = &self.partitions[usize::try_from(partition).expect("isn't negative")];
            let reaches = |message: &Message| at.is_some_and(|at| message.timestamp_ms * 1_000 >= at.0);
            let found = messages.iter().position(reaches).map(|offset| i64::try_from(offset).expect("is small"));
            let high = self.end(partition);
            let at_time = found.filter(|offset| *offset < high).map(ResumeOffset);
            (partition, LogFacts { low: ResumeOffset(0), high: ResumeOffset(high), at_time })
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
            let stamp = self.partitions[usize::try_from(partition).expect("isn't negative")]
                .get(index)
                .map(|message| message.timestamp_ms * 1_000);
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
        let decoder = Decoder::new(stream).expect("generated streams are JSON");
        let positions = positions.iter().map(|(partition, from)| (*partition, from.0)).collect();
        let random = Random::new(self.seed);
        let (paused, told) = (BTreeSet::new(), BTreeSet::new());
        Ok(Box::new(MemorySource { logs: self.clone(), decoder, positions, paused, told, random }))
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

struct MemorySource {
    logs: MemoryLogs,
    decoder: Decoder,
    positions: BTreeMap<i32, i64>,
    paused: BTreeSet<i32>,
    /// Partitions whose end was told.
    told: BTreeSet<i32>,
    random: Random,
}

impl MemorySource {
    /// Some records of a partition, at least one.
    fn batch(&mut self, partition: i32) -> SourceEvent {
        let from = self.positions[&partition];
        let most = i64::try_from(self.logs.batch_rows).expect("is small");
        let to = (from + self.random.between(1, most + 1)).min(self.logs.end(partition));
        let mut raw = RawBatch::new(partition, self.decoder.inputs());
        for offset in from..to {
            let message = &self.logs.partitions[usize::try_from(partition).expect("isn't negative")]
                [usize::try_from(offset).expect("isn't negative")];
            let timestamp = Some(message.timestamp_ms * 1_000);
            raw.push(RawRecord { offset, timestamp, value: message.raw.as_deref().unwrap_or_default() }, []);
        }
        self.positions.insert(partition, to);
        SourceEvent::Records(self.decoder.decode(&raw, ResumeOffset(to)))
    }
}

impl Source for MemorySource {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        let free = self.positions.iter().filter(|(partition, _)| !self.paused.contains(partition));
        let (unread, ended): (Vec<_>, Vec<_>) = free
            .map(|(partition, position)| (*partition, *position))
            .partition(|(partition, position)| *position < self.logs.end(*partition));
        if !unread.is_empty() {
            let (partition, _) = self.random.pick(&unread);
            return Ok(self.batch(partition));
        }
        if let Some((partition, position)) = ended.into_iter().find(|(partition, _)| !self.told.contains(partition)) {
            self.told.insert(partition);
            return Ok(SourceEvent::AtEnd { partition, offset: ResumeOffset(position) });
        }
        std::thread::sleep(wait.min(Duration::from_millis(5)));
        Ok(SourceEvent::Idle)
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        if paused {
            self.paused.insert(partition);
        } else {
            self.paused.remove(&partition);
        }
        Ok(())
    }

    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError> {
        self.positions.entry(partition).or_insert(from.0);
        Ok(())
    }
}
