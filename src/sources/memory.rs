//! Logs in memory: what a fixture or a test puts there, given in small batches, partitions by turns.
//! Invariant: nothing is ever added to one, so its ends are known from the start and each is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Logs, Source, SourceError, SourceEvent};
use crate::decode::{Decoder, RawBatch, RawRecord};
use crate::event::{EventTime, ResumeOffset, Stream};
use crate::start::{LogFacts, LogNature, Stamp};

/// How long a poll waits when nothing can come but an order to go on with a partition: short, as orders are what is
/// waited for then.
const QUIET_WAIT: Duration = Duration::from_millis(1);

/// Nothing is ever added, so nobody need look for more.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(3_600);

/// One record of a log in memory; its place in the partition is its offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRecord {
    /// The log's timestamp in microseconds, if it has one.
    pub timestamp: Option<i64>,
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Headers with a value.
    pub headers: BTreeMap<String, Vec<u8>>,
    /// The message; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The records of one stream's log, by partition.
pub type MemoryPartitions = BTreeMap<i32, Vec<MemoryRecord>>;

/// The logs of streams, by the streams' names. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogs {
    streams: Arc<BTreeMap<String, MemoryPartitions>>,
    batch_rows: usize,
}

impl MemoryLogs {
    /// Logs that give at most `batch_rows` records (at least one) of a partition at a time. A stream that isn't named has a
    /// log without partitions.
    pub fn new(streams: BTreeMap<String, MemoryPartitions>, batch_rows: usize) -> MemoryLogs {
        MemoryLogs { streams: Arc::new(streams), batch_rows: batch_rows.max(1) }
    }

    /// The logs as they were when the first `part` of `parts` equal parts of each partition were there.
    #[must_use]
    pub fn up_to(&self, part: usize, parts: usize) -> MemoryLogs {
        let mut streams = (*self.streams).clone();
        for records in streams.values_mut().flat_map(BTreeMap::values_mut) {
            records.truncate(records.len() * part / parts);
        }
        MemoryLogs { streams: Arc::new(streams), batch_rows: self.batch_rows }
    }

    fn partitions_of(&self, stream: &Stream) -> impl Iterator<Item = (i32, &[MemoryRecord])> {
        let partitions = self.streams.get(&stream.name).into_iter().flatten();
        partitions.map(|(&partition, records)| (partition, records.as_slice()))
    }
}

impl Logs for MemoryLogs {
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
        let facts = self.partitions_of(stream).map(|(partition, records)| {
            let reaches = |record: &MemoryRecord| {
                record.timestamp.zip(at).is_some_and(|(timestamp, at)| EventTime(timestamp) >= at)
            };
            let at_time = records.iter().position(reaches).map(offset);
            (partition, LogFacts { low: ResumeOffset(0), high: offset(records.len()), at_time })
        });
        Ok(facts.collect())
    }

    fn first_stamps(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<BTreeMap<i32, Stamp>, SourceError> {
        let stamps = self.partitions_of(stream).filter_map(|(partition, records)| {
            let position = usize::try_from(positions.get(&partition)?.0).unwrap_or(0);
            let stamp = match records.get(position) {
                None => Stamp::NoRecord,
                Some(MemoryRecord { timestamp: None, .. }) => Stamp::None,
                Some(MemoryRecord { timestamp: Some(timestamp), .. }) => Stamp::ByProducer(EventTime(*timestamp)),
            };
            Some((partition, stamp))
        });
        Ok(stamps.collect())
    }

    fn nature(&self, _: &Stream) -> Result<LogNature, SourceError> {
        Ok(LogNature::default())
    }

    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError> {
        Ok(self.partitions_of(stream).map(|(partition, _)| partition).collect())
    }

    fn open(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>) -> Result<Box<dyn Source>, SourceError> {
        let decoder = Decoder::new(stream);
        let decoder = decoder.map_err(|source| SourceError::Decoder { stream: stream.name.clone(), source })?;
        Ok(Box::new(MemorySource {
            logs: self.clone(),
            stream: stream.name.clone(),
            decoder,
            positions: positions.clone(),
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
        DISCOVERY_INTERVAL
    }

    fn retention(&self, _: &Stream) -> Option<Duration> {
        None
    }
}

fn offset(index: usize) -> ResumeOffset {
    ResumeOffset(i64::try_from(index).expect("memory holds fewer records than there are offsets"))
}

struct MemorySource {
    logs: MemoryLogs,
    stream: String,
    decoder: Decoder,
    positions: BTreeMap<i32, ResumeOffset>,
    paused: BTreeSet<i32>,
    /// Partitions whose end was told.
    told: BTreeSet<i32>,
    turn: usize,
}

impl MemorySource {
    /// The records of a partition from its position on, and that position.
    fn unread(&self, partition: i32) -> (&[MemoryRecord], ResumeOffset) {
        let from = self.positions[&partition];
        let records = self.logs.streams.get(&self.stream).and_then(|partitions| partitions.get(&partition));
        let records = records.map_or(&[][..], Vec::as_slice);
        (usize::try_from(from.0).ok().and_then(|from| records.get(from..)).unwrap_or_default(), from)
    }

    /// The next records of a partition.
    fn batch(&mut self, partition: i32) -> SourceEvent {
        let mut raw = RawBatch::new(partition, self.decoder.inputs());
        let inputs = self.decoder.inputs();
        let (records, from) = self.unread(partition);
        for (offset, record) in (from.0..).zip(records).take(self.logs.batch_rows) {
            let value = record.value.as_deref().unwrap_or_default();
            let key = inputs.key.then_some(record.key.as_deref());
            let headers = inputs.headers.iter().map(|name| record.headers.get(name).map(Vec::as_slice));
            raw.push(RawRecord { offset, timestamp: record.timestamp, value }, key.into_iter().chain(headers));
        }
        let next = ResumeOffset(from.0 + offset(raw.len()).0);
        self.positions.insert(partition, next);
        SourceEvent::Records(self.decoder.decode(&raw, next))
    }
}

impl Source for MemorySource {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        let free = self.positions.keys().copied().filter(|partition| !self.paused.contains(partition));
        let (ended, unread): (Vec<i32>, Vec<i32>) = free.partition(|&partition| self.unread(partition).0.is_empty());
        if !unread.is_empty() {
            self.turn += 1;
            return Ok(self.batch(unread[self.turn % unread.len()]));
        }
        if let Some(partition) = ended.into_iter().find(|partition| !self.told.contains(partition)) {
            self.told.insert(partition);
            return Ok(SourceEvent::AtEnd { partition, offset: self.positions[&partition] });
        }
        std::thread::sleep(wait.min(QUIET_WAIT));
        Ok(SourceEvent::Idle)
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        match paused {
            true => self.paused.insert(partition),
            false => self.paused.remove(&partition),
        };
        Ok(())
    }

    fn assign(&mut self, partition: i32, from: ResumeOffset) -> Result<(), SourceError> {
        self.positions.entry(partition).or_insert(from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ColumnType, Format, FormatKind, LiveFace, Metadata, Micros, Origin};

    fn stream() -> Stream {
        let text = |name: &str, origin| Column {
            name: name.to_owned(),
            column_type: ColumnType::Text,
            required: false,
            origin,
        };
        let format = Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false };
        Stream {
            name: "s".to_owned(),
            columns: vec![
                text("h", Origin::Metadata(Metadata::Header("h".to_owned()))),
                text("k", Origin::Metadata(Metadata::Key)),
            ],
            event_time: 0,
            bound: Micros(0),
            marker: None,
            idle_after: None,
            max_future: None,
            live: LiveFace::Kafka { topic: "s".to_owned(), format },
            accepts_compacted: false,
            history: None,
        }
    }

    /// Partitions 0 and 4 with three and one records.
    fn logs(batch_rows: usize) -> MemoryLogs {
        let record = |timestamp: i64| MemoryRecord {
            timestamp: Some(timestamp),
            key: Some(format!("k{timestamp}").into_bytes()),
            headers: BTreeMap::from([("h".to_owned(), b"x".to_vec())]),
            value: Some(b"{}".to_vec()),
        };
        let partitions = BTreeMap::from([(0, vec![record(10), record(20), record(30)]), (4, vec![record(5)])]);
        MemoryLogs::new(BTreeMap::from([("s".to_owned(), partitions)]), batch_rows)
    }

    /// What a source says until nothing more can come.
    fn said(logs: &MemoryLogs, positions: &[(i32, i64)]) -> Vec<String> {
        let positions = positions.iter().map(|&(partition, from)| (partition, ResumeOffset(from))).collect();
        let mut source = logs.open(&stream(), &positions).expect("it opens");
        let mut said = Vec::new();
        loop {
            match source.poll(Duration::ZERO).expect("nothing fails") {
                SourceEvent::Records(decoded) => {
                    let keys = arrow::array::AsArray::as_string::<i32>(decoded.records.column(1));
                    let keys: Vec<&str> = keys.iter().flatten().collect();
                    said.push(format!("{}: {} then {}", decoded.partition, keys.join(" "), decoded.next_offset.0));
                }
                SourceEvent::AtEnd { partition, offset } => said.push(format!("{partition}: ends at {}", offset.0)),
                SourceEvent::Idle | SourceEvent::Ended => return said,
            }
        }
    }

    #[test]
    fn records_come_in_batches_partitions_by_turns_and_each_end_once() {
        let all = said(&logs(2), &[(0, 0), (4, 0)]);
        assert_eq!(all, ["4: k5 then 1", "0: k10 k20 then 2", "0: k30 then 3", "0: ends at 3", "4: ends at 1"]);
        assert_eq!(said(&logs(9), &[(0, 2)]), ["0: k30 then 3", "0: ends at 3"]);
        assert_eq!(said(&logs(9), &[(0, 7)]), ["0: ends at 7"]);
    }

    #[test]
    fn a_paused_partition_gives_nothing_until_it_goes_on() {
        let positions = BTreeMap::from([(0, ResumeOffset(0))]);
        let mut source = logs(9).open(&stream(), &positions).expect("it opens");
        source.set_paused(0, true).expect("never refused");
        assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Idle)));
        source.set_paused(0, false).expect("never refused");
        assert!(matches!(source.poll(Duration::ZERO), Ok(SourceEvent::Records(_))));
    }

    #[test]
    fn a_log_says_its_ends_and_where_a_time_begins() {
        let stream = stream();
        let facts = logs(1).facts(&stream, Some(EventTime(11))).expect("it answers");
        let at = |low, high, at_time: Option<i64>| LogFacts {
            low: ResumeOffset(low),
            high: ResumeOffset(high),
            at_time: at_time.map(ResumeOffset),
        };
        assert_eq!(facts, BTreeMap::from([(0, at(0, 3, Some(1))), (4, at(0, 1, None))]));
        let part = logs(1).up_to(2, 3);
        assert_eq!(
            part.facts(&stream, None).expect("it answers"),
            BTreeMap::from([(0, at(0, 2, None)), (4, at(0, 0, None))])
        );
        let stamps = logs(1).first_stamps(&stream, &BTreeMap::from([(0, ResumeOffset(2)), (4, ResumeOffset(1))]));
        let expected = BTreeMap::from([(0, Stamp::ByProducer(EventTime(30))), (4, Stamp::NoRecord)]);
        assert_eq!(stamps.expect("it answers"), expected);
    }
}
