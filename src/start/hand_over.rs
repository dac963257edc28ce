//! A hand-over: backfills have published up to a time, the log goes on from there.

use std::collections::BTreeMap;

use super::{ArchivedPartition, Asked, Begin, HistoryFacts, LogFacts, StartError, StartPlace};
use crate::event::{EventTime, ResumeOffset};

/// Decides where a run over one stream begins behind what backfills have published from its history: in each partition at
/// the first record that the first window needs, or, where the log doesn't hold that any more, behind history, whose
/// records then come first. `seen` is known there, so lateness is exact.
///
/// # Errors
/// [`StartError`], with the way out: no record may be missing between history and log.
pub fn hand_over(asked: &Asked<'_>, history: &HistoryFacts) -> Result<Begin, StartError> {
    let whole_from = whole_from(asked, history)?;
    if let Some(&partition) = history.partitions.keys().find(|partition| !asked.log.contains_key(partition)) {
        return Err(StartError::UnknownPartition {
            stream: asked.stream.into(),
            partition,
            partitions: asked.log.len(),
        });
    }
    let (mut in_log, mut behind_history) = (BTreeMap::new(), BTreeMap::new());
    for (&partition, log) in asked.log {
        // A partition that history doesn't know was added since, so all of it is in the log.
        let beginning = StartPlace { offset: ResumeOffset(0), seen: None };
        let unknown = ArchivedPartition { first_needed: None, end: beginning };
        let archived = history.partitions.get(&partition).copied().unwrap_or(unknown);
        check(asked.stream, partition, archived.end, log)?;
        behind_history.insert(partition, archived.end);
        let first = archived.first_needed.unwrap_or(archived.end);
        if first.offset >= log.low {
            in_log.insert(partition, first);
        }
    }
    let from_history = in_log.len() < asked.log.len();
    let places = if from_history { behind_history } else { in_log };
    Ok(Begin { places, whole_from, from_history })
}

fn whole_from(asked: &Asked<'_>, history: &HistoryFacts) -> Result<EventTime, StartError> {
    let from = history.from;
    match history.whole_from {
        Some(whole) if whole <= from => Ok(from),
        _ if asked.vouched.allow_partial => Ok(from),
        whole_from => match asked.vouched.whole_from {
            Some(whole) => Ok(whole.max(from)),
            None => Err(StartError::HistoryCutOff { stream: asked.stream.into(), from, whole_from }),
        },
    }
}

/// Whether the log goes on where history ends.
fn check(stream: &str, partition: i32, end: StartPlace, log: &LogFacts) -> Result<(), StartError> {
    let (stream, end) = (stream.to_owned(), end.offset.0);
    if end < log.low.0 {
        return Err(StartError::HistoryGap { stream, partition, end, low: log.low.0 });
    }
    if end > log.high.0 {
        return Err(StartError::HistoryBeyondLog { stream, partition, end, high: log.high.0 });
    }
    Ok(())
}
