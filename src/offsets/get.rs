//! Where a job or an archiver stands in its logs. Reads only.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::checkpoints::{CheckpointError, CheckpointStore, Manifest};
use crate::event::{EventTime, ResumeOffset, Stream};
use crate::sources::{Logs, SourceError};
use crate::start::LogFacts;

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// First offset not yet taken; `None`: there is no checkpoint that knows the partition.
    pub position: Option<ResumeOffset>,
    /// Lowest offset of the log.
    pub start: ResumeOffset,
    /// End of the log for committed records.
    pub end: ResumeOffset,
    /// Greatest event time taken.
    pub seen: Option<EventTime>,
}

impl PartitionOffsets {
    /// Offsets between position and end. Records may be fewer, as markers of transactions have offsets too.
    pub fn lag(&self) -> Option<i64> {
        self.position.map(|position| (self.end.0 - position.0).max(0))
    }

    /// Offsets that retention has removed before they were taken.
    pub fn lost(&self) -> i64 {
        self.position.map_or(0, |position| (self.start.0 - position.0).max(0))
    }
}

/// Where one stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOffsets {
    /// Name of the stream.
    pub stream: String,
    /// By partition.
    pub partitions: BTreeMap<i32, PartitionOffsets>,
}

/// Where a job or an archiver stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The newest checkpoint; `None`: there is none.
    pub checkpoint: Option<String>,
    /// Its watermark.
    pub watermark: EventTime,
    /// Its streams.
    pub streams: Vec<StreamOffsets>,
}

/// Why offsets can't be shown.
#[derive(Debug, Error)]
pub enum OffsetsError {
    /// The checkpoints can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log doesn't answer.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Reads the newest checkpoint and asks the logs of `streams`.
pub async fn get(
    store: &CheckpointStore,
    logs: &Arc<dyn Logs>,
    streams: &[Arc<Stream>],
) -> Result<Offsets, OffsetsError> {
    let manifest = store.newest().await?.manifest;
    let mut offsets = Offsets {
        checkpoint: manifest.as_ref().map(|manifest| manifest.id.to_string()),
        watermark: manifest.as_ref().map_or(EventTime::MIN, |manifest| manifest.watermark),
        streams: Vec::with_capacity(streams.len()),
    };
    for stream in streams {
        let (asked, name) = ((logs.clone(), stream.clone()), stream.name.clone());
        let facts = tokio::task::spawn_blocking(move || asked.0.facts(&asked.1, None)).await;
        let facts = facts.expect("asking a log doesn't panic")?;
        offsets.streams.push(StreamOffsets { partitions: join(manifest.as_ref(), &name, &facts), stream: name });
    }
    Ok(offsets)
}

fn join(manifest: Option<&Manifest>, stream: &str, facts: &BTreeMap<i32, LogFacts>) -> BTreeMap<i32, PartitionOffsets> {
    let known = manifest.and_then(|manifest| manifest.streams.get(stream));
    let partitions = facts.iter().map(|(&partition, facts)| {
        let at = known.and_then(|known| known.get(&partition));
        let offsets = PartitionOffsets {
            position: at.map(|at| at.next_offset),
            start: facts.low,
            end: facts.high,
            seen: at.and_then(|at| at.seen),
        };
        (partition, offsets)
    });
    partitions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_and_loss_are_told_apart() {
        let at = |position| PartitionOffsets {
            position: Some(ResumeOffset(position)),
            start: ResumeOffset(10),
            end: ResumeOffset(30),
            seen: None,
        };
        assert_eq!((at(12).lag(), at(12).lost()), (Some(18), 0));
        assert_eq!((at(4).lag(), at(4).lost()), (Some(26), 6));
        let unknown = PartitionOffsets { position: None, ..at(0) };
        assert_eq!((unknown.lag(), unknown.lost()), (None, 0));
    }
}
