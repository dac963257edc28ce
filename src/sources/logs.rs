//! The logs behind a job's streams: what they hold, and how to read them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, SourceError};
use crate::event::{EventTime, ResumeOffset, Stream};
use crate::start::LogFacts;

/// Access to the live faces of streams. Blocking calls: use them off the async threads.
pub trait Logs: Send + Sync + std::fmt::Debug {
    /// What the log says of each partition: ends are asked first, then, with `at`, the first offset whose timestamp is
    /// at or after it. Fails when the log isn't there or doesn't answer in time.
    fn facts(&self, stream: &Stream, at: Option<EventTime>) -> Result<BTreeMap<i32, LogFacts>, SourceError>;

    /// The partitions that there are now.
    fn partitions(&self, stream: &Stream) -> Result<BTreeSet<i32>, SourceError>;

    /// Opens the given partitions at the given positions.
    fn open(
        &self,
        stream: &Stream,
        positions: &BTreeMap<i32, ResumeOffset>,
    ) -> Result<Box<dyn Source>, SourceError>;

    /// Tells the log how far results are published, for lag tools only; nothing is read back. Failures are not errors.
    fn report(&self, stream: &Stream, positions: &BTreeMap<i32, ResumeOffset>);

    /// Whether the log ends by itself, as a file does.
    fn is_bounded(&self, stream: &Stream) -> bool;
}
