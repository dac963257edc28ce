//! Where a reset puts a job: the ways of `kafka-consumer-groups`, with the first window that is whole from there on.
//!
//! A position at or below where the newest checkpoint stands has only records below it that the job has seen, so the
//! greatest event time that it has seen tells from where on windows are whole (unless only marker records count as seen).
//! Partitions that aren't chosen stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::checkpoints::{CheckpointError, CheckpointStore, Manifest, PartitionProgress};
use crate::event::{EventTime, LiveFace, Micros, ResumeOffset, Stream};
use crate::job::Plan;
use crate::sources::{Answers, Logs, SourceError, ask, compare, identity};
use crate::start::{Begin, LogFacts, Start, StartError, StartPlace, Vouched, begin};

/// Offsets by topic and partition.
pub type TopicOffsets = BTreeMap<String, BTreeMap<i32, ResumeOffset>>;

/// Where positions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the beginning of the log.
    Earliest,
    /// To the first window at or after a time of the results' time partition columns.
    Time(EventTime),
    /// So many offsets on, or back.
    Shift(i64),
    /// To one offset.
    Offset(i64),
    /// Where they are.
    Current,
    /// To given ones.
    Offsets(TopicOffsets),
}

/// Partitions that are moved: `None`: all of the topic.
pub type Chosen = BTreeMap<String, Option<Vec<i32>>>;

/// A reset as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to.
    pub way: Way,
    /// By topic; empty: all partitions of all topics.
    pub chosen: Chosen,
    /// What the user states about the first windows.
    pub vouched: Vouched,
}

/// Where a reset puts a job.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// For each stream, by name, the first offset that is read of each partition.
    pub streams: BTreeMap<String, BTreeMap<i32, ResumeOffset>>,
    /// The broker's ids of the topics that they are of, by stream.
    pub topics: BTreeMap<String, String>,
    /// For each INSERT, the start of the first window that is published.
    pub first_windows: Vec<EventTime>,
    /// What was done otherwise than asked for, in sentences.
    pub notes: Vec<String>,
}

/// Why a reset can't be worked out.
#[derive(Debug, Error)]
pub enum ResetError {
    /// No stream reads the topic.
    #[error("the job reads no topic {topic}; it reads {known}")]
    UnknownTopic {
        /// As given.
        topic: String,
        /// What it reads.
        known: String,
    },
    /// Files are always read whole.
    #[error(
        "stream {stream} reads a file, which is always read whole, so there are no offsets to reset; remove the job's checkpoints and results to compute it anew"
    )]
    File {
        /// The stream.
        stream: String,
    },
    /// The checkpoints can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log doesn't answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It can't begin there.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Works out where a reset puts a job, at the wall-clock time `now`.
///
/// # Errors
/// When a log doesn't answer, there is no such topic or partition, or nothing tells from where on windows are whole.
pub async fn target(
    plan: &Plan,
    store: &CheckpointStore,
    logs: &Arc<dyn Logs>,
    wanted: &Wanted,
    now: EventTime,
) -> Result<Target, ResetError> {
    check_topics(plan, wanted)?;
    let newest = store.usable().await?.newest.manifest;
    let mut target = Target::default();
    let mut whole_from = Vec::with_capacity(plan.streams.len());
    for (index, stream) in plan.streams.iter().enumerate() {
        let first = first_window(plan, index, wanted);
        let identity = identity(logs, stream).await?;
        let newest = Newest { manifest: newest.as_ref(), identity: identity.as_ref() };
        let begun = stream_target(stream, newest, logs, wanted, (first, now), &mut target.notes).await?;
        whole_from.push(begun.whole_from);
        target.topics.extend(identity.map(|id| (stream.name.clone(), id)));
        let places = begun.places.into_iter().map(|(partition, place)| (partition, place.offset));
        target.streams.insert(stream.name.clone(), places.collect());
    }
    let first = |insert: &crate::job::Insert| match wanted.way {
        Way::Time(edge) if !wanted.vouched.allow_partial => {
            insert.first_mark(edge).max(insert.first_whole(|stream| whole_from[stream]))
        }
        _ => insert.first_whole(|stream| whole_from[stream]),
    };
    target.first_windows = plan.inserts.iter().map(first).collect();
    Ok(target)
}

fn check_topics(plan: &Plan, wanted: &Wanted) -> Result<(), ResetError> {
    let mut known = Vec::with_capacity(plan.streams.len());
    for stream in &plan.streams {
        match &stream.live {
            LiveFace::Kafka { topic, .. } => known.push(topic.as_str()),
            LiveFace::File { .. } => return Err(ResetError::File { stream: stream.name.clone() }),
        }
    }
    let in_file = match &wanted.way {
        Way::Offsets(offsets) => offsets.keys().collect(),
        _ => Vec::new(),
    };
    match wanted.chosen.keys().chain(in_file).find(|topic| !known.contains(&topic.as_str())) {
        Some(topic) => Err(ResetError::UnknownTopic { topic: topic.clone(), known: known.join(", ") }),
        None => Ok(()),
    }
}

/// Start of the first window that a stream's INSERTs are to publish.
fn first_window(plan: &Plan, stream: usize, wanted: &Wanted) -> EventTime {
    let Way::Time(edge) = wanted.way else { return EventTime::MIN };
    let inserts = plan.inserts.iter().filter(|insert| insert.reads(stream));
    inserts.map(|insert| insert.first_mark(edge)).min().unwrap_or(edge)
}

/// What the newest checkpoint says, and which topic the log is now.
#[derive(Clone, Copy)]
struct Newest<'a> {
    manifest: Option<&'a Manifest>,
    identity: Option<&'a String>,
}

/// Where the job stands in one stream.
struct Standing<'a> {
    stream: &'a Stream,
    /// By partition; empty without a checkpoint.
    at: BTreeMap<i32, PartitionProgress>,
    /// Windows before it may have records below what the job has seen.
    first_window: EventTime,
}

async fn stream_target(
    stream: &Arc<Stream>,
    newest: Newest<'_>,
    logs: &Arc<dyn Logs>,
    wanted: &Wanted,
    (first, now): (EventTime, EventTime),
    notes: &mut Vec<String>,
) -> Result<Begin, ResetError> {
    let Newest { manifest: newest, identity } = newest;
    let same = compare(stream, newest.and_then(|newest| newest.topics.get(&stream.name)), identity);
    // Of another topic nothing is known.
    let stood = newest.filter(|_| same.is_ok()).and_then(|newest| newest.streams.get(&stream.name));
    let standing = Standing {
        stream,
        at: stood.cloned().unwrap_or_default(),
        first_window: newest.map_or(EventTime::MIN, |newest| {
            newest.inserts.iter().map(|insert| insert.first_window).max().unwrap_or(EventTime::MIN)
        }),
    };
    let topic = topic(stream);
    let facts = {
        let (logs, stream) = (logs.clone(), stream.clone());
        let asked = tokio::task::spawn_blocking(move || logs.facts(&stream, None)).await;
        asked.expect("asking a log doesn't panic")?
    };
    let moved = moved(&stream.name, topic, wanted, &facts)?;
    if moved.len() < facts.len() {
        same?;
    }
    // Those that move by what the log says, and those whose offsets are known.
    let by_log = match wanted.way {
        Way::Earliest => Some(Start::Earliest),
        Way::Time(_) => Some(Start::Time(first)),
        _ => None,
    };
    let mut offsets = BTreeMap::new();
    for (&partition, log) in &facts {
        let current = standing.at.get(&partition).map_or(log.low, |at| at.next_offset);
        let wanted = match moved.contains(&partition) {
            true if by_log.is_some() => continue,
            true => offset(&wanted.way, topic, partition, current, standing.at.contains_key(&partition), log),
            false => current.0,
        };
        let within = wanted.clamp(log.low.0, log.high.0);
        if within != wanted {
            notes.push(clamped(topic, partition, wanted, within, log));
        }
        offsets.insert(partition, ResumeOffset(within));
    }
    let mut begun = Begin { places: BTreeMap::new(), whole_from: EventTime::MIN, from_history: false };
    if let Some(start) = by_log {
        let mut answers = ask(logs, stream, start, Micros(0)).await?;
        answers.facts.retain(|partition, _| moved.contains(partition));
        add(&mut begun, begin(&answers.asked(stream, wanted.vouched, now))?);
    }
    if !offsets.is_empty() {
        add(&mut begun, at_offsets(&standing, logs, offsets, (wanted.vouched, now)).await?);
    }
    if wanted.vouched.allow_partial {
        begun.whole_from = EventTime::MIN;
    }
    Ok(begun)
}

/// A beginning at exact offsets: where the job has seen all below them, it knows their event times.
async fn at_offsets(
    standing: &Standing<'_>,
    logs: &Arc<dyn Logs>,
    offsets: BTreeMap<i32, ResumeOffset>,
    (vouched, now): (Vouched, EventTime),
) -> Result<Begin, ResetError> {
    let mut begun = Begin { places: BTreeMap::new(), whole_from: EventTime::MIN, from_history: false };
    let mut unknown = BTreeMap::new();
    for (&partition, &offset) in &offsets {
        match standing.at.get(&partition) {
            // Where only marker records move it, what was seen is no bound of the others.
            Some(at)
                if offset <= at.next_offset && vouched.whole_from.is_none() && standing.stream.marker.is_none() =>
            {
                let above = at.seen.map_or(EventTime::MIN, |seen| seen.plus(Micros(1)));
                let whole_from =
                    if offset == ResumeOffset(0) { EventTime::MIN } else { above.max(standing.first_window) };
                begun.whole_from = begun.whole_from.max(whole_from);
                begun.places.insert(partition, StartPlace { offset, seen: None });
            }
            _ => {
                unknown.insert(partition, offset);
            }
        }
    }
    if !unknown.is_empty() {
        let stream = Arc::new(standing.stream.clone());
        let start = Start::Offsets(BTreeMap::from([(topic(&stream).to_owned(), unknown.clone())]));
        let mut answers: Answers = ask(logs, &stream, start, Micros(0)).await?;
        answers.facts.retain(|partition, _| unknown.contains_key(partition));
        add(&mut begun, begin(&answers.asked(&stream, vouched, now))?);
    }
    Ok(begun)
}

fn add(begun: &mut Begin, other: Begin) {
    begun.places.extend(other.places);
    begun.whole_from = begun.whole_from.max(other.whole_from);
}

/// The partitions of a topic that are moved.
fn moved(stream: &str, topic: &str, wanted: &Wanted, facts: &BTreeMap<i32, LogFacts>) -> Result<Vec<i32>, StartError> {
    let all = || facts.keys().copied().collect::<Vec<i32>>();
    let named = match (&wanted.way, wanted.chosen.get(topic)) {
        (_, None) if !wanted.chosen.is_empty() => Vec::new(),
        (_, Some(Some(partitions))) => partitions.clone(),
        (Way::Offsets(offsets), _) => {
            offsets.get(topic).into_iter().flatten().map(|(&partition, _)| partition).collect()
        }
        _ => all(),
    };
    match named.iter().find(|partition| !facts.contains_key(partition)) {
        Some(&partition) => {
            Err(StartError::UnknownPartition { stream: stream.to_owned(), partition, partitions: facts.len() })
        }
        None => Ok(named),
    }
}

/// The offset that a way means for one partition; it may lie outside of the log.
fn offset(way: &Way, topic: &str, partition: i32, current: ResumeOffset, is_known: bool, log: &LogFacts) -> i64 {
    match way {
        Way::Shift(by) => current.0.saturating_add(*by),
        Way::Offset(offset) => *offset,
        Way::Offsets(offsets) => {
            offsets.get(topic).and_then(|offsets| offsets.get(&partition)).map_or(current.0, |offset| offset.0)
        }
        // As kafka-consumer-groups does where nothing is committed.
        Way::Current if !is_known => log.high.0,
        Way::Current | Way::Earliest | Way::Time(_) => current.0,
    }
}

fn clamped(topic: &str, partition: i32, wanted: i64, within: i64, log: &LogFacts) -> String {
    let (low, high) = (log.low.0, log.high.0);
    format!("partition {partition} of {topic} holds offsets {low} to {high}: {within} is taken instead of {wanted}")
}

fn topic(stream: &Stream) -> &str {
    match &stream.live {
        LiveFace::Kafka { topic, .. } => topic,
        LiveFace::File { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::compile_streams;
    use crate::sources::{MemoryLogs, MemoryRecord};

    /// Partition 0 of ten records, taken to offset 8, with 100 seen.
    async fn back_to(offset: i64, when: &str) -> Result<EventTime, ResetError> {
        let text = format!(
            "CREATE STREAM s (kind TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t {when}) LIVE FROM KAFKA 'topic' FORMAT JSON"
        );
        let stream = compile_streams("job", &text).unwrap_or_else(|errors| panic!("{errors}"))[0].clone();
        let records = vec![MemoryRecord { timestamp: Some(0), ..MemoryRecord::default() }; 10];
        let partitions = BTreeMap::from([("s".to_owned(), BTreeMap::from([(0, records)]))]);
        let logs: Arc<dyn Logs> = Arc::new(MemoryLogs::new(partitions, 1));
        let at = PartitionProgress { next_offset: ResumeOffset(8), seen: Some(EventTime(100)), taken: 8, rejected: 0 };
        let standing = Standing { stream: &stream, at: BTreeMap::from([(0, at)]), first_window: EventTime::MIN };
        let offsets = BTreeMap::from([(0, ResumeOffset(offset))]);
        let begun = at_offsets(&standing, &logs, offsets, (Vouched::default(), EventTime(0))).await?;
        assert_eq!(begun.places[&0].offset, ResumeOffset(offset));
        Ok(begun.whole_from)
    }

    #[tokio::test]
    async fn what_was_seen_tells_the_first_whole_window_unless_only_markers_count() {
        assert!(matches!(back_to(3, "").await, Ok(EventTime(101))));
        // A record that is no marker may have any time.
        let refused = back_to(3, "WHEN kind = 'tick'").await.expect_err("nothing tells it");
        assert!(matches!(refused, ResetError::Start(StartError::OffsetsOnly { .. })), "{refused}");
        assert!(matches!(back_to(0, "WHEN kind = 'tick'").await, Ok(EventTime::MIN)));
    }
}
