//! Where a run begins: the first offset of each partition, and the first window that it publishes.
//!
//! One pure function, [`begin`], for a run, a reset, an upgrade and a hand-over: what log and history say comes in as facts.
//! Invariant: only whole windows are published, and they are the same rows as if everything had been read. Times are
//! window starts; whoever counts by another column of the result turns its edge into window starts first
//! ([`crate::job::Insert::first_mark`]).

mod admit;
mod begin;
mod error;
mod facts;
mod hand_over;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::event::{EventTime, Micros, ResumeOffset};

pub use admit::{Advice, admit};
pub use begin::{begin, read_back, sampled};
pub use error::StartError;
pub use facts::{ArchivedPartition, HistoryFacts, LogFacts, LogNature, Stamp};
pub use hand_over::hand_over;

/// Where the user wants a run to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the log's beginning.
    Earliest,
    /// With the first window that starts at or after this time; `latest` is the time of now.
    Time(EventTime),
    /// With the first window whose range column lies at or after this edge: what a reset and an upgrade count by.
    Edge(EventTime),
    /// At these offsets, by topic and partition; one that isn't named begins at its log's beginning.
    Offsets(BTreeMap<String, BTreeMap<i32, ResumeOffset>>),
    /// Where backfills have ended, from history and then from the log.
    History,
}

/// What the user states about a start that the log alone can't vouch for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// `--whole-from T`: nothing below the start belongs to a window from T on.
    pub whole_from: Option<EventTime>,
    /// `--allow-partial`: the first, cut-off windows are published too.
    pub allow_partial: bool,
}

/// What a beginning over one stream is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the stream.
    pub stream: &'a str,
    /// Topic of the stream; empty for a file.
    pub topic: &'a str,
    /// Where to begin; the times of [`Start::Time`] are window starts.
    pub start: &'a Start,
    /// How far before a window's start its records may lie: zero for windows with fixed ends.
    pub reach: Micros,
    /// How far event times may be ahead of the log's timestamps; `None`: any.
    pub max_future: Option<Micros>,
    /// What the log says.
    pub log: &'a BTreeMap<i32, LogFacts>,
    /// Timestamps of records, at the offsets that [`sampled`] names.
    pub stamps: &'a BTreeMap<i32, Stamp>,
    /// Every record that the log has removed has an older timestamp than this; `None`: that isn't known.
    pub removed_before: Option<EventTime>,
    /// What the user states.
    pub vouched: Vouched,
}

/// Where one partition is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartPlace {
    /// First offset to read.
    pub offset: ResumeOffset,
    /// Greatest event time below it, where it can matter; `None`: what is below is late for no window that is published.
    pub seen: Option<EventTime>,
}

/// A beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where each partition is taken up.
    pub places: BTreeMap<i32, StartPlace>,
    /// Windows that start at or after it are whole. [`EventTime::MIN`]: all of them are, or the user wants them anyway.
    pub whole_from: EventTime,
    /// Whether the records below `places` that windows from `whole_from` on need come from history first.
    pub from_history: bool,
}
