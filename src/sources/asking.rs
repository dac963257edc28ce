//! Asking a log what a beginning is worked out from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Logs, SourceError};
use crate::event::{EventTime, LiveFace, Micros, Stream};
use crate::start::{Asked, LogFacts, LogNature, Stamp, Start, Vouched, read_back, sampled};

/// How far the broker's clock may be behind ours: what it removes by age may be so much younger by our clock.
const CLOCKS_APART_MAX: Micros = Micros::from_seconds(600);

/// What a log says about a beginning.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Where the stream was asked to begin.
    pub start: Start,
    /// How far before a window's start its records may lie.
    pub reach: Micros,
    /// Ends, and what the look-up by time has found.
    pub facts: BTreeMap<i32, LogFacts>,
    /// Timestamps of single records.
    pub stamps: BTreeMap<i32, Stamp>,
    /// How it keeps its records.
    pub nature: LogNature,
}

/// Asks the log of a stream for all that a beginning at `start` is worked out from.
///
/// # Errors
/// When the log isn't there or doesn't answer in time.
pub async fn ask(
    logs: &Arc<dyn Logs>,
    stream: &Arc<Stream>,
    start: Start,
    reach: Micros,
) -> Result<Answers, SourceError> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let asked = tokio::task::spawn_blocking(move || {
        // Ends first: if the log isn't there at all, this says so in the best words.
        let at = match &start {
            Start::Time(time) | Start::Edge(time) => Some(read_back(*time, reach, stream.max_future)),
            Start::Earliest | Start::Offsets(_) | Start::History => None,
        };
        let facts = logs.facts(&stream, at)?;
        let stamps = logs.first_stamps(&stream, &sampled(&start, topic(&stream), &facts))?;
        let nature = logs.nature(&stream)?;
        Ok(Answers { start, reach, facts, stamps, nature })
    });
    asked.await.expect("asking a log doesn't panic")
}

impl Answers {
    /// As [`crate::start::begin`] takes it, at the wall-clock time `now`.
    pub fn asked<'a>(&'a self, stream: &'a Stream, vouched: Vouched, now: EventTime) -> Asked<'a> {
        let removed = |age: Micros| now.minus(age).plus(CLOCKS_APART_MAX);
        Asked {
            stream: &stream.name,
            topic: topic(stream),
            start: &self.start,
            reach: self.reach,
            max_future: stream.max_future,
            log: &self.facts,
            stamps: &self.stamps,
            removed_before: self.nature.retention.map(removed),
            vouched,
        }
    }
}

fn topic(stream: &Stream) -> &str {
    match &stream.live {
        LiveFace::Kafka { topic, .. } => topic,
        LiveFace::File { .. } => "",
    }
}
