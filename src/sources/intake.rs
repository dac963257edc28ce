//! The intake of a job: all its streams' logs, polled by lanes, as one flow of events.
//! Invariant: each partition is in exactly one lane; partitions that appear while running are read from their first
//! record.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::lane::{Lane, LaneEvent, LaneOptions};
use super::{Logs, SourceError};
use crate::checkpoints::StreamProgress;
use crate::event::{EventTime, ResumeOffset, Stream};
use crate::start::LogFacts;

/// Batches that may wait between lanes and driver: a few, so that a slow driver stops the polling soon.
const EVENTS_MAX: usize = 16;

/// Where one partition is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeUp {
    /// First offset to read.
    pub from: ResumeOffset,
    /// Greatest event time below it, if known.
    pub seen: Option<EventTime>,
    /// Offset at which the partition ends for this run.
    pub limit: Option<ResumeOffset>,
}

/// Where the partitions of a log are taken up behind a checkpoint: where they stood; one that the checkpoint doesn't know
/// was added since, so at its first record. If retention has removed that already, reading stops with the gap: nothing is
/// passed over in silence. With `to_end`, the log ends for this run where it ends now.
pub fn resume(
    progress: Option<&StreamProgress>,
    facts: &BTreeMap<i32, LogFacts>,
    to_end: bool,
) -> BTreeMap<i32, TakeUp> {
    let limit = |facts: &LogFacts| to_end.then_some(facts.high);
    let added = |facts: &LogFacts| TakeUp { from: ResumeOffset(0), seen: None, limit: limit(facts) };
    let mut take_up: BTreeMap<i32, TakeUp> =
        facts.iter().map(|(&partition, facts)| (partition, added(facts))).collect();
    for (&partition, at) in progress.into_iter().flatten() {
        let limit = facts.get(&partition).and_then(limit);
        take_up.insert(partition, TakeUp { from: at.next_offset, seen: at.seen, limit });
    }
    take_up
}

/// What the intake brings.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are records, and they are handed on at once")]
pub enum IntakeEvent {
    /// From a lane.
    Lane(LaneEvent),
    /// A partition has appeared and is being read from offset 0.
    Added {
        /// Index of the stream in the job.
        stream: usize,
        /// The partition.
        partition: i32,
    },
}

/// The running lanes of a job.
#[derive(Debug)]
pub struct Intake {
    lanes: Vec<StreamLanes>,
    events: mpsc::Receiver<LaneEvent>,
    added: mpsc::Receiver<(usize, i32)>,
    discovery: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct StreamLanes {
    lanes: Vec<Lane>,
    lane_of: BTreeMap<i32, usize>,
}

impl Intake {
    /// Opens the logs of `streams` at the positions in `take_up` (one map a stream), with at most `lanes_max` lanes for
    /// each stream. With `discover`, partitions that appear later are read too. Opening blocks, and takes its time for a
    /// long file: call it off the async threads, within the runtime.
    pub fn open(
        logs: &Arc<dyn Logs>,
        streams: &[Arc<Stream>],
        take_up: &[BTreeMap<i32, TakeUp>],
        lanes_max: usize,
        discover: bool,
    ) -> Result<Intake, SourceError> {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (added_in, added) = mpsc::channel(1);
        let mut intake = Intake { lanes: Vec::new(), events, added, discovery: Vec::new() };
        for (index, (stream, partitions)) in streams.iter().zip(take_up).enumerate() {
            let lanes = open_stream(logs, index, stream, partitions, lanes_max, &events_in)?;
            if discover {
                let known = partitions.keys().copied().collect();
                intake.discovery.push(tokio::spawn(discover_partitions(
                    logs.clone(),
                    index,
                    stream.clone(),
                    known,
                    added_in.clone(),
                )));
            }
            intake.lanes.push(lanes);
        }
        Ok(intake)
    }

    /// The next event; `None` when all lanes have ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<IntakeEvent> {
        tokio::select! {
            event = self.events.recv() => event.map(IntakeEvent::Lane),
            Some((stream, partition)) = self.added.recv() => {
                self.add(stream, partition);
                Some(IntakeEvent::Added { stream, partition })
            }
        }
    }

    /// Holds a partition back, or lets it go on. Never waits; records that are under way still come.
    pub fn set_paused(&self, stream: usize, partition: i32, paused: bool) {
        let lanes = &self.lanes[stream];
        if let Some(&lane) = lanes.lane_of.get(&partition) {
            lanes.lanes[lane].set_paused(partition, paused);
        }
    }

    fn add(&mut self, stream: usize, partition: i32) {
        let lanes = &mut self.lanes[stream];
        let lane = partition as usize % lanes.lanes.len();
        lanes.lane_of.insert(partition, lane);
        lanes.lanes[lane].assign(partition, ResumeOffset(0));
    }
}

impl Drop for Intake {
    /// Stops the lanes and waits for them, a poll at most: off the async threads.
    fn drop(&mut self) {
        for task in &self.discovery {
            task.abort();
        }
        // Lanes that wait for room would wait for ever.
        self.events.close();
        // All at once: each needs up to one poll to notice, and is waited for when it is dropped.
        for lane in self.lanes.iter().flat_map(|stream| &stream.lanes) {
            lane.cancel();
        }
    }
}

fn open_stream(
    logs: &Arc<dyn Logs>,
    index: usize,
    stream: &Arc<Stream>,
    partitions: &BTreeMap<i32, TakeUp>,
    lanes_max: usize,
    events: &mpsc::Sender<LaneEvent>,
) -> Result<StreamLanes, SourceError> {
    let count = lanes_max.min(partitions.len()).max(1);
    let mut lanes = StreamLanes::default();
    for lane in 0..count {
        let mine: BTreeMap<i32, TakeUp> = partitions
            .iter()
            .enumerate()
            .filter(|(rank, _)| rank % count == lane)
            .map(|(_, (&partition, &take_up))| (partition, take_up))
            .collect();
        let positions = mine.iter().map(|(&partition, take_up)| (partition, take_up.from)).collect();
        let source = logs.open(stream, &positions)?;
        let seen = mine.iter().filter_map(|(&partition, take_up)| Some((partition, take_up.seen?))).collect();
        let limits = mine.iter().filter_map(|(&partition, take_up)| Some((partition, take_up.limit?))).collect();
        let options = LaneOptions { stream: index, seen, limits };
        lanes.lane_of.extend(mine.keys().map(|&partition| (partition, lane)));
        lanes.lanes.push(Lane::spawn(stream, source, options, events.clone()));
    }
    Ok(lanes)
}

/// Asks a log again and again for partitions beyond `known`, until the intake is gone.
async fn discover_partitions(
    logs: Arc<dyn Logs>,
    index: usize,
    stream: Arc<Stream>,
    mut known: std::collections::BTreeSet<i32>,
    added: mpsc::Sender<(usize, i32)>,
) {
    loop {
        tokio::time::sleep(logs.discovery_interval()).await;
        let asked = (logs.clone(), stream.clone());
        let answer = tokio::task::spawn_blocking(move || asked.0.partitions(&asked.1)).await;
        let Ok(Ok(partitions)) = answer else {
            // A broker that doesn't answer now is asked again; reading says for itself what is wrong.
            continue;
        };
        for partition in partitions {
            if known.insert(partition) && added.send((index, partition)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoints::PartitionProgress;

    #[test]
    fn known_partitions_go_on_and_added_ones_begin_at_their_first_record() {
        let at = PartitionProgress { next_offset: ResumeOffset(7), seen: Some(EventTime(3)), taken: 7, rejected: 0 };
        let progress = StreamProgress::from([(0, at)]);
        let trimmed = LogFacts { low: ResumeOffset(5), high: ResumeOffset(9), at_time: None };
        let facts = BTreeMap::from([(0, trimmed), (1, trimmed)]);
        let take_up = resume(Some(&progress), &facts, true);
        let limit = Some(ResumeOffset(9));
        assert_eq!(take_up[&0], TakeUp { from: ResumeOffset(7), seen: Some(EventTime(3)), limit });
        assert_eq!(
            take_up[&1],
            TakeUp { from: ResumeOffset(0), seen: None, limit },
            "what was trimmed is told, not passed over"
        );
        assert_eq!(resume(Some(&progress), &facts, false)[&0].limit, None);
    }
}
