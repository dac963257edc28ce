//! How a job or an archive stands, seen from outside: by its checkpoints, its claim, its logs and its tables. Reads only.
//! Invariant: what isn't answered is told as such and never keeps the rest from being shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoints::{
    CheckpointError, CheckpointStore, Claim, Gaps, Generation, InsertProgress, Manifest, ManifestId, Process,
    StreamProgress, TableProperties, is_live,
};
use crate::event::{EventTime, Micros, Stream, TableName};
use crate::iceberg::Catalog;
use crate::sources::Logs;
use crate::start::LogFacts;

/// Whether something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// It runs there.
    Yes(Claim),
    /// It stopped in order, at this time.
    Stopped(EventTime),
    /// It wasn't stopped in order, and its claim isn't renewed any more: killed, hung or cut off.
    Lost(Claim),
    /// Nobody ever ran it, or with another version of this program.
    Unknown,
}

/// What only somebody else can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// It was said.
    Told(T),
    /// There was no answer, for this reason.
    Silent(String),
    /// Nobody was asked, as what to ask for isn't known.
    Unasked,
}

/// The newest checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// Its name.
    pub id: ManifestId,
    /// When it was put; `None`: a newer one has just replaced it.
    pub written: Option<EventTime>,
    /// The version that made it: a job's fingerprint, an archive's declaration.
    pub fingerprint: String,
    /// The frontier: every window that ends at or before it is published.
    pub frontier: EventTime,
    /// Everything is closed and published.
    pub finished: bool,
    /// What became of the records, by INSERT.
    pub inserts: Vec<InsertProgress>,
}

/// How a stream stands at the newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Records taken since the job began, rejected ones included.
    pub taken: u64,
    /// Records rejected since the job began.
    pub rejected: u64,
    /// Records in the log that no checkpoint holds yet; `Told(None)`: the log has no end until it is read.
    pub lag: Asked<Option<u64>>,
}

/// The partition that holds the watermark back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its stream.
    pub stream: String,
    /// Its number.
    pub partition: i32,
    /// The greatest event time that it has shown, of marker records where only those count; `None`: it has shown none.
    pub seen: Option<EventTime>,
}

/// How a job or an archive stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The job's name, or the archive's.
    pub owner: String,
    /// Whether it runs.
    pub running: Running,
    /// The newest claim's.
    pub generation: Option<Generation>,
    /// Its newest checkpoint.
    pub newest: Option<Newest>,
    /// Its streams, by the newest checkpoint.
    pub streams: Vec<StreamStatus>,
    /// What holds the watermark back.
    pub holder: Option<Holder>,
    /// Windows that nobody has published, by result; results without any are left out. Unasked, until somebody does by
    /// [`gaps`].
    pub gaps: Asked<BTreeMap<TableName, Gaps>>,
}

/// Looks at one owner. `streams` are those of its job file, as far as it is known; `logs` is how they are reached.
///
/// # Errors
/// When the checkpoints can't be read.
pub async fn status(
    store: &CheckpointStore,
    streams: &[Arc<Stream>],
    logs: &Arc<dyn Logs>,
    now: EventTime,
) -> Result<Status, CheckpointError> {
    let claim = store.newest_claim().await?;
    let generation = claim.as_ref().map(|claim| claim.generation);
    let running = claim.map_or(Running::Unknown, |claim| running(claim, now));
    let manifest = store.newest().await?.manifest;
    let mut status = Status {
        owner: store.owner().to_owned(),
        running,
        generation,
        newest: None,
        streams: Vec::new(),
        holder: None,
        gaps: Asked::Unasked,
    };
    let Some(manifest) = manifest else { return Ok(status) };
    let written = store.written_at(manifest.id).await?;
    for (name, progress) in &manifest.streams {
        let lag = match streams.iter().find(|stream| stream.name == *name) {
            Some(stream) => lag(logs, stream, progress).await,
            None => Asked::Unasked,
        };
        status.streams.push(StreamStatus {
            name: name.clone(),
            taken: progress.values().map(|at| at.taken).sum(),
            rejected: progress.values().map(|at| at.rejected).sum(),
            lag,
        });
    }
    let bounds = streams.iter().map(|stream| (stream.name.as_str(), stream.bound)).collect();
    status.holder = holder(&manifest, &bounds);
    status.newest = Some(Newest {
        id: manifest.id,
        written,
        fingerprint: manifest.fingerprint,
        frontier: manifest.watermark,
        finished: manifest.finished,
        inserts: manifest.inserts,
    });
    Ok(status)
}

/// Asks the result tables of the newest checkpoint for windows that nobody has published.
pub async fn gaps(catalog: &Catalog, status: &Status) -> Asked<BTreeMap<TableName, Gaps>> {
    let mut found = BTreeMap::new();
    for insert in status.newest.iter().flat_map(|newest| &newest.inserts) {
        let table = match catalog.load(&insert.table).await {
            Ok(Some(table)) => table,
            // A run says that it is gone.
            Ok(None) => continue,
            Err(error) => return Asked::Silent(error.to_string()),
        };
        match TableProperties::parse(&status.owner, table.properties()) {
            Ok(known) => {
                let gaps = known.gaps.filter(|gaps| !gaps.is_empty());
                found.extend(gaps.map(|gaps| (insert.table.clone(), gaps)));
            }
            Err(error) => return Asked::Silent(format!("{}: {error}", insert.table)),
        }
    }
    Asked::Told(found)
}

fn running(claim: Claim, now: EventTime) -> Running {
    let alive = claim.process.is_alive(&Process::this());
    match (is_live(&claim, now, alive), claim.released) {
        (true, _) => Running::Yes(claim),
        (false, true) => Running::Stopped(claim.renewed),
        (false, false) => Running::Lost(claim),
    }
}

async fn lag(logs: &Arc<dyn Logs>, stream: &Arc<Stream>, progress: &StreamProgress) -> Asked<Option<u64>> {
    let (logs, asked) = (logs.clone(), stream.clone());
    match tokio::task::spawn_blocking(move || logs.facts(&asked, None)).await {
        Ok(Ok(facts)) => Asked::Told(behind(progress, &facts)),
        Ok(Err(error)) => Asked::Silent(error.to_string()),
        Err(error) => Asked::Silent(error.to_string()),
    }
}

/// Offsets between positions and ends; a partition without a position has all of its log to come.
fn behind(progress: &StreamProgress, facts: &BTreeMap<i32, LogFacts>) -> Option<u64> {
    let partitions = facts.iter().map(|(partition, facts)| {
        let position = progress.get(partition).map_or(facts.low, |at| at.next_offset);
        (facts.high.0 != i64::MAX).then(|| u64::try_from(facts.high.0.saturating_sub(position.0)).unwrap_or(0))
    });
    partitions.sum()
}

/// The partition whose newest event is oldest, of those that the watermark isn't past: one that it is past counts as idle.
/// Streams whose bound isn't known are left out.
fn holder(manifest: &Manifest, bounds: &BTreeMap<&str, Micros>) -> Option<Holder> {
    if manifest.watermark == EventTime::MAX {
        return None;
    }
    let partitions = manifest.streams.iter().flat_map(|(stream, progress)| {
        let bound = bounds.get(stream.as_str()).copied();
        progress.iter().filter_map(move |(&partition, at)| {
            let watermark = at.seen.map_or(EventTime::MIN, |seen| seen.minus(bound.unwrap_or_default()));
            bound.map(|_| (watermark, stream, partition, at.seen))
        })
    });
    let (_, stream, partition, seen) = partitions.filter(|(watermark, ..)| *watermark >= manifest.watermark).min()?;
    Some(Holder { stream: stream.clone(), partition, seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoints::PartitionProgress;
    use crate::event::ResumeOffset;

    fn at(next_offset: i64, seen: Option<i64>) -> PartitionProgress {
        PartitionProgress { next_offset: ResumeOffset(next_offset), seen: seen.map(EventTime), taken: 0, rejected: 0 }
    }

    fn manifest(watermark: EventTime, streams: &[(&str, &[Option<i64>])]) -> Manifest {
        let progress = |seen: &&[Option<i64>]| (0..).zip(seen.iter().map(|seen| at(0, *seen))).collect();
        let streams = streams.iter().map(|(name, seen)| ((*name).to_owned(), progress(seen))).collect();
        Manifest { streams, watermark, ..Manifest::empty(ManifestId::new(Generation(1), 1), "job") }
    }

    #[test]
    fn the_watermark_is_held_by_the_oldest_partition_that_is_not_idle() {
        let bounds = BTreeMap::from([("a", Micros(10)), ("b", Micros(0))]);
        let held = |watermark, streams: &[(&str, &[Option<i64>])]| holder(&manifest(watermark, streams), &bounds);
        let by = |stream: &str, partition, seen| {
            Some(Holder { stream: stream.to_owned(), partition, seen: Some(EventTime(seen)) })
        };
        assert_eq!(held(EventTime(90), &[("a", &[Some(120), Some(100), Some(130)])]), by("a", 1, 100));
        // Streams have bounds of their own.
        assert_eq!(held(EventTime(90), &[("a", &[Some(100)]), ("b", &[Some(95)])]), by("a", 0, 100));
        assert_eq!(held(EventTime(85), &[("a", &[Some(100)]), ("b", &[Some(85)])]), by("b", 0, 85));
        // The watermark is past partition 0: it was idle. One without records is, too, unless there is no watermark yet.
        assert_eq!(held(EventTime(90), &[("a", &[Some(50), Some(100), None])]), by("a", 1, 100));
        let nothing_shown = Holder { stream: "a".to_owned(), partition: 1, seen: None };
        assert_eq!(held(EventTime::MIN, &[("a", &[Some(50), None])]), Some(nothing_shown));
        assert_eq!(held(EventTime(90), &[("a", &[Some(50)])]), None);
        assert_eq!(held(EventTime::MAX, &[("a", &[Some(50)])]), None);
        assert_eq!(held(EventTime(40), &[("unknown", &[Some(50)])]), None);
    }

    #[test]
    fn lag_counts_partitions_that_no_checkpoint_knows() {
        let facts = |low, high| LogFacts { low: ResumeOffset(low), high: ResumeOffset(high), at_time: None };
        let log = BTreeMap::from([(0, facts(5, 30)), (1, facts(5, 30))]);
        assert_eq!(behind(&BTreeMap::from([(0, at(10, None))]), &log), Some(20 + 25));
        assert_eq!(behind(&BTreeMap::from([(0, at(30, None)), (1, at(40, None))]), &log), Some(0));
        let file = BTreeMap::from([(0, facts(0, i64::MAX))]);
        assert_eq!(behind(&BTreeMap::from([(0, at(10, None))]), &file), None);
    }
}
