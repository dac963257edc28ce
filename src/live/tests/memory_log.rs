//! A partitioned log in memory, as a double of the logs that a job names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::decode::{Decoder, RawBatch, RawRecord};
use crate::event::{EventTime, ResumeOffset, Stream};
use crate::sources::{Logs, Source, SourceError, SourceEvent};
use crate::start::{LogFacts, LogNature, Stamp};

/// One record of the log.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The log's timestamp in microseconds.
    pub(super) timestamp: i64,
    pub(super) value: String,
}

/// The partitions of every stream, and how they behave.
#[derive(Debug, Default)]
pub(super) struct MemoryLogs {
    pub(super) streams: Mutex<BTreeMap<String, Vec<Vec<Record>>>>,
    /// Records of a batch, at least 1.
    pub(super) batch: AtomicUsize,
    /// Cancelled once this many records were given, if that isn't 0.
    pub(super) cancel_after: AtomicUsize,
    pub(super) cancel: Mutex<CancellationToken>,
    /// While true, ends are not confirmed.
    pub(super) hides_ends: AtomicBool,
    /// The next poll panics.
    pub(super) panics: AtomicBool,
    /// Appended to partition 0 of the stream as soon as its ends were asked for.
    pub(super) grows: Mutex<Vec<Record>>,
    /// The stream that ends by itself, as a file does.
    pub(super) bounded: Mutex<Option<String>>,
    /// Offsets below which the records of a partition are gone, by stream and partition.
    pub(super) trimmed: Mutex<BTreeMap<(String, i32), i64>>,
    /// What tells a log from another of its name, for all of them.
    pub(super) identity: Mutex<Option<String>>,
    /// What is said of how all logs are kept.
    pub(super) nature: Mutex<LogNature>,
    /// Whether the log stamps records itself.
    pub(super) stamps_itself: AtomicBool,
    pub(super) reported: Mutex<BTreeMap<String, BTreeMap<i32, ResumeOffset>>>,
    /// Every pause and resume, in order.
    pub(super) pauses: Mutex<Vec<(i32, bool)>>,
    given: AtomicUsize,
}

impl MemoryLogs {
    pub(super) fn new(batch: usize) -> Arc<MemoryLogs> {
        Arc::new(MemoryLogs { batch: AtomicUsize::new(batch), ..MemoryLogs::default() })
    }

    pub(super) fn append(&self, stream: &str, partition: usize, records: impl IntoIterator<Item = Record>) {
        let mut streams = self.streams.lock().expect("no test panics with it");
        let partitions = streams.entry(stream.to_owned()).or_default();
        if partitions.len() <= partition {
            partitions.resize(partition + 1, Vec::new());
        }
        partitions[partition].extend(records);
    }

    /// Takes what nobody has been given yet out of a stream's partitions.
    pub(super) fn hold_back(&self, stream: &str) -> Vec<Vec<Record>> {
        let reported = self.reported.lock().expect("no test panics with it");
        let told = &reported[stream];
        let mut streams = self.streams.lock().expect("no test panics with it");
        let partitions = streams.get_mut(stream).expect("it was filled").iter_mut().enumerate();
        let rest = partitions.map(|(partition, records)| records.split_off(told[&(partition as i32)].0 as usize));
        rest.collect()
    }

    /// From now on `token` is cancelled when `records` more were given.
    pub(super) fn cancel_after(&self, records: usize, token: &CancellationToken) {
        self.given.store(0, Ordering::SeqCst);
        *self.cancel.lock().expect("no test panics with it") = token.clone();
        self.cancel_after.store(records, Ordering::SeqCst);
    }

    /// Cancels nothing any more: a run that ended before has left it for others.
    pub(super) fn cancel_no_more(&self) {
        self.cancel_after.store(0, Ordering::SeqCst);
    }

    /// Removes the records of a partition below an offset.
    pub(super) fn trim(&self, stream: &str, partition: i32, below: i64) {
        self.trimmed.lock().expect("no test panics with it").insert((stream.to_owned(), partition), below);
    }

    pub(super) fn low(&self, stream: &str, partition: i32) -> i64 {
        let trimmed = self.trimmed.lock().expect("no test panics with it");
        trimmed.get(&(stream.to_owned(), partition)).copied().unwrap_or(0)
    }

    /// Whether the run that reads was told to stop: what it is given then would depend on how fast it is.
    fn is_over(&self) -> bool {
        let limit = self.cancel_after.load(Ordering::SeqCst);
        limit > 0 && self.given.load(Ordering::SeqCst) >= limit
    }

    /// The next run goes on.
    fn forget_what_was_cancelled(&self) {
        if self.is_over() {
            self.cancel_after.store(0, Ordering::SeqCst);
        }
    }

    fn count(&self, given: usize) {
        let before = self.given.fetch_add(given, Ordering::SeqCst);
        let limit = self.cancel_after.load(Ordering::SeqCst);
        if limit > 0 && before + given >= limit {
            self.cancel.lock().expect("no test panics with it").cancel();
        }
    }
}

/// What [`crate::live::Setup`] holds: the log is also the test's.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<MemoryLogs>);

impl Logs for Shared {
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        let mut streams = self.0.streams.lock().expect("no test panics with it");
        let partitions = streams.get_mut(&stream.name).expect("it was filled");
        let facts = partitions.iter().enumerate().map(|(partition, records)| {
            let low = self.0.low(&stream.name, partition as i32);
            let left = records.iter().skip(low as usize);
            let found = at.and_then(|at| left.clone().position(|record| record.timestamp >= at.0));
            let at_time = found.map(|offset| ResumeOffset(low + offset as i64));
            let high = ResumeOffset(records.len() as i64);
            (partition as i32, LogFacts { low: ResumeOffset(low), high, at_time })
        });
        let facts = facts.collect();
        partitions[0].append(&mut self.0.grows.lock().expect("no test panics with it"));
        Ok(facts)
    }

    fn first_stamps(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        let streams = self.0.streams.lock().expect("no test panics with it");
        let stamp = |(&partition, position): (&i32, &ResumeOffset)| {
            let record = streams[&stream.name][partition as usize].get(position.0 as usize);
            let stamp = match record.map(|record| EventTime(record.timestamp)) {
                None => Stamp::NoRecord,
                Some(stamp) if self.0.stamps_itself.load(Ordering::SeqCst) => Stamp::ByLog(stamp),
                Some(stamp) => Stamp::ByProducer(stamp),
            };
            (partition, stamp)
        };
        Ok(positions.iter().map(stamp).collect())
    }

    fn nature(&self, _: &Stream) -> Result<LogNature, SourceError> {
        Ok(*self.0.nature.lock().expect("no test panics with it"))
    }

    fn identity(&self, _: &Stream) -> Result<Option<String>, SourceError> {
        Ok(self.0.identity.lock().expect("no test panics with it").clone())
    }

    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError> {
        let streams = self.0.streams.lock().expect("no test panics with it");
        Ok((0..streams[&stream.name].len() as i32).collect())
    }

    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError> {
        self.0.forget_what_was_cancelled();
        Ok(Box::new(MemorySource {
            logs: self.0.clone(),
            decoder: Decoder::new(stream).expect("the stream is declared well"),
            stream: stream.clone(),
            positions: positions.clone(),
            paused: BTreeSet::new(),
            turn: 0,
            ends: Vec::new(),
            ends_by_itself: self.is_bounded(stream),
        }))
    }

    fn report(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) {
        self.0.reported.lock().expect("no test panics with it").insert(stream.name.clone(), positions.clone());
    }

    fn is_bounded(&self, stream: &Stream) -> bool {
        self.0.bounded.lock().expect("no test panics with it").as_ref() == Some(&stream.name)
    }

    fn discovery_interval(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn retention(&self, _stream: &Stream) -> Option<Duration> {
        None
    }
}

struct MemorySource {
    logs: Arc<MemoryLogs>,
    decoder: Decoder,
    stream: Stream,
    positions: BTreeMap<i32, ResumeOffset>,
    paused: BTreeSet<i32>,
    turn: usize,
    /// Partitions whose end is still to be said in this round.
    ends: Vec<i32>,
    ends_by_itself: bool,
}

impl MemorySource {
    /// The next records of a partition that isn't paused, partitions by turns.
    fn batch(&mut self) -> Option<RawBatch> {
        let streams = self.logs.streams.lock().expect("no test panics with it");
        let partitions: Vec<i32> = self.positions.keys().copied().collect();
        for step in 0..partitions.len() {
            let partition = partitions[(self.turn + step) % partitions.len()];
            let next = self.positions[&partition].0;
            let records = &streams[&self.stream.name][partition as usize];
            if self.paused.contains(&partition) || records.len() as i64 <= next {
                continue;
            }
            let mut batch = RawBatch::new(partition, self.decoder.inputs());
            let count = self.logs.batch.load(Ordering::SeqCst);
            for (offset, record) in (next..).zip(&records[next as usize..]).take(count) {
                let value = record.value.as_bytes();
                batch.push(RawRecord { offset, timestamp: Some(record.timestamp), value }, []);
            }
            self.turn += step + 1;
            return Some(batch);
        }
        None
    }
}

impl Source for MemorySource {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        assert!(!self.logs.panics.swap(false, Ordering::SeqCst), "a source that panics");
        if self.logs.is_over() {
            std::thread::sleep(wait.min(Duration::from_millis(2)));
            return Ok(SourceEvent::Idle);
        }
        if let Some(batch) = self.batch() {
            let next = ResumeOffset(batch.offsets().last().map_or(0, |last| last + 1));
            self.positions.insert(batch.partition(), next);
            self.logs.count(batch.len());
            self.ends.clear();
            return Ok(SourceEvent::Records(self.decoder.decode(&batch, next)));
        }
        if self.ends_by_itself && self.paused.is_empty() {
            return Ok(SourceEvent::Ended);
        }
        if self.ends.is_empty() {
            // A round of ends every few milliseconds stands in for one a second.
            std::thread::sleep(wait.min(Duration::from_millis(2)));
            let reading = self.positions.keys().filter(|partition| !self.paused.contains(*partition));
            self.ends = reading.copied().collect();
        }
        match self.ends.pop() {
            Some(partition) if !self.logs.hides_ends.load(Ordering::SeqCst) && !self.paused.contains(&partition) => {
                Ok(SourceEvent::AtEnd { partition, offset: self.positions[&partition] })
            }
            _ => Ok(SourceEvent::Idle),
        }
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        self.logs.pauses.lock().expect("no test panics with it").push((partition, paused));
        if paused {
            self.paused.insert(partition)
        } else {
            self.paused.remove(&partition)
        };
        Ok(())
    }

    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError> {
        self.positions.entry(partition).or_insert(from);
        Ok(())
    }
}
