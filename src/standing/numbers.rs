//! The numbers themselves, and what follows from them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoints::Claim;
use crate::event::{EventTime, ResumeOffset, TableName};
use crate::memory::{Held, Memory};
use crate::vitals::{Commits, Outage};

/// What a driver is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Claims, recovers, or opens its logs.
    #[default]
    Starting,
    /// Waits for the end of another process that does the same.
    Waiting,
    /// Reads.
    Reading,
    /// Reads no more, and makes its last checkpoint.
    Ending,
}

impl Phase {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Waiting => "waiting",
            Phase::Reading => "reading",
            Phase::Ending => "ending",
        }
    }
}

/// How a driver stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The job, or the archiver by its history.
    pub owner: String,
    /// What it is at.
    pub phase: Phase,
    /// The claim of another process whose end it waits for.
    pub waits_for: Option<Claim>,
    /// The generation that it has claimed; 0 before.
    pub generation: u64,
    /// Attempts that died by a fault of ours and were followed by another.
    pub restarts: u64,
    /// The time of day when this was filled in.
    pub now: EventTime,
    /// The watermark.
    pub watermark: EventTime,
    /// The watermark of the newest checkpoint: every window below it that can't be revised is published.
    pub frontier: EventTime,
    /// The partition that holds the watermark back.
    pub holder: Option<(String, i32)>,
    /// For each stream.
    pub streams: Vec<StreamStanding>,
    /// For each INSERT; for an archive, its history.
    pub tables: Vec<TableStanding>,
    /// Its checkpoints.
    pub checkpoints: CheckpointStanding,
    /// Epochs that the engine is at.
    pub epochs_in_flight: usize,
    /// How long the engine has owed the output of an epoch.
    pub epoch_owed: Duration,
    /// Known holders of memory.
    pub held: Held,
    /// Memory of the whole process.
    pub memory: Memory,
    /// Commits to tables.
    pub commits: Commits,
    /// What fails around it, and is repeated.
    pub outages: Vec<Outage>,
}

impl Standing {
    /// Of a driver that has just begun.
    pub fn of(owner: &str) -> Standing {
        Standing { owner: owner.to_owned(), ..Standing::default() }
    }

    /// Records taken since the process began, rejected ones included.
    pub fn taken(&self) -> u64 {
        self.partitions().map(|at| at.taken).sum()
    }

    /// Records that the logs hold and that aren't taken; `None` while an end isn't known.
    pub fn lag_records(&self) -> Option<u64> {
        self.partitions().map(PartitionStanding::lag_records).sum()
    }

    /// The partition, of all, that is nearest to losing records to retention, and its share of the log's length.
    pub fn least_headroom(&self) -> Option<f64> {
        self.partitions().filter_map(PartitionStanding::headroom_share).min_by(f64::total_cmp)
    }

    fn partitions(&self) -> impl Iterator<Item = &PartitionStanding> {
        self.streams.iter().flat_map(|stream| stream.partitions.values())
    }
}

/// How a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStanding {
    /// Its name.
    pub name: String,
    /// Bytes of messages read since the process began.
    pub bytes: u64,
    /// Its partitions.
    pub partitions: BTreeMap<i32, PartitionStanding>,
}

/// How a partition stands. Counts are since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStanding {
    /// Records taken, rejected ones included.
    pub taken: u64,
    /// Records rejected.
    pub rejected: u64,
    /// First offset not yet taken.
    pub position: ResumeOffset,
    /// Greatest event time taken.
    pub seen: Option<EventTime>,
    /// The log's own timestamp of the newest record taken.
    pub logged: Option<EventTime>,
    /// What the log said last of its ends; `None`: not yet, or it has no end until it is read.
    pub log: Option<LogSpan>,
    /// How long the log keeps a record; `None`: for ever, or it doesn't say.
    pub retention: Option<Duration>,
}

/// What a partition of a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSpan {
    /// Lowest offset that is still there.
    pub low: ResumeOffset,
    /// End, for committed records.
    pub high: ResumeOffset,
}

impl PartitionStanding {
    /// Offsets between position and end.
    pub fn lag_records(&self) -> Option<u64> {
        Some(u64::try_from(self.log?.high.0.saturating_sub(self.position.0)).unwrap_or(0))
    }

    /// How far behind `now` the newest taken event is, while there is more to take.
    pub fn lag(&self, now: EventTime) -> Option<Duration> {
        match self.lag_records()? {
            0 => Some(Duration::ZERO),
            _ => Some(span(self.seen?, now)),
        }
    }

    /// Offsets between the log's low end and the position: what retention may still remove before it reaches what was not
    /// taken yet.
    pub fn headroom_records(&self) -> Option<u64> {
        Some(u64::try_from(self.position.0.saturating_sub(self.log?.low.0)).unwrap_or(0))
    }

    /// [`PartitionStanding::headroom_records`] as a share of the log's length; 1 for one that is taken whole.
    pub fn headroom_share(&self) -> Option<f64> {
        let LogSpan { low, high } = self.log?;
        let (headroom, length) = (self.headroom_records()?, high.0.saturating_sub(low.0));
        Some(if length <= 0 { 1.0 } else { (headroom as f64 / length as f64).min(1.0) })
    }

    /// How long the log still keeps what was taken last, so at least as long what was not taken yet; all of the retention
    /// time when there is nothing to take.
    pub fn headroom(&self, now: EventTime) -> Option<Duration> {
        match self.lag_records()? {
            0 => self.retention,
            _ => Some(self.retention?.saturating_sub(span(self.logged?, now))),
        }
    }
}

fn span(from: EventTime, to: EventTime) -> Duration {
    Duration::from_micros(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

/// How a table stands. Counts are since the process began, as of its newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStanding {
    /// Its name.
    pub table: TableName,
    /// Rows published.
    pub rows: u64,
    /// Records accepted.
    pub accepted: u64,
    /// Late records.
    pub late: u64,
    /// Event time below which nothing of it can change; [`EventTime::MIN`] if nothing is known.
    pub sealed_edge: EventTime,
}

impl TableStanding {
    /// Of a table that nothing was written to yet.
    pub fn of(table: TableName) -> TableStanding {
        TableStanding { table, rows: 0, accepted: 0, late: 0, sealed_edge: EventTime::MIN }
    }
}

/// How checkpoints go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStanding {
    /// Committed ones since the process began.
    pub count: u64,
    /// Time that writing and committing them took.
    pub spent: Duration,
    /// Bytes of their files, results included.
    pub bytes: u64,
    /// The newest one: how long ago it was committed, how long it took, and its bytes.
    pub last: Option<LastCheckpoint>,
    /// How long the one that is being written has been.
    pub under_way: Option<Duration>,
}

/// The newest checkpoint of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastCheckpoint {
    /// How long ago it was committed.
    pub ago: Duration,
    /// How long it took.
    pub took: Duration,
    /// Bytes of its files.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_000_000_000);

    fn at(position: i64, low: i64, high: i64) -> PartitionStanding {
        PartitionStanding {
            position: ResumeOffset(position),
            log: Some(LogSpan { low: ResumeOffset(low), high: ResumeOffset(high) }),
            seen: Some(EventTime(NOW.0 - 30_000_000)),
            logged: Some(EventTime(NOW.0 - 40_000_000)),
            retention: Some(Duration::from_secs(100)),
            ..PartitionStanding::default()
        }
    }

    #[test]
    fn lag_and_headroom_are_the_two_sides_of_a_position() {
        let behind = at(30, 20, 120);
        assert_eq!((behind.lag_records(), behind.headroom_records()), (Some(90), Some(10)));
        assert_eq!(behind.headroom_share(), Some(0.1));
        assert_eq!(behind.lag(NOW), Some(Duration::from_secs(30)));
        assert_eq!(behind.headroom(NOW), Some(Duration::from_secs(60)), "100 s are kept, 40 s have passed");
    }

    #[test]
    fn who_has_taken_everything_has_no_lag_and_all_the_headroom() {
        let caught_up = at(120, 20, 120);
        assert_eq!((caught_up.lag(NOW), caught_up.headroom(NOW)), (Some(Duration::ZERO), caught_up.retention));
        assert_eq!(caught_up.headroom_share(), Some(1.0));
        assert_eq!(at(50, 50, 50).headroom_share(), Some(1.0), "an empty log can lose nothing");
    }

    #[test]
    fn a_log_that_was_cut_above_the_position_leaves_none() {
        let cut_off = at(10, 20, 120);
        assert_eq!((cut_off.headroom_records(), cut_off.headroom_share()), (Some(0), Some(0.0)));
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let unknown = PartitionStanding::default();
        assert_eq!((unknown.lag_records(), unknown.lag(NOW), unknown.headroom(NOW)), (None, None, None));
        let standing = Standing {
            streams: vec![StreamStanding {
                partitions: BTreeMap::from([(0, at(30, 20, 120)), (1, unknown)]),
                ..StreamStanding::default()
            }],
            ..Standing::of("job")
        };
        assert_eq!((standing.lag_records(), standing.least_headroom()), (None, Some(0.1)));
    }
}
