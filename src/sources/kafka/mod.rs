//! Kafka: partitions assigned by us, read in batches, never reset.
//!
//! Invariant: `PartitionState::next` is the first offset not yet taken from librdkafka's queue, and every record below
//! it is either given or waits in `ready`. A paused partition is taken out of the assignment, as librdkafka's own pausing
//! goes on one record too far after an end-of-partition event.

mod batch;
mod client;
mod complaint;
#[cfg(test)]
mod exit_tests;
mod identity;
mod log;
mod nature;
mod retention;
mod sorting;
mod stamps;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use self::batch::BatchQueue;
use self::client::{KafkaContext, consumer};
use self::sorting::Sorting;
use super::{Source, SourceError, SourceEvent, SourceSettings};
use crate::decode::{BATCH_RECORDS_MAX, Decoder, RawBatch};
use crate::event::{ResumeOffset, Stream};
use crate::time::clock::{Clock, SystemClock};

pub(super) use client::metadata_interval;
pub use log::{KafkaLog, LogEnds};
pub(in crate::sources) use nature::nature;
pub(in crate::sources) use retention::retention;

/// How often the ends of partitions that were read up are asked for.
const END_INTERVAL: Duration = Duration::from_secs(1);
/// How long one such request may take; a broker that doesn't answer is asked again.
const END_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long the log's first and last offset may take when the gap is to be named.
const WATERMARKS_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a look for an added partition may take: others are not read meanwhile.
const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);
/// Raw batches kept for their memory.
const SPARE_BATCHES_MAX: usize = 4;

/// The live face of a stream on a topic.
pub struct KafkaSource {
    /// Before the consumer, so that it goes first.
    queue: BatchQueue,
    consumer: Arc<BaseConsumer<KafkaContext>>,
    brokers: String,
    topic: String,
    decoder: Decoder,
    header_names: Vec<CString>,
    partitions: BTreeMap<i32, PartitionState>,
    /// Pieces that were taken and not yet given; at most those of one batch of messages.
    ready: VecDeque<Ready>,
    spare: Vec<RawBatch>,
    /// For waiting only: nothing that is given depends on it.
    clock: SystemClock,
    /// When the ends were last asked for.
    ends_asked: Duration,
}

#[derive(Debug)]
struct PartitionState {
    next: i64,
    paused: bool,
    /// Whether the end was reached and no record has come since.
    at_end: bool,
    /// Whether that was just found out.
    end_is_news: bool,
    /// Records of the batch of messages being sorted.
    open: Option<RawBatch>,
}

#[derive(Debug)]
enum Ready {
    Records { raw: RawBatch, next: i64 },
    AtEnd { partition: i32, offset: i64 },
}

impl Ready {
    fn partition(&self) -> i32 {
        match self {
            Ready::Records { raw, .. } => raw.partition(),
            Ready::AtEnd { partition, .. } => *partition,
        }
    }
}

/// What a message other than a record means.
#[derive(Debug)]
enum Trouble {
    OutOfRange { partition: i32 },
    TopicMissing,
    NotAllowed,
    Read { partition: i32, reason: String },
}

impl KafkaSource {
    /// Reads `topic` from `positions` on: the first offset to read of each partition.
    ///
    /// # Errors
    /// If the declaration or the properties don't fit; a broker that doesn't answer is no error here.
    pub fn open(
        stream: &Stream,
        topic: &str,
        settings: &SourceSettings,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<KafkaSource, SourceError> {
        let decoder =
            Decoder::new(stream).map_err(|source| SourceError::Decoder { stream: stream.name.clone(), source })?;
        let consumer = Arc::new(consumer(&settings.kafka, &settings.group)?);
        let headers = decoder.inputs().headers.iter();
        let header_names = headers.filter_map(|name| CString::new(name.as_str()).ok()).collect();
        let mut source = KafkaSource {
            queue: BatchQueue::new(Arc::clone(&consumer), BATCH_RECORDS_MAX),
            consumer,
            brokers: client::brokers(&settings.kafka),
            topic: topic.to_owned(),
            decoder,
            header_names,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            clock: SystemClock::start(),
            ends_asked: Duration::ZERO,
        };
        let mut list = TopicPartitionList::new();
        for (partition, from) in positions {
            source.add_to(&mut list, *partition, from.0)?;
            source.partitions.insert(*partition, PartitionState::starting(from.0));
        }
        let assigned = source.consumer.assign(&list);
        assigned.map_err(|error| source.refused(-1, "assigned", &error))?;
        Ok(source)
    }

    fn add_to(&self, list: &mut TopicPartitionList, partition: i32, from: i64) -> Result<(), SourceError> {
        let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(from));
        added.map_err(|error| self.refused(partition, "assigned", &error))
    }

    fn refused(&self, partition: i32, action: &'static str, error: &rdkafka::error::KafkaError) -> SourceError {
        SourceError::Client { log: format!("topic {}", self.topic), partition, action, reason: error.to_string() }
    }

    fn assign_at(&self, partition: i32, from: i64) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        self.add_to(&mut list, partition, from)?;
        self.consumer.incremental_assign(&list).map_err(|error| self.refused(partition, "assigned", &error))
    }

    /// Where the next piece stands that may be given: those of paused partitions wait.
    fn first_ready(&self) -> Option<usize> {
        let paused = |piece: &Ready| self.partitions.get(&piece.partition()).is_some_and(|state| state.paused);
        self.ready.iter().position(|piece| !paused(piece))
    }

    /// The next piece that may be given, decoded.
    fn take_ready(&mut self) -> Option<SourceEvent> {
        match self.ready.remove(self.first_ready()?)? {
            Ready::AtEnd { partition, offset } => Some(SourceEvent::AtEnd { partition, offset: ResumeOffset(offset) }),
            Ready::Records { raw, next } => {
                let decoded = self.decoder.decode(&raw, ResumeOffset(next));
                if self.spare.len() < SPARE_BATCHES_MAX {
                    self.spare.push(raw);
                }
                Some(SourceEvent::Records(decoded))
            }
        }
    }

    /// Takes what librdkafka has, or waits for it, and sorts it by partition.
    fn fetch(&mut self, wait: Duration) -> Result<(), SourceError> {
        // A call waits until the whole batch is full; so first what is there, and else for one message.
        let mut trouble = self.sort_messages(Duration::ZERO, BATCH_RECORDS_MAX)?;
        if self.first_ready().is_none() && trouble.is_none() && !wait.is_zero() {
            trouble = self.sort_messages(wait, 1)?;
        }
        match trouble {
            None => Ok(()),
            Some(trouble) => Err(self.explain(trouble)),
        }
    }

    fn sort_messages(&mut self, wait: Duration, count_max: usize) -> Result<Option<Trouble>, SourceError> {
        let KafkaSource { queue, partitions, ready, spare, decoder, header_names, .. } = self;
        let mut sorting = Sorting { partitions, ready, spare, inputs: decoder.inputs(), header_names, trouble: None };
        queue.take(wait, count_max, |message| sorting.sort(message));
        let trouble = sorting.trouble;
        for (partition, state) in &mut self.partitions {
            if let Some(raw) = state.open.take() {
                self.ready.push_back(Ready::Records { raw, next: state.next });
            }
            // While a transaction is open, the last stable offset is reached, but not the end.
            if std::mem::take(&mut state.end_is_news)
                && self.queue.high_watermark(&self.topic, *partition) == Some(state.next)
            {
                self.ready.push_back(Ready::AtEnd { partition: *partition, offset: state.next });
            }
        }
        Ok(trouble)
    }

    fn explain(&self, trouble: Trouble) -> SourceError {
        match trouble {
            Trouble::TopicMissing => SourceError::TopicMissing {
                topic: self.topic.clone(),
                brokers: self.brokers.clone(),
                hint: " any more".to_owned(),
            },
            Trouble::NotAllowed => SourceError::NotAllowed {
                brokers: self.brokers.clone(),
                operation: "Read",
                kind: "topic",
                name: self.topic.clone(),
            },
            Trouble::Read { partition, reason } => self.read_error(partition, reason),
            Trouble::OutOfRange { partition } => {
                let wanted = self.partitions.get(&partition).map_or(-1, |state| state.next);
                match self.consumer.fetch_watermarks(&self.topic, partition, WATERMARKS_WAIT_MAX) {
                    Ok((low, high)) => {
                        SourceError::OffsetOutOfRange { topic: self.topic.clone(), partition, wanted, low, high }
                    }
                    Err(error) => {
                        let reason =
                            format!("offset {wanted} is out of range, and the log's range is unknown: {error}");
                        self.read_error(partition, reason)
                    }
                }
            }
        }
    }

    fn read_error(&self, partition: i32, reason: String) -> SourceError {
        SourceError::Read { brokers: self.brokers.clone(), topic: self.topic.clone(), partition, reason }
    }

    /// Asks for the ends of the partitions that were read up, and says so again where it is still true.
    fn confirm_ends(&mut self) {
        self.ask_for_ends();
        // Counted from the answer: a broker that doesn't give one must not keep us from the others.
        self.ends_asked = self.clock.elapsed();
    }

    fn ask_for_ends(&mut self) {
        let mut list = TopicPartitionList::new();
        for (partition, _) in self.partitions.iter().filter(|(_, state)| state.at_end && !state.paused) {
            // A look-up of the time "end" gives the last stable offset, of all partitions in one request a broker.
            if list.add_partition_offset(&self.topic, *partition, Offset::End).is_err() {
                return;
            }
        }
        if list.count() == 0 {
            return;
        }
        let Ok(ends) = self.consumer.offsets_for_times(list, END_WAIT_MAX) else { return };
        for end in ends.elements() {
            let (Ok(()), Offset::Offset(offset)) = (end.error(), end.offset()) else { continue };
            let Some(state) = self.partitions.get_mut(&end.partition()) else { continue };
            if offset > state.next {
                // Records, or a marker behind them: librdkafka reports the new end when it gets there.
                state.at_end = false;
            } else if offset == state.next && self.queue.high_watermark(&self.topic, end.partition()) == Some(offset) {
                self.ready.push_back(Ready::AtEnd { partition: end.partition(), offset });
            }
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        let deadline = self.clock.elapsed() + wait;
        loop {
            if let Some(event) = self.take_ready() {
                return Ok(event);
            }
            let until_ends = (self.ends_asked + END_INTERVAL).saturating_sub(self.clock.elapsed());
            if until_ends.is_zero() {
                self.confirm_ends();
                continue;
            }
            let left = deadline.saturating_sub(self.clock.elapsed());
            self.fetch(left.min(until_ends))?;
            if self.first_ready().is_none() && left.is_zero() {
                return Ok(SourceEvent::Idle);
            }
        }
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if state.paused == paused {
            return Ok(());
        }
        state.paused = paused;
        state.at_end = false;
        let next = state.next;
        // What was said about its end is old by the time it is resumed.
        self.ready.retain(|piece| !matches!(piece, Ready::AtEnd { partition: of, .. } if *of == partition));
        if !paused {
            return self.assign_at(partition, next);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        self.consumer.incremental_unassign(&list).map_err(|error| self.refused(partition, "paused", &error))
    }

    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError> {
        if self.partitions.contains_key(&partition) {
            return Ok(());
        }
        // This client may not know yet what another has found: it would take the partition for missing until its own next
        // look. One that gets no answer now looks by itself, later.
        if let Err(error) = self.consumer.fetch_metadata(Some(&self.topic), METADATA_WAIT_MAX) {
            tracing::debug!(%error, partition, "an added partition is not known to its reader yet");
        }
        self.assign_at(partition, from.0)?;
        self.partitions.insert(partition, PartitionState::starting(from.0));
        Ok(())
    }
}

impl PartitionState {
    fn starting(next: i64) -> PartitionState {
        PartitionState { next, paused: false, at_end: false, end_is_news: false, open: None }
    }
}
