//! Where a run begins: the first offset of each partition, and the first window that it publishes.
//! Invariant: only whole windows are published, and they are the same rows as if everything had been read. One pure
//! function: what the log says comes in as facts.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::event::{EventTime, Micros, ResumeOffset};

/// Where the user wants a run to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the log's beginning.
    Earliest,
    /// With the first window that starts at or after this time; `latest` is the time of now.
    Time(EventTime),
    /// At these offsets; a partition that isn't named begins at its log's beginning.
    Offsets(BTreeMap<i32, ResumeOffset>),
}

/// What the log says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Lowest offset that is still there; 0 unless retention has cut the log.
    pub low: ResumeOffset,
    /// End of the log for committed records, asked before `at_time`.
    pub high: ResumeOffset,
    /// First offset whose timestamp is at or after [`read_back`]; `None` if there is none, or it wasn't asked.
    pub at_time: Option<ResumeOffset>,
}

/// What the user states about a start that the log alone can't vouch for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// `--whole-from T`: nothing below the start belongs to a window from T on.
    pub whole_from: Option<EventTime>,
    /// `--allow-partial`: the first, cut-off windows are published too.
    pub allow_partial: bool,
}

/// A beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// First offset to read, by partition.
    pub positions: BTreeMap<i32, ResumeOffset>,
    /// First window start that is published.
    pub first_window: EventTime,
}

/// Why a run can't begin so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The log's beginning is gone, and with it perhaps a part of the first windows.
    #[error(
        "partition {partition} of {stream} begins at offset {low}, not at 0: what was below is gone, so the first \
         windows may be cut off; state with `--whole-from TIME` from which window on nothing is missing, or publish \
         cut-off windows too with `--allow-partial`"
    )]
    CutOff {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// Its lowest offset.
        low: i64,
    },
    /// Offsets say nothing about windows.
    #[error(
        "offsets alone don't tell which window is the first whole one of {stream}; state it with `--whole-from TIME`, \
         or publish cut-off windows too with `--allow-partial`"
    )]
    OffsetsOnly {
        /// Name of the stream.
        stream: String,
    },
    /// Without a limit on how far event times run ahead of the log's timestamps, no look-up by time is safe.
    #[error(
        "{stream} has MAX FUTURE NONE, so the log's timestamps don't tell where a window begins; start at `earliest`, \
         at offsets with `--whole-from TIME`, or with `--allow-partial`"
    )]
    NoMaxFuture {
        /// Name of the stream.
        stream: String,
    },
    /// An offset outside of the log.
    #[error("offset {wanted} of partition {partition} is outside of the log, which holds {low} to {high}")]
    OutOfRange {
        /// The partition.
        partition: i32,
        /// The offset asked for.
        wanted: i64,
        /// Lowest offset.
        low: i64,
        /// End of the log.
        high: i64,
    },
    /// A partition that isn't there.
    #[error("{stream} has no partition {partition}; it has {partitions}")]
    UnknownPartition {
        /// Name of the stream.
        stream: String,
        /// The partition asked for.
        partition: i32,
        /// How many it has.
        partitions: usize,
    },
}

/// The record timestamp to look up for a start at `time`: every record below the offset that the log answers has a
/// timestamp, so an event time less MAX FUTURE, below it, and belongs to no window from `time` on.
///
/// `reach` is how far before a window's start its records may lie: zero for windows with fixed ends.
pub fn read_back(time: EventTime, reach: Micros, max_future: Micros) -> EventTime {
    time.minus(reach).minus(max_future)
}

/// Decides where a run over one stream begins.
pub fn begin(
    stream: &str,
    start: &Start,
    max_future: Option<Micros>,
    log: &BTreeMap<i32, LogFacts>,
    vouched: Vouched,
) -> Result<Begin, StartError> {
    let positions = positions(stream, start, log)?;
    let vouched_window = match vouched {
        Vouched { whole_from: Some(time), .. } => Some(time),
        Vouched { allow_partial: true, .. } => Some(EventTime::MIN),
        _ => None,
    };
    let cut_off = positions.iter().find(|&(partition, position)| {
        let low = log[partition].low;
        *position == low && low > ResumeOffset(0)
    });
    let first_window = match (start, cut_off) {
        (Start::Offsets(_), _) if positions.values().any(|position| position.0 > 0) => {
            vouched_window.ok_or_else(|| StartError::OffsetsOnly { stream: stream.into() })?
        }
        (Start::Time(_), _) if max_future.is_none() => {
            vouched_window.ok_or_else(|| StartError::NoMaxFuture { stream: stream.into() })?
        }
        (_, Some((&partition, &low))) => {
            vouched_window.ok_or_else(|| StartError::CutOff { stream: stream.into(), partition, low: low.0 })?
        }
        (Start::Time(time), None) if vouched.allow_partial => vouched_window.unwrap_or(*time),
        (Start::Time(time), None) => *time,
        (Start::Earliest | Start::Offsets(_), None) => vouched.whole_from.unwrap_or(EventTime::MIN),
    };
    Ok(Begin { positions, first_window })
}

fn positions(
    stream: &str,
    start: &Start,
    log: &BTreeMap<i32, LogFacts>,
) -> Result<BTreeMap<i32, ResumeOffset>, StartError> {
    if let Start::Offsets(offsets) = start
        && let Some(&partition) = offsets.keys().find(|partition| !log.contains_key(partition))
    {
        return Err(StartError::UnknownPartition { stream: stream.into(), partition, partitions: log.len() });
    }
    let position = |partition: i32, facts: &LogFacts| match start {
        Start::Earliest => Ok(facts.low),
        Start::Time(_) => Ok(facts.at_time.unwrap_or(facts.high).max(facts.low)),
        Start::Offsets(offsets) => match offsets.get(&partition) {
            None => Ok(facts.low),
            Some(&wanted) if facts.low <= wanted && wanted <= facts.high => Ok(wanted),
            Some(&ResumeOffset(wanted)) => {
                Err(StartError::OutOfRange { partition, wanted, low: facts.low.0, high: facts.high.0 })
            }
        },
    };
    log.iter().map(|(&partition, facts)| Ok((partition, position(partition, facts)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Micros = Micros::from_seconds(3_600);

    fn facts(low: i64, high: i64, at_time: Option<i64>) -> LogFacts {
        LogFacts { low: ResumeOffset(low), high: ResumeOffset(high), at_time: at_time.map(ResumeOffset) }
    }

    fn begin_with(start: Start, partition: LogFacts, vouched: Vouched) -> Result<Begin, StartError> {
        begin("s", &start, Some(HOUR), &BTreeMap::from([(0, partition)]), vouched)
    }

    #[test]
    fn earliest_publishes_every_window_of_a_whole_log() {
        let begun = begin_with(Start::Earliest, facts(0, 9, None), Vouched::default()).expect("the log is whole");
        assert_eq!(begun.positions[&0], ResumeOffset(0));
        assert_eq!(begun.first_window, EventTime::MIN);
    }

    #[test]
    fn a_trimmed_log_needs_somebody_to_vouch_for_the_first_window() {
        let trimmed = facts(1, 9, Some(1));
        for start in [Start::Earliest, Start::Time(EventTime(5))] {
            let refused = begin_with(start.clone(), trimmed, Vouched::default());
            assert_eq!(refused, Err(StartError::CutOff { stream: "s".into(), partition: 0, low: 1 }));
            let whole = Vouched { whole_from: Some(EventTime(7)), allow_partial: false };
            assert_eq!(begin_with(start.clone(), trimmed, whole).expect("vouched").first_window, EventTime(7));
            let partial = Vouched { whole_from: None, allow_partial: true };
            assert_eq!(begin_with(start, trimmed, partial).expect("allowed").first_window, EventTime::MIN);
        }
    }

    #[test]
    fn a_time_begins_where_the_log_answers_and_publishes_from_that_time() {
        let begun = begin_with(Start::Time(EventTime(5)), facts(0, 9, Some(4)), Vouched::default()).expect("whole");
        assert_eq!((begun.positions[&0], begun.first_window), (ResumeOffset(4), EventTime(5)));
    }

    #[test]
    fn when_the_look_up_finds_nothing_the_end_that_was_asked_before_stands_in() {
        let begun = begin_with(Start::Time(EventTime(5)), facts(0, 100, None), Vouched::default()).expect("whole");
        assert_eq!(begun.positions[&0], ResumeOffset(100));
    }

    #[test]
    fn without_max_future_a_time_is_refused() {
        let log = BTreeMap::from([(0, facts(0, 9, Some(4)))]);
        let refused = begin("s", &Start::Time(EventTime(5)), None, &log, Vouched::default());
        assert_eq!(refused, Err(StartError::NoMaxFuture { stream: "s".into() }));
    }

    #[test]
    fn offsets_must_lie_in_the_log_and_be_vouched_for() {
        let at = |offset| Start::Offsets(BTreeMap::from([(0, ResumeOffset(offset))]));
        let log = facts(0, 9, None);
        assert_eq!(begin_with(at(4), log, Vouched::default()), Err(StartError::OffsetsOnly { stream: "s".into() }));
        let outside = begin_with(at(10), log, Vouched::default());
        assert_eq!(outside, Err(StartError::OutOfRange { partition: 0, wanted: 10, low: 0, high: 9 }));
        let elsewhere = Start::Offsets(BTreeMap::from([(3, ResumeOffset(0))]));
        let unknown = begin_with(elsewhere, log, Vouched::default());
        assert_eq!(unknown, Err(StartError::UnknownPartition { stream: "s".into(), partition: 3, partitions: 1 }));
    }
}
