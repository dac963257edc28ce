//! One attempt at a run: the loop between intake, engine and checkpoints.
//! Invariant: a barrier cuts the flow at one place: what was fed before it is in the checkpoint, what comes behind is
//! not. At most one checkpoint is being written; while one is, the next barrier waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, not};
use arrow::record_batch::RecordBatch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::begin::{Beginning, claim};
use super::checkpoint::{Cut, Writer, Written};
use super::pending::{PENDING_ROWS_MAX, Pending};
use super::{Progress, RunError, RunOptions, RunReport, Setup, Until};
use crate::checkpoints::{PartitionProgress, StreamProgress};
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine, EngineOptions, EpochOutput};
use crate::event::{EventBatch, EventTime, Reject, ResumeOffset};
use crate::job::Plan;
use crate::sinks::future_rejects;
use crate::sources::{Intake, IntakeEvent, LaneEvent, LaneRecords, Logs, TakeUp};
use crate::time::Watermarks;
use crate::windows::PublishRange;

/// How often a quiet loop looks whether an epoch or a checkpoint is due.
const TICK: Duration = Duration::from_millis(50);

/// Why no more records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The user asked, or the end that was wanted is reached.
    Stop,
    /// The logs count as ended: every open window closes.
    Drain,
}

struct Loop<'a> {
    plan: &'a Arc<Plan>,
    setup: &'a Setup,
    options: &'a RunOptions,
    engine: Engine,
    intake: Option<Intake>,
    watermarks: Watermarks,
    first_window: EventTime,
    streams: Vec<StreamProgress>,
    limits: Vec<BTreeMap<i32, ResumeOffset>>,
    ended: BTreeSet<usize>,
    rejects: Vec<Vec<Reject>>,
    pending: Pending,
    /// Cuts whose barrier is under way, oldest first.
    cuts: VecDeque<Cut>,
    writing: Option<JoinHandle<(Writer, Result<Written, RunError>)>>,
    writer: Option<Writer>,
    last_checkpoint: Duration,
    fed_since_checkpoint: bool,
    ending: Option<Ending>,
    final_barrier: bool,
    finished: bool,
    report: RunReport,
    state_bytes: usize,
}

/// Claims, recovers and runs until the end or a failure.
pub(super) async fn attempt(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    stop: &CancellationToken,
    watch: &(dyn Fn(&Progress) + Sync),
) -> Result<RunReport, RunError> {
    let beginning = claim(plan, setup, options).await?;
    if let Some(manifest) = beginning.manifest.as_ref().filter(|manifest| manifest.finished) {
        let watermark = manifest.watermark;
        return Ok(RunReport { finished: true, resumed: true, watermark, ..RunReport::default() });
    }
    let mut run = Loop::start(plan, setup, options, beginning)?;
    run.go(stop, watch).await?;
    Ok(run.report)
}

impl<'a> Loop<'a> {
    fn start(
        plan: &'a Arc<Plan>,
        setup: &'a Setup,
        options: &'a RunOptions,
        beginning: Beginning,
    ) -> Result<Loop<'a>, RunError> {
        let Beginning { publisher, manifest, first_window, take_up, restored } = beginning;
        let rules = plan.streams.iter().map(|stream| (stream.bound, stream.idle_after));
        let stated = manifest.as_ref().map_or(EventTime::MIN, |manifest| manifest.watermark);
        let mut watermarks = Watermarks::new(rules, stated);
        let mut streams = Vec::with_capacity(plan.streams.len());
        for (index, (stream, partitions)) in plan.streams.iter().zip(&take_up).enumerate() {
            let known = manifest.as_ref().and_then(|manifest| manifest.streams.get(&stream.name));
            let mut progress = known.cloned().unwrap_or_default();
            for (&partition, take_up) in partitions {
                watermarks.add(index, partition, take_up.seen);
                progress.entry(partition).or_insert_with(|| new_partition(take_up));
            }
            streams.push(progress);
        }
        let publish = PublishRange { from: first_window, to: EventTime::MAX };
        let workers = options.workers;
        let engine =
            Engine::start(plan, EngineOptions { workers, publish: vec![publish; plan.inserts.len()], restored })?;
        let discover = options.until == Until::Forever;
        let intake = Intake::open(&setup.logs, &plan.streams, &take_up, workers, discover)?;
        let limits = take_up.iter().map(|partitions| {
            partitions.iter().filter_map(|(&partition, take_up)| Some((partition, take_up.limit?))).collect()
        });
        Ok(Loop {
            plan,
            setup,
            options,
            engine,
            intake: Some(intake),
            watermarks,
            first_window,
            streams,
            limits: limits.collect(),
            ended: BTreeSet::new(),
            rejects: vec![Vec::new(); plan.streams.len()],
            pending: Pending::new(plan.inserts.len()),
            cuts: VecDeque::new(),
            writing: None,
            writer: Some(Writer::new(plan, publisher, manifest.as_ref())),
            last_checkpoint: setup.clock.elapsed(),
            fed_since_checkpoint: false,
            ending: None,
            final_barrier: false,
            finished: false,
            report: RunReport { resumed: manifest.is_some(), watermark: stated, ..RunReport::default() },
            state_bytes: 0,
        })
    }

    async fn go(&mut self, stop: &CancellationToken, watch: &(dyn Fn(&Progress) + Sync)) -> Result<(), RunError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.end_if_reached();
        loop {
            if self.final_barrier && self.writing.is_none() && self.cuts.is_empty() {
                return Ok(());
            }
            let may_take = self.may_take();
            tokio::select! {
                biased;
                () = stop.cancelled(), if self.ending.is_none() => self.end(Ending::Stop),
                output = self.engine.next(), if self.engine.in_flight() > 0 => self.on_output(output?),
                written = finished(&mut self.writing), if self.writing.is_some() => self.on_written(written)?,
                event = next(&mut self.intake), if may_take => self.on_intake(event)?,
                _ = tick.tick() => watch(&self.progress()),
            }
            self.close_what_is_due();
        }
    }

    /// Whether more records may be taken now: not while the engine, or a checkpoint that can't be written, is behind.
    fn may_take(&self) -> bool {
        self.ending.is_none()
            && self.pending.rows() < PENDING_ROWS_MAX
            && (self.engine.rows_open() < self.options.epoch_rows || self.engine.in_flight() < EPOCHS_IN_FLIGHT_MAX)
    }

    fn on_intake(&mut self, event: Option<IntakeEvent>) -> Result<(), RunError> {
        match event {
            Some(IntakeEvent::Lane(LaneEvent::Records(records))) => self.feed(records),
            Some(IntakeEvent::Lane(LaneEvent::AtEnd { stream, partition, offset })) => {
                self.watermarks.at_end(stream, partition, offset, self.setup.clock.elapsed());
                if let Some(progress) = self.streams[stream].get_mut(&partition) {
                    // Behind the last record stand markers of transactions: they are read too.
                    progress.next_offset = progress.next_offset.max(offset);
                }
                self.end_if_reached();
            }
            Some(IntakeEvent::Lane(LaneEvent::Ended { stream })) => {
                self.ended.insert(stream);
                if self.ended.len() == self.plan.streams.len() {
                    self.end(Ending::Drain);
                }
            }
            Some(IntakeEvent::Lane(LaneEvent::Failed(error))) => return Err(error.into()),
            Some(IntakeEvent::Added { stream, partition }) => {
                tracing::info!(stream = self.plan.streams[stream].name, partition, "a partition was added");
                self.watermarks.add(stream, partition, None);
                let from = TakeUp { from: ResumeOffset(0), seen: None, limit: None };
                self.streams[stream].entry(partition).or_insert_with(|| new_partition(&from));
            }
            // Lanes end only with `Ended` or `Failed`, which were seen.
            None => self.intake = None,
        }
        Ok(())
    }

    fn feed(&mut self, taken: LaneRecords) {
        let stream = &self.plan.streams[taken.stream];
        let (records, future) = without_future(taken.records, taken.future);
        let rejected = taken.rejects.len() + future.as_ref().map_or(0, RecordBatch::num_rows);
        let count = (records.num_rows() + rejected) as u64;
        let progress = self.streams[taken.stream]
            .entry(taken.partition)
            .or_insert_with(|| new_partition(&TakeUp { from: ResumeOffset(0), seen: None, limit: None }));
        progress.next_offset = taken.next_offset;
        progress.seen = taken.seen;
        progress.taken += count;
        progress.rejected += rejected as u64;
        *self.report.taken.entry(stream.name.clone()).or_default() += count;
        *self.report.rejected.entry(stream.name.clone()).or_default() += rejected as u64;
        self.rejects[taken.stream].extend(taken.rejects);
        if let Some(future) = future {
            self.rejects[taken.stream].extend(future_rejects(stream, &future));
        }
        self.watermarks.observe(taken.stream, taken.partition, taken.seen);
        self.fed_since_checkpoint |= count > 0;
        if records.num_rows() > 0 {
            self.engine.feed(EventBatch {
                stream: taken.stream,
                partition: Some(taken.partition),
                records,
                closed_below: self.watermarks.stated(),
            });
        }
        self.end_if_reached();
    }

    /// Ends the run when every partition has reached the end that was wanted, or every window that was.
    fn end_if_reached(&mut self) {
        let reached = match self.options.until {
            Until::Forever => false,
            Until::End => self.limits.iter().zip(&self.streams).all(|(limits, progress)| {
                limits.iter().all(|(partition, &limit)| progress[partition].next_offset >= limit)
            }),
            Until::Time(time) => self.watermarks.stated() >= time,
        };
        // A bounded log says itself when it ends; its limits aren't known before.
        if reached && !self.plan.streams.iter().any(|stream| self.setup.logs.is_bounded(stream)) {
            self.end(if self.options.drain { Ending::Drain } else { Ending::Stop });
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.intake = None;
        }
    }

    fn close_what_is_due(&mut self) {
        if self.final_barrier || self.engine.in_flight() >= EPOCHS_IN_FLIGHT_MAX {
            return;
        }
        let may_cut = self.cuts.is_empty() && self.writing.is_none();
        if let Some(ending) = self.ending {
            if may_cut {
                self.final_barrier = true;
                self.finished = ending == Ending::Drain;
                let watermark = if self.finished { EventTime::MAX } else { self.watermarks.state() };
                self.cut(watermark);
            }
            return;
        }
        let since = self.setup.clock.elapsed() - self.last_checkpoint;
        let before = self.watermarks.stated();
        if may_cut && since >= self.options.checkpoint_interval && self.fed_since_checkpoint {
            let watermark = self.watermarks.state();
            self.cut(watermark);
        } else if self.engine.rows_open() >= self.options.epoch_rows || self.is_quiet_with_news(before) {
            let watermark = self.watermarks.state();
            self.engine.close_epoch(watermark, false);
        }
        if self.watermarks.stated() > before {
            self.report.watermark = self.watermarks.stated();
            self.end_if_reached();
        }
    }

    /// Whether nothing is under way and records or time wait to be acted on: keeps quiet streams prompt.
    fn is_quiet_with_news(&self, before: EventTime) -> bool {
        let mut ahead = self.watermarks.clone();
        self.engine.in_flight() == 0 && (self.engine.rows_open() > 0 || ahead.state() > before)
    }

    fn cut(&mut self, watermark: EventTime) {
        self.engine.close_epoch(watermark, true);
        self.report.watermark = watermark;
        let named = self.plan.streams.iter().zip(&self.streams);
        let rejects = std::mem::replace(&mut self.rejects, vec![Vec::new(); self.plan.streams.len()]);
        self.cuts.push_back(Cut {
            streams: named.map(|(stream, progress)| (stream.name.clone(), progress.clone())).collect(),
            watermark,
            first_window: self.first_window,
            finished: self.finished,
            rejects,
        });
        self.last_checkpoint = self.setup.clock.elapsed();
        self.fed_since_checkpoint = false;
    }

    fn on_output(&mut self, output: EpochOutput) {
        self.state_bytes = output.state_bytes;
        let is_barrier = output.frozen.is_some();
        self.pending.take(output);
        if !is_barrier {
            return;
        }
        let cut = self.cuts.pop_front().expect("every barrier has its cut");
        let pending = std::mem::replace(&mut self.pending, Pending::new(self.plan.inserts.len()));
        let mut writer = self.writer.take().expect("no barrier is sent while a checkpoint is being written");
        self.writing = Some(tokio::spawn(async move {
            let written = writer.write(cut, pending).await;
            (writer, written)
        }));
    }

    fn on_written(&mut self, written: (Writer, Result<Written, RunError>)) -> Result<(), RunError> {
        let (writer, written) = written;
        let written = written?;
        self.writing = None;
        self.writer = Some(writer);
        self.report.checkpoints += 1;
        self.report.finished = self.finished && self.final_barrier;
        for (insert, (rows, late)) in self.plan.inserts.iter().zip(written.rows.iter().zip(&written.late)) {
            *self.report.rows.entry(insert.table.to_string()).or_default() += rows;
            *self.report.late.entry(insert.table.to_string()).or_default() += late;
        }
        self.report_positions(&written.streams);
        Ok(())
    }

    /// Tells the logs how far results are published, for lag tools only.
    fn report_positions(&self, published: &BTreeMap<String, StreamProgress>) {
        for stream in &self.plan.streams {
            let positions =
                published[&stream.name].iter().map(|(&partition, at)| (partition, at.next_offset)).collect();
            let (logs, stream): (Arc<dyn Logs>, _) = (self.setup.logs.clone(), stream.clone());
            tokio::task::spawn_blocking(move || logs.report(&stream, &positions));
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            records: self.report.taken.values().sum(),
            watermark: self.watermarks.stated(),
            checkpoints: self.report.checkpoints,
            rows: self.report.rows.values().sum(),
            state_bytes: self.state_bytes,
        }
    }
}

fn new_partition(take_up: &TakeUp) -> PartitionProgress {
    PartitionProgress { next_offset: take_up.from, seen: take_up.seen, taken: 0, rejected: 0 }
}

/// The records that count, and those beyond MAX FUTURE.
fn without_future(records: RecordBatch, future: Option<BooleanArray>) -> (RecordBatch, Option<RecordBatch>) {
    let Some(future) = future else { return (records, None) };
    let ahead = filter_record_batch(&records, &future).expect("the mask is as long as the batch");
    let counted = not(&future).and_then(|counted| filter_record_batch(&records, &counted));
    (counted.expect("the mask is as long as the batch"), Some(ahead))
}

async fn next(intake: &mut Option<Intake>) -> Option<IntakeEvent> {
    match intake {
        Some(intake) => intake.next().await,
        None => std::future::pending().await,
    }
}

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> T {
    match task {
        Some(task) => task.await.expect("writing a checkpoint doesn't panic"),
        None => std::future::pending().await,
    }
}
