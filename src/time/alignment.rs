//! Alignment: a partition that runs far ahead of the slowest one in event time is paused until the slowest has come
//! nearer. It bounds the windows that are open while a backlog is read.
//!
//! Invariants: the slowest partition that isn't at its end is never paused, so something always goes on; a partition at
//! its end holds nobody back. It decides when records are read, never what becomes of them: lateness is judged against a
//! record's own partition. Pure: event times in, decisions out.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{EventTime, Micros};

/// Least distance that a partition may run ahead: what is normal between partitions must not pause anything.
const AHEAD_MIN: Micros = Micros::from_seconds(600);

/// A partition to be paused or resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Index of the stream in the job.
    pub stream: usize,
    /// Partition of the stream.
    pub partition: i32,
    /// Pause it, or let it go on.
    pub paused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    greatest: EventTime,
    at_end: bool,
}

/// How far the partitions of a job have come, all streams together: windows wait for the slowest of all.
#[derive(Clone, Debug)]
pub struct Alignment {
    ahead_max: Micros,
    /// Those that have shown a record; the others don't count.
    partitions: BTreeMap<(usize, i32), Standing>,
    paused: BTreeSet<(usize, i32)>,
}

impl Alignment {
    /// Alignment for a job whose largest window has this size.
    pub fn new(size: Micros) -> Alignment {
        Alignment { ahead_max: size.max(AHEAD_MIN), partitions: BTreeMap::new(), paused: BTreeSet::new() }
    }

    /// Records were taken from a partition, or are known to lie before its position; `greatest` is its greatest event
    /// time so far.
    pub fn observe(&mut self, stream: usize, partition: i32, greatest: Option<EventTime>) {
        if let Some(greatest) = greatest {
            self.partitions.insert((stream, partition), Standing { greatest, at_end: false });
        }
    }

    /// A partition stands at the end of its log, or where this run stops reading it.
    pub fn at_end(&mut self, stream: usize, partition: i32) {
        if let Some(standing) = self.partitions.get_mut(&(stream, partition)) {
            standing.at_end = true;
        }
    }

    /// What has to change now: pauses beyond the allowed distance, resumes at half of it, so that partitions don't
    /// switch with every batch. Each decision is given once.
    pub fn decide(&mut self) -> Vec<Decision> {
        if self.partitions.len() < 2 {
            return Vec::new();
        }
        let reading = self.partitions.values().filter(|standing| !standing.at_end);
        let slowest = reading.map(|standing| standing.greatest).min();
        let mut decisions = Vec::new();
        for (&(stream, partition), standing) in &self.partitions {
            let ahead = slowest.map_or(0, |slowest| standing.greatest.0.saturating_sub(slowest.0));
            let was_paused = self.paused.contains(&(stream, partition));
            let limit = if was_paused { self.ahead_max.0 / 2 } else { self.ahead_max.0 };
            let paused = ahead > limit;
            if paused != was_paused {
                decisions.push(Decision { stream, partition, paused });
            }
        }
        for decision in &decisions {
            let key = (decision.stream, decision.partition);
            if decision.paused {
                self.paused.insert(key)
            } else {
                self.paused.remove(&key)
            };
        }
        decisions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn at(minutes: i64) -> Option<EventTime> {
        Some(EventTime(minutes * MINUTE))
    }

    fn alignment() -> Alignment {
        Alignment::new(Micros(MINUTE))
    }

    fn decision(partition: i32, paused: bool) -> Decision {
        Decision { stream: 0, partition, paused }
    }

    #[test]
    fn beyond_ten_minutes_the_one_ahead_is_paused_and_at_half_of_it_resumed() {
        let mut alignment = alignment();
        alignment.observe(0, 0, at(0));
        alignment.observe(0, 1, at(10));
        assert_eq!(alignment.decide(), []);
        alignment.observe(0, 1, at(11));
        assert_eq!(alignment.decide(), [decision(1, true)]);
        assert_eq!(alignment.decide(), [], "a decision is given once");
        alignment.observe(0, 0, at(5));
        assert_eq!(alignment.decide(), [], "six minutes are more than half");
        alignment.observe(0, 0, at(6));
        assert_eq!(alignment.decide(), [decision(1, false)]);
    }

    #[test]
    fn a_window_longer_than_ten_minutes_is_the_distance() {
        let mut alignment = Alignment::new(Micros(60 * MINUTE));
        alignment.observe(0, 0, at(0));
        alignment.observe(0, 1, at(60));
        assert_eq!(alignment.decide(), []);
        alignment.observe(0, 1, at(61));
        assert_eq!(alignment.decide(), [decision(1, true)]);
    }

    #[test]
    fn partitions_that_have_shown_nothing_do_not_count() {
        let mut alignment = alignment();
        alignment.observe(0, 0, None);
        alignment.at_end(0, 0);
        alignment.observe(0, 1, at(1_000));
        assert_eq!(alignment.decide(), []);
        alignment.observe(0, 0, at(0));
        assert_eq!(alignment.decide(), [decision(1, true)]);
    }

    #[test]
    fn when_the_slow_one_reaches_its_end_the_others_go_on() {
        let mut alignment = alignment();
        alignment.observe(0, 0, at(0));
        alignment.observe(0, 1, at(100));
        alignment.observe(0, 2, at(200));
        assert_eq!(alignment.decide(), [decision(1, true), decision(2, true)]);
        alignment.at_end(0, 0);
        assert_eq!(alignment.decide(), [decision(1, false)], "the next slowest goes on, the one ahead of it waits");
        alignment.at_end(0, 1);
        assert_eq!(alignment.decide(), [decision(2, false)]);
        alignment.at_end(0, 2);
        assert_eq!(alignment.decide(), []);
    }

    #[test]
    fn records_behind_an_end_hold_the_others_back_again() {
        let mut alignment = alignment();
        alignment.observe(0, 0, at(0));
        alignment.at_end(0, 0);
        alignment.observe(0, 1, at(100));
        assert_eq!(alignment.decide(), []);
        alignment.observe(0, 0, at(1));
        assert_eq!(alignment.decide(), [decision(1, true)]);
    }

    #[test]
    fn streams_wait_for_each_other() {
        let mut alignment = alignment();
        alignment.observe(0, 0, at(0));
        alignment.observe(1, 0, at(11));
        assert_eq!(alignment.decide(), [Decision { stream: 1, partition: 0, paused: true }]);
    }

    #[test]
    fn whatever_happens_one_that_is_not_at_its_end_is_not_paused() {
        let mut alignment = alignment();
        let mut paused = BTreeSet::new();
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (partition, minutes, ends) = ((state >> 33) as i32 % 5, (state >> 40) as i64 % 100, state >> 60 == 0);
            if ends {
                alignment.at_end(0, partition);
            } else {
                let before = alignment.partitions.get(&(0, partition)).map_or(0, |standing| standing.greatest.0);
                alignment.observe(0, partition, Some(EventTime(before + minutes * MINUTE / 10)));
            }
            for decision in alignment.decide() {
                let changed = if decision.paused {
                    paused.insert((0, decision.partition))
                } else {
                    paused.remove(&(0, decision.partition))
                };
                assert!(changed);
            }
            assert_eq!(paused, alignment.paused);
            let mut reading = alignment.partitions.iter().filter(|(_, standing)| !standing.at_end).peekable();
            assert!(reading.peek().is_none() || reading.any(|(key, _)| !paused.contains(key)));
        }
    }
}
