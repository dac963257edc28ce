//! What is known of a log and its history when a beginning is worked out.

use std::collections::BTreeMap;

use super::StartPlace;
use crate::event::{EventTime, Micros, ResumeOffset};

/// What the log says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Lowest offset that is still there; 0 unless retention has cut the log.
    pub low: ResumeOffset,
    /// End of the log for committed records, asked before `at_time`.
    pub high: ResumeOffset,
    /// First offset whose timestamp is at or after [`super::read_back`]; `None` if there is none, or it wasn't asked.
    pub at_time: Option<ResumeOffset>,
}

/// The log's timestamp of the first record at or behind an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// There is no record.
    NoRecord,
    /// The record has no timestamp.
    None,
    /// Its producer set it (CreateTime): it says nothing of the records before.
    ByProducer(EventTime),
    /// The log set it on appending (LogAppendTime): no record before has a greater one.
    ByLog(EventTime),
}

/// How a log keeps its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogNature {
    /// Records with equal keys are removed, all but the newest.
    pub compacted: bool,
    /// Age at which records are removed, if nothing but their age removes them.
    pub retention: Option<Micros>,
    /// How far ahead of the clock a producer's timestamp may be; `None`: producers set none, or it isn't known.
    pub ahead_max: Option<Micros>,
}

/// What history says of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFacts {
    /// Start of the first window that nobody has published.
    pub from: EventTime,
    /// Windows that start at or after it are whole in history; `None`: not known.
    pub whole_from: Option<EventTime>,
    /// What it holds.
    pub partitions: BTreeMap<i32, ArchivedPartition>,
}

/// What history holds of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedPartition {
    /// The first record that a window from [`HistoryFacts::from`] on may need; `None`: there is none yet.
    pub first_needed: Option<StartPlace>,
    /// What is archived ends here.
    pub end: StartPlace,
}
