//! The watermark: event time before which no more records are expected; exclusive.
//! Invariant: never moves backwards, not even across a restart. Pure: the wall clock comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{EventTime, Micros, ResumeOffset};

/// The partition that holds the watermark back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Index of the stream in the job.
    pub stream: usize,
    /// Partition of the stream.
    pub partition: i32,
}

/// Watermarks of all partitions of a job, and their minimum.
#[derive(Clone, Debug)]
pub struct Watermarks {
    streams: Vec<StreamRules>,
    partitions: BTreeMap<(usize, i32), PartitionProgress>,
    stated: EventTime,
}

#[derive(Clone, Copy, Debug)]
struct StreamRules {
    bound: Micros,
    idle_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PartitionProgress {
    greatest: Option<EventTime>,
    at_end: Option<AtEnd>,
}

/// Confirmations that a partition stands at the end of its log.
#[derive(Clone, Copy, Debug)]
struct AtEnd {
    offset: ResumeOffset,
    first: Duration,
    last: Duration,
}

impl PartitionProgress {
    fn is_idle(&self, idle_after: Option<Duration>) -> bool {
        let Some(at_end) = self.at_end else { return false };
        at_end.offset == ResumeOffset(0) || idle_after.is_some_and(|limit| at_end.last - at_end.first >= limit)
    }
}

impl Watermarks {
    /// Watermarks of a job whose streams have these bounds and idle times, none below `stated` (from a checkpoint).
    pub fn new(streams: impl IntoIterator<Item = (Micros, Option<Duration>)>, stated: EventTime) -> Watermarks {
        let streams = streams.into_iter().map(|(bound, idle_after)| StreamRules { bound, idle_after }).collect();
        Watermarks { streams, partitions: BTreeMap::new(), stated }
    }

    /// Adds a partition; `greatest` is the greatest event time known of it, from a checkpoint.
    pub fn add(&mut self, stream: usize, partition: i32, greatest: Option<EventTime>) {
        self.partitions.insert((stream, partition), PartitionProgress { greatest, at_end: None });
    }

    /// Records were taken from the partition; `greatest` is its greatest event time so far.
    pub fn observe(&mut self, stream: usize, partition: i32, greatest: Option<EventTime>) {
        let progress = self.partitions.entry((stream, partition)).or_default();
        progress.greatest = progress.greatest.max(greatest);
        progress.at_end = None;
    }

    /// A fetch that just succeeded found the partition at the end of its log, at the wall-clock moment `now`.
    pub fn at_end(&mut self, stream: usize, partition: i32, offset: ResumeOffset, now: Duration) {
        let progress = self.partitions.entry((stream, partition)).or_default();
        let first = progress.at_end.filter(|before| before.offset == offset).map_or(now, |before| before.first);
        progress.at_end = Some(AtEnd { offset, first, last: now });
    }

    /// The minimum over the partitions that aren't idle, at least what was stated before; all idle: it stays.
    pub fn state(&mut self) -> EventTime {
        let minimum = self.active().map(|(_, watermark)| watermark).min();
        self.stated = self.stated.max(minimum.unwrap_or(EventTime::MIN));
        self.stated
    }

    /// Whether [`Watermarks::state`] would move what is stated.
    pub fn is_behind(&self) -> bool {
        self.active().map(|(_, watermark)| watermark).min().is_some_and(|minimum| minimum > self.stated)
    }

    /// What was stated last.
    pub fn stated(&self) -> EventTime {
        self.stated
    }

    /// The partition with the least watermark, the lowest one of equals.
    pub fn holder(&self) -> Option<Holder> {
        let ((stream, partition), _) = self.active().min_by_key(|&(key, watermark)| (watermark, key))?;
        Some(Holder { stream, partition })
    }

    fn active(&self) -> impl Iterator<Item = ((usize, i32), EventTime)> + '_ {
        self.partitions.iter().filter_map(|(&key, progress)| {
            let rules = self.streams[key.0];
            let watermark = progress.greatest.map_or(EventTime::MIN, |greatest| greatest.minus(rules.bound));
            (!progress.is_idle(rules.idle_after)).then_some((key, watermark))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn watermarks(idle_after: Option<Duration>) -> Watermarks {
        let mut watermarks = Watermarks::new([(Micros(10), idle_after)], EventTime::MIN);
        watermarks.add(0, 0, None);
        watermarks.add(0, 1, None);
        watermarks
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark() {
        let mut watermarks = watermarks(None);
        watermarks.observe(0, 0, Some(EventTime(100)));
        assert_eq!(watermarks.state(), EventTime::MIN);
        assert_eq!(watermarks.holder(), Some(Holder { stream: 0, partition: 1 }));
        watermarks.observe(0, 1, Some(EventTime(50)));
        assert_eq!(watermarks.state(), EventTime(40));
    }

    #[test]
    fn an_empty_partition_is_idle_at_once_even_without_idle_after() {
        let mut watermarks = watermarks(None);
        watermarks.observe(0, 0, Some(EventTime(100)));
        watermarks.at_end(0, 1, ResumeOffset(0), Duration::ZERO);
        assert_eq!(watermarks.state(), EventTime(90));
    }

    #[test]
    fn a_partition_is_idle_only_when_fetches_confirm_its_end_for_the_whole_time() {
        let mut watermarks = watermarks(Some(MINUTE));
        watermarks.observe(0, 0, Some(EventTime(100)));
        watermarks.observe(0, 1, Some(EventTime(20)));
        watermarks.at_end(0, 1, ResumeOffset(7), Duration::ZERO);
        assert_eq!(watermarks.state(), EventTime(10), "one confirmation says nothing about the time since");
        watermarks.at_end(0, 1, ResumeOffset(7), MINUTE);
        assert_eq!(watermarks.state(), EventTime(90));
    }

    #[test]
    fn records_wake_an_idle_partition_but_the_watermark_never_moves_back() {
        let mut watermarks = watermarks(Some(MINUTE));
        watermarks.observe(0, 0, Some(EventTime(100)));
        watermarks.at_end(0, 1, ResumeOffset(7), Duration::ZERO);
        watermarks.at_end(0, 1, ResumeOffset(7), MINUTE);
        assert_eq!(watermarks.state(), EventTime(90));
        watermarks.observe(0, 1, Some(EventTime(30)));
        assert_eq!(watermarks.state(), EventTime(90));
        assert_eq!(watermarks.holder(), Some(Holder { stream: 0, partition: 1 }));
    }

    #[test]
    fn when_all_partitions_are_idle_the_watermark_stays() {
        let mut watermarks = watermarks(Some(MINUTE));
        watermarks.observe(0, 0, Some(EventTime(100)));
        watermarks.observe(0, 1, Some(EventTime(60)));
        assert_eq!(watermarks.state(), EventTime(50));
        for partition in [0, 1] {
            watermarks.at_end(0, partition, ResumeOffset(7), Duration::ZERO);
            watermarks.at_end(0, partition, ResumeOffset(7), MINUTE);
        }
        assert_eq!(watermarks.state(), EventTime(50));
        assert_eq!(watermarks.holder(), None);
    }

    #[test]
    fn the_time_to_idle_begins_with_the_first_confirmation_of_an_end() {
        let mut watermarks = watermarks(Some(MINUTE));
        watermarks.observe(0, 0, Some(EventTime(100)));
        let mut at_end = |offset, seconds| {
            watermarks.at_end(0, 1, ResumeOffset(offset), Duration::from_secs(seconds));
            watermarks.state() == EventTime(90)
        };
        assert!(!at_end(7, 600));
        assert!(!at_end(7, 659));
        assert!(!at_end(8, 660), "the log went on, so that its new end is confirmed for the first time");
        assert!(!at_end(8, 719));
        assert!(at_end(8, 720));
    }

    #[test]
    fn it_is_behind_until_it_is_stated() {
        let mut watermarks = watermarks(None);
        watermarks.observe(0, 0, Some(EventTime(100)));
        assert!(!watermarks.is_behind(), "the other partition has shown nothing");
        watermarks.observe(0, 1, Some(EventTime(50)));
        assert!(watermarks.is_behind());
        assert_eq!(
            (watermarks.stated(), watermarks.state(), watermarks.stated()),
            (EventTime::MIN, EventTime(40), EventTime(40))
        );
        assert!(!watermarks.is_behind());
    }
}
