//! What comes in: the logs of all streams as one flow of judged batches, and how far each partition has been taken.
//! Invariant: positions, rejects and counts stand behind exactly the records that were given out, so that a cut taken
//! between two events covers all of them and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, not};
use arrow::record_batch::RecordBatch;

use super::{RunError, RunOptions, Setup, Until};
use crate::checkpoints::{Manifest, PartitionProgress, StreamProgress};
use crate::event::{EventBatch, EventTime, Micros, Reject, ResumeOffset};
use crate::job::Plan;
use crate::sinks::future_rejects;
use crate::sources::{Intake, IntakeEvent, LaneEvent, LaneRecords, Logs, TakeUp};
use crate::standing::{Observer, Read};
use crate::time::{Alignment, Watermarks};

/// Bytes of rejected messages that may wait for a checkpoint before the logs are not read on.
const REJECTS_BYTES_MAX: usize = 64 << 20;

/// Records of a stream in a checkpoint below which their rejects are not judged: a share of a few says nothing.
const JUDGED_RECORDS_MIN: u64 = 100;

/// Rejects that an error shows the positions of.
const SAMPLES_MAX: usize = 5;

/// What one stream has given since the last cut.
#[derive(Debug, Default)]
struct SinceCut {
    taken: u64,
    rejects: Vec<Reject>,
}

/// What stands behind a cut.
#[derive(Debug)]
pub(super) struct Taken {
    /// How far each stream is taken.
    pub(super) streams: BTreeMap<String, StreamProgress>,
    /// For each stream, its rejects since the cut before.
    pub(super) rejects: Vec<Vec<Reject>>,
}

/// The flow of records into one attempt.
pub(super) struct Inflow {
    plan: Arc<Plan>,
    intake: Option<Intake>,
    watermarks: Watermarks,
    alignment: Alignment,
    streams: Vec<StreamProgress>,
    /// Where each partition ends for this run, if it runs to the end.
    limits: Vec<BTreeMap<i32, ResumeOffset>>,
    bounded: Vec<bool>,
    ended: BTreeSet<usize>,
    since_cut: Vec<SinceCut>,
    rejects_bytes: usize,
    /// For each stream.
    read: Vec<Read>,
}

impl Inflow {
    /// Opens the logs where they are to be taken up, off the async threads, as that may take its time.
    pub(super) async fn open(
        plan: &Arc<Plan>,
        setup: &Setup,
        options: &RunOptions,
        manifest: Option<&Manifest>,
        take_up: Vec<BTreeMap<i32, TakeUp>>,
    ) -> Result<Inflow, RunError> {
        let rules = plan.streams.iter().map(|stream| (stream.bound, stream.idle_after));
        let stated = manifest.map_or(EventTime::MIN, |manifest| manifest.watermark);
        let mut inflow = Inflow {
            plan: plan.clone(),
            intake: None,
            watermarks: Watermarks::new(rules, stated),
            alignment: Alignment::new(largest_window(plan)),
            streams: Vec::with_capacity(plan.streams.len()),
            limits: Vec::with_capacity(plan.streams.len()),
            bounded: plan.streams.iter().map(|stream| setup.logs.is_bounded(stream)).collect(),
            ended: BTreeSet::new(),
            since_cut: plan.streams.iter().map(|_| SinceCut::default()).collect(),
            rejects_bytes: 0,
            read: plan.streams.iter().map(|_| Read::default()).collect(),
        };
        for (index, (stream, partitions)) in plan.streams.iter().zip(&take_up).enumerate() {
            let known = manifest.and_then(|manifest| manifest.streams.get(&stream.name));
            let mut progress = known.cloned().unwrap_or_default();
            let limits = partitions.iter().filter_map(|(&partition, take_up)| Some((partition, take_up.limit?)));
            inflow.limits.push(limits.collect());
            for (&partition, take_up) in partitions {
                inflow.watermarks.add(index, partition, take_up.seen);
                inflow.alignment.observe(index, partition, take_up.seen);
                if take_up.limit == Some(ResumeOffset(0)) {
                    // Known to be empty, before the log says so again: a run to the end may be over by then.
                    inflow.watermarks.at_end(index, partition, ResumeOffset(0), setup.clock.elapsed());
                }
                let at = progress.entry(partition).or_insert_with(|| new_partition(take_up.from));
                // Behind history both are further than the checkpoint that it was begun with.
                (at.next_offset, at.seen) = (take_up.from, take_up.seen);
            }
            inflow.streams.push(progress);
            for &partition in partitions.keys() {
                inflow.align_at_limit(index, partition);
            }
        }
        let (logs, plan): (Arc<dyn Logs>, _) = (setup.logs.clone(), plan.clone());
        let (lanes, discover) = (options.workers, options.until == Until::Forever);
        let opened =
            tokio::task::spawn_blocking(move || Intake::open(&logs, &plan.streams, &take_up, lanes, discover)).await;
        inflow.intake = Some(opened.map_err(|error| RunError::TaskDied { task: "opening the logs", source: error })??);
        inflow.align();
        Ok(inflow)
    }

    /// Counts records that came from history, for each stream and partition, as taken.
    pub(super) fn count_fed(&mut self, fed: Vec<BTreeMap<i32, u64>>) {
        for ((stream, since), fed) in self.streams.iter_mut().zip(&mut self.since_cut).zip(fed) {
            for (partition, records) in fed {
                stream.entry(partition).or_insert_with(|| new_partition(ResumeOffset(0))).taken += records;
                since.taken += records;
            }
        }
    }

    /// The next event; none ever comes once the logs are closed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<IntakeEvent> {
        match &mut self.intake {
            Some(intake) => intake.next().await,
            None => std::future::pending().await,
        }
    }

    /// Takes an event at the wall-clock moment `now`: the records in it, if any, are to be fed before the next cut.
    pub(super) fn take(&mut self, event: Option<IntakeEvent>, now: Duration) -> Result<Option<EventBatch>, RunError> {
        let mut batch = None;
        match event {
            Some(IntakeEvent::Lane(LaneEvent::Records(records))) => batch = self.take_records(records),
            Some(IntakeEvent::Lane(LaneEvent::AtEnd { stream, partition, offset })) => {
                self.watermarks.at_end(stream, partition, offset, now);
                self.alignment.at_end(stream, partition);
                if let Some(progress) = self.streams[stream].get_mut(&partition) {
                    // Behind the last record stand markers of transactions: they are read too.
                    progress.next_offset = progress.next_offset.max(offset);
                }
            }
            Some(IntakeEvent::Lane(LaneEvent::Ended { stream })) => {
                self.ended.insert(stream);
                // A log that has ended holds nobody back. What it has shown stays in its progress.
                for &partition in self.streams[stream].keys() {
                    self.watermarks.observe(stream, partition, Some(EventTime::MAX));
                    self.alignment.at_end(stream, partition);
                }
            }
            Some(IntakeEvent::Lane(LaneEvent::Failed(error))) => return Err(error.into()),
            Some(IntakeEvent::Added { stream, partition }) => {
                tracing::info!(stream = self.plan.streams[stream].name, partition, "a partition was added");
                self.watermarks.add(stream, partition, None);
                self.streams[stream].entry(partition).or_insert_with(|| new_partition(ResumeOffset(0)));
            }
            // Lanes end only with `Ended` or `Failed`, which were seen.
            None => self.intake = None,
        }
        self.align();
        Ok(batch)
    }

    fn take_records(&mut self, taken: LaneRecords) -> Option<EventBatch> {
        let LaneRecords { stream: index, partition, next_offset, seen, records, future, rejects, bytes, logged } =
            taken;
        let read = &mut self.read[index];
        read.bytes += bytes;
        read.logged.extend(logged.map(|logged| (partition, logged)));
        let stream = &self.plan.streams[index];
        let (records, future) = without_future(records, future);
        let since = &mut self.since_cut[index];
        let rejects_before = since.rejects.len();
        since.rejects.extend(rejects);
        if let Some(future) = future {
            since.rejects.extend(future_rejects(stream, &future));
        }
        self.rejects_bytes += since.rejects[rejects_before..].iter().map(size_of_reject).sum::<usize>();
        let rejected = (since.rejects.len() - rejects_before) as u64;
        let count = records.num_rows() as u64 + rejected;
        since.taken += count;
        let progress = self.streams[index].entry(partition).or_insert_with(|| new_partition(ResumeOffset(0)));
        progress.next_offset = next_offset;
        progress.seen = seen;
        progress.taken += count;
        progress.rejected += rejected;
        self.watermarks.observe(index, partition, seen);
        self.alignment.observe(index, partition, seen);
        self.align_at_limit(index, partition);
        (records.num_rows() > 0).then(|| EventBatch {
            stream: index,
            partition: Some(partition),
            records,
            closed_below: self.watermarks.stated(),
        })
    }

    /// A partition that this run doesn't read on holds nobody back.
    fn align_at_limit(&mut self, stream: usize, partition: i32) {
        let next = self.streams[stream].get(&partition).map(|progress| progress.next_offset);
        let limit = self.limits[stream].get(&partition).copied();
        if limit.is_some() && next >= limit {
            self.alignment.at_end(stream, partition);
        }
    }

    fn align(&mut self) {
        let Some(intake) = &self.intake else { return };
        for decision in self.alignment.decide() {
            intake.set_paused(decision.stream, decision.partition, decision.paused);
        }
    }

    /// The watermark, and what it is by now.
    pub(super) fn watermarks(&mut self) -> &mut Watermarks {
        &mut self.watermarks
    }

    /// Whether every log that ends by itself has ended, and every other one is taken up to where it ended when the run
    /// began.
    pub(super) fn is_at_end(&self) -> bool {
        (0..self.streams.len()).all(|stream| {
            if self.bounded[stream] {
                return self.ended.contains(&stream);
            }
            let progress = &self.streams[stream];
            self.limits[stream].iter().all(|(partition, limit)| progress[partition].next_offset >= *limit)
        })
    }

    /// Whether all logs have ended by themselves.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.len() == self.streams.len()
    }

    /// Whether so many bytes of rejects wait that they should be written before more is taken.
    pub(super) fn rejects_are_many(&self) -> bool {
        self.rejects_bytes >= REJECTS_BYTES_MAX
    }

    /// Whether anything was taken since the last cut.
    pub(super) fn has_news(&self) -> bool {
        self.since_cut.iter().any(|since| since.taken > 0)
    }

    /// How far each stream is taken.
    pub(super) fn progress(&self) -> &[StreamProgress] {
        &self.streams
    }

    /// Tells an observer how far each stream is taken.
    pub(super) fn show(&self, observer: &mut Observer<'_>) {
        for (index, (progress, read)) in self.streams.iter().zip(&self.read).enumerate() {
            observer.stream(index, progress, read);
        }
        let standing = observer.standing();
        standing.watermark = self.watermarks.stated();
        let holder = self.watermarks.holder();
        standing.holder = holder.map(|holder| (self.plan.streams[holder.stream].name.clone(), holder.partition));
        standing.held.rejects_bytes = self.rejects_bytes as u64;
    }

    /// Stops reading: what has not been given out is for the next run. The intake is for the caller to drop, off the
    /// async threads.
    pub(super) fn close(&mut self) -> Option<Intake> {
        self.intake.take()
    }

    /// Cuts here. Fails if the rejects since the last cut are more than the share
    /// `rejects_max` (in millionths) of what was taken since.
    pub(super) fn cut(&mut self, rejects_max: u32) -> Result<Taken, RunError> {
        for (stream, since) in self.plan.streams.iter().zip(&self.since_cut) {
            let (rejected, limit) = (since.rejects.len() as u64, u128::from(rejects_max));
            let is_exceeded = u128::from(rejected) * 1_000_000 > u128::from(since.taken) * limit;
            if is_exceeded && since.taken >= JUDGED_RECORDS_MIN {
                return Err(too_many(&stream.name, since, rejects_max));
            }
        }
        let named = self.plan.streams.iter().zip(&self.streams);
        let streams = named.map(|(stream, progress)| (stream.name.clone(), progress.clone())).collect();
        let rejects = self.since_cut.iter_mut().map(|since| std::mem::take(since).rejects).collect();
        self.rejects_bytes = 0;
        Ok(Taken { streams, rejects })
    }
}

fn too_many(stream: &str, since: &SinceCut, rejects_max: u32) -> RunError {
    let first = &since.rejects[0];
    let position = |reject: &Reject| format!("{}@{}", reject.partition, reject.offset);
    let samples: Vec<String> = since.rejects.iter().take(SAMPLES_MAX).map(position).collect();
    RunError::TooManyRejects {
        stream: stream.to_owned(),
        rejected: since.rejects.len() as u64,
        taken: since.taken,
        percent: f64::from(rejects_max) / 10_000.0,
        reason: format!("{} ({})", first.detail, first.reason.as_str()),
        samples: samples.join(", "),
    }
}

fn size_of_reject(reject: &Reject) -> usize {
    reject.bytes() + size_of::<Reject>()
}

fn largest_window(plan: &Plan) -> Micros {
    plan.inserts.iter().map(|insert| insert.window.longest()).max().unwrap_or_default()
}

fn new_partition(from: ResumeOffset) -> PartitionProgress {
    PartitionProgress { next_offset: from, seen: None, taken: 0, rejected: 0 }
}

/// The records that count, and those beyond MAX FUTURE.
fn without_future(records: RecordBatch, future: Option<BooleanArray>) -> (RecordBatch, Option<RecordBatch>) {
    let Some(future) = future else { return (records, None) };
    let ahead = filter_record_batch(&records, &future).expect("the mask is as long as the batch");
    let counted = not(&future).and_then(|counted| filter_record_batch(&records, &counted));
    (counted.expect("the mask is as long as the batch"), Some(ahead))
}
