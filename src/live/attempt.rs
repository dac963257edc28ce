//! One attempt at a run: the loop between inflow, engine and checkpoints.
//! Invariant: a barrier cuts the flow at one place: what was fed before it is in the checkpoint, what comes behind is
//! not. At most one checkpoint is being written; while one is, the next barrier waits. When an attempt is over, nothing
//! of it goes on in the background.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::begin::{Beginning, claim};
use super::bootstrap;
use super::checkpoint::{Cut, Writer, Written};
use super::inflow::{Inflow, Taken};
use super::pending::{PENDING_ROWS_MAX, Pending};
use super::sealing::Sealing;
use super::{RunError, RunOptions, RunReport, Setup, SoFar, Until};
use crate::checkpoints::{Heartbeat, Manifest, PartitionProgress, StreamProgress};
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine, EngineOptions, EpochOutput};
use crate::event::EventTime;
use crate::job::{Insert, Plan};
use crate::kill_point::KillPoint;
use crate::memory::{Bytes, HeldByOperator, Memory, Relief};
use crate::sinks::PublishError;
use crate::sources::{Intake, Telling};
use crate::standing::{Observer, Phase};
use crate::windows::{Places, PublishRange};

/// How often a quiet loop looks whether an epoch or a checkpoint is due.
const TICK: Duration = Duration::from_millis(50);

/// How long a run that was told to stop waits for the rewriting of a partition that is under way; what is not done by
/// then is left for the next run.
const SEALING_AT_STOP_MAX: Duration = Duration::from_secs(5);

/// Why no more records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The user asked, or the end that was wanted is reached.
    Stop,
    /// The logs count as ended: every open window closes.
    Drain,
}

type Writing = AbortOnDropHandle<(Writer, Result<Written, RunError>)>;

struct Loop<'a, 'w> {
    plan: &'a Arc<Plan>,
    setup: &'a Setup,
    options: &'a RunOptions,
    report: &'a mut RunReport,
    heartbeat: Arc<Heartbeat>,
    observer: &'a mut Observer<'w>,
    engine: Engine,
    inflow: Inflow,
    /// Closed, and to be waited for.
    closed: Option<Intake>,
    pending: Pending,
    /// Cuts whose barrier is under way, oldest first.
    cuts: VecDeque<Cut>,
    writing: Option<Writing>,
    writer: Option<Writer>,
    telling: Telling,
    sealing: Sealing,
    last_checkpoint: Duration,
    /// The watermark of the last cut, or that the attempt began with.
    cut_at: EventTime,
    /// How far streams are published.
    published: BTreeMap<String, StreamProgress>,
    ending: Option<Ending>,
    final_barrier: bool,
    finished: bool,
    relief: Relief,
}

/// Claims, recovers and runs until the end or a failure. What is published is in the report, whatever comes then.
pub(super) async fn attempt(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    stop: &CancellationToken,
    observer: &mut Observer<'_>,
    so_far: &mut SoFar,
) -> Result<(), RunError> {
    observer.standing().phase = Phase::Starting;
    let vitals = observer.vitals().clone();
    // Dropped at any point, a claim is one that a crash cut off.
    let claiming = stop.run_until_cancelled(Box::pin(claim(plan, setup, options, (&so_far.claimant, &vitals))));
    let Some(beginning) = observer.showing(claiming).await else { return Ok(()) };
    let beginning = beginning?;
    so_far.restarts.began();
    // Whoever has taken over from this run since then is left alone by its next attempt.
    so_far.claimant.take_over = false;
    let heartbeat = beginning.publisher.heartbeat().clone();
    let report = &mut so_far.report;
    let running = Box::pin(async {
        if report.checkpoints == 0 {
            report.resumed = beginning.manifest.is_some();
        }
        if let Some(manifest) = &beginning.manifest {
            report.watermark = manifest.watermark;
            if manifest.finished {
                report.finished = true;
                return Ok(());
            }
        }
        let mut run = Loop::start(plan, setup, options, beginning, (report, observer)).await?;
        let ended = run.go(stop).await;
        run.leave(ended.is_ok(), stop).await;
        ended
    });
    let ended = running.await;
    heartbeat.release().await;
    ended
}

impl<'a, 'w> Loop<'a, 'w> {
    async fn start(
        plan: &'a Arc<Plan>,
        setup: &'a Setup,
        options: &'a RunOptions,
        beginning: Beginning,
        (report, observer): (&'a mut RunReport, &'a mut Observer<'w>),
    ) -> Result<Loop<'a, 'w>, RunError> {
        let Beginning { publisher, manifest, first_windows, take_up, restored, feeds, identities } = beginning;
        let manifest: Option<&Manifest> = manifest.as_ref();
        let publish = first_windows.iter().map(|&from| PublishRange::of_marks(from, EventTime::MAX));
        let engine = EngineOptions {
            workers: options.workers,
            publish: publish.collect(),
            places: plan.inserts.iter().map(|insert| places(manifest, insert)).collect(),
            complete_from: plan.inserts.iter().zip(&first_windows).map(complete_from).collect(),
            restored,
            watermark: manifest.map_or(EventTime::MIN, |manifest| manifest.watermark),
            published_below: plan.inserts.iter().map(|insert| published_below(manifest, insert)).collect(),
            fail_point: options.fail_point.clone(),
        };
        let mut engine = Engine::start(plan, engine)?;
        let mut pending = Pending::new(plan.inserts.len());
        let mut fed = Vec::with_capacity(feeds.len());
        for (stream, feed) in plan.streams.iter().enumerate().zip(&feeds) {
            fed.push(match feed {
                Some(feed) => {
                    let feeding = bootstrap::feed(&mut engine, &mut pending, stream, feed, options.epoch_rows);
                    observer.showing(feeding).await?
                }
                None => BTreeMap::new(),
            });
        }
        let mut inflow = observer.showing(Inflow::open(plan, setup, options, manifest, take_up)).await?;
        observer.attempt(inflow.progress());
        inflow.count_fed(fed);
        let stated = manifest.map_or(EventTime::MIN, |manifest| manifest.watermark);
        let sealed = plan.inserts.iter().map(|insert| sealed_at(manifest, insert)).collect();
        let standing = observer.standing();
        standing.generation = publisher.begun().identity().generation.0;
        standing.frontier = stated;
        // Whoever reads a log wants to know the generation, however soon the run ends.
        observer.show();
        Ok(Loop {
            plan,
            setup,
            options,
            report,
            heartbeat: publisher.heartbeat().clone(),
            observer,
            engine,
            inflow,
            closed: None,
            pending,
            cuts: VecDeque::new(),
            writing: None,
            sealing: Sealing::new(plan, &publisher, sealed),
            writer: Some(Writer::new(plan, (publisher, identities), manifest, &first_windows)),
            telling: Telling::new(&setup.logs, &plan.streams),
            last_checkpoint: setup.clock.elapsed(),
            cut_at: stated,
            published: manifest.map_or_else(Default::default, |manifest| manifest.streams.clone()),
            ending: None,
            final_barrier: false,
            finished: false,
            relief: Relief::default(),
        })
    }

    async fn go(&mut self, stop: &CancellationToken) -> Result<(), RunError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.end_if_reached();
        loop {
            if self.final_barrier && self.writing.is_none() && self.cuts.is_empty() {
                self.show();
                return Ok(());
            }
            let may_take = self.may_take();
            tokio::select! {
                // The inflow last: it may always have something, and the others must have their turn.
                biased;
                newer = self.heartbeat.fenced() => return Err(PublishError::from(newer).into()),
                () = stop.cancelled(), if self.ending.is_none() => self.end(Ending::Stop),
                output = self.engine.next() => self.on_output(output?),
                written = finished(&mut self.writing), if self.writing.is_some() => self.on_written(written)?,
                () = self.sealing.step(), if self.sealing.is_busy() => {}
                _ = tick.tick() => self.look(),
                event = self.inflow.next(), if may_take => {
                    if let Some(batch) = self.inflow.take(event, self.setup.clock.elapsed())? {
                        self.engine.feed(batch);
                    }
                    self.end_if_reached();
                }
            }
            self.close_what_is_due()?;
        }
    }

    /// Ends what is under way. A run that ended by itself first rewrites what it has sealed, so that a finished job leaves
    /// tidy tables.
    async fn leave(mut self, in_order: bool, stop: &CancellationToken) {
        if in_order {
            self.observer.showing(finish_sealing(&mut self.sealing, stop)).await;
            self.telling.finish().await;
        }
        if let Some(writing) = self.writing.take() {
            // What it had begun is what a crash would have left: another attempt finishes it or passes it over.
            writing.abort();
            let _: Result<_, tokio::task::JoinError> = writing.await;
        }
        let (open, closed, engine) = (self.inflow.close(), self.closed.take(), self.engine);
        // Both wait for threads.
        let ended = tokio::task::spawn_blocking(move || drop((open, closed, engine))).await;
        if let Err(error) = ended {
            tracing::error!(%error, "ending the threads of a run failed");
        }
    }

    /// Whether more records may be taken now: not while the engine, or a checkpoint that can't be written, is behind.
    fn may_take(&self) -> bool {
        self.ending.is_none()
            && self.pending.rows() < PENDING_ROWS_MAX
            && !self.inflow.rejects_are_many()
            && self.relief.may_take()
            && (self.engine.rows_open() < self.epoch_rows() || self.engine.in_flight() < EPOCHS_IN_FLIGHT_MAX)
    }

    /// Ends the run when every log has reached the end that was wanted, or every window that was is published.
    fn end_if_reached(&mut self) {
        if self.inflow.has_ended() {
            return self.end(Ending::Drain);
        }
        let reached = match self.options.until {
            Until::Forever => false,
            Until::End => self.inflow.is_at_end(),
            Until::Time(time) => self.inflow.watermarks().stated() >= time,
        };
        if reached {
            self.end(if self.options.drain { Ending::Drain } else { Ending::Stop });
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.closed = self.inflow.close();
        }
    }

    fn close_what_is_due(&mut self) -> Result<(), RunError> {
        if self.final_barrier || self.engine.in_flight() >= EPOCHS_IN_FLIGHT_MAX {
            return Ok(());
        }
        let may_cut = self.cuts.is_empty() && self.writing.is_none();
        if let Some(ending) = self.ending {
            if may_cut {
                self.final_barrier = true;
                self.finished = ending == Ending::Drain;
                let watermark = if self.finished { EventTime::MAX } else { self.inflow.watermarks().state() };
                self.cut(watermark)?;
            }
            return Ok(());
        }
        let before = self.inflow.watermarks().stated();
        if may_cut && (self.is_checkpoint_due() || self.relief.wants_cut(self.pending.bytes() as u64)) {
            let watermark = self.inflow.watermarks().state();
            self.cut(watermark)?;
        } else if self.engine.rows_open() >= self.epoch_rows() || self.is_quiet_with_news() {
            let watermark = self.inflow.watermarks().state();
            self.engine.close_epoch(watermark, false);
        }
        if self.inflow.watermarks().stated() > before {
            self.end_if_reached();
        }
        Ok(())
    }

    /// Whether there is something to publish, and the time for it has come or too much of it waits. Time alone is
    /// something: a partition that became idle closes windows of records that earlier checkpoints hold.
    fn is_checkpoint_due(&mut self) -> bool {
        let has_news = self.inflow.has_news() || self.inflow.watermarks().stated() > self.cut_at;
        let since = self.setup.clock.elapsed().saturating_sub(self.last_checkpoint);
        let is_full = self.pending.rows() >= PENDING_ROWS_MAX / 2 || self.inflow.rejects_are_many();
        has_news && (since >= self.options.checkpoint_interval || is_full)
    }

    /// Whether nothing is under way and records or time wait to be acted on: keeps quiet streams prompt.
    fn is_quiet_with_news(&mut self) -> bool {
        self.engine.in_flight() == 0 && (self.engine.rows_open() > 0 || self.inflow.watermarks().is_behind())
    }

    fn cut(&mut self, watermark: EventTime) -> Result<(), RunError> {
        KillPoint::BeforeBarrier.reach();
        let Taken { streams, rejects } = self.inflow.cut(self.options.rejects_max_millionths)?;
        self.engine.close_epoch(watermark, true);
        self.cuts.push_back(Cut { streams, watermark, finished: self.finished, rejects });
        self.last_checkpoint = self.setup.clock.elapsed();
        self.relief.cut();
        self.cut_at = watermark;
        Ok(())
    }

    fn on_output(&mut self, output: EpochOutput) {
        self.observer.epochs(self.engine.in_flight(), true);
        self.note_held(&output);
        let is_barrier = output.frozen.is_some();
        self.pending.take(output);
        if !is_barrier {
            return;
        }
        let cut = self.cuts.pop_front().expect("every barrier has its cut");
        let pending = std::mem::replace(&mut self.pending, Pending::new(self.plan.inserts.len()));
        let mut writer = self.writer.take().expect("no barrier is sent while a checkpoint is being written");
        self.observer.checkpoint_begun();
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let written = writer.write(cut, pending).await;
            (writer, written)
        })));
    }

    fn on_written(
        &mut self,
        written: Result<(Writer, Result<Written, RunError>), tokio::task::JoinError>,
    ) -> Result<(), RunError> {
        self.writing = None;
        let died = |source| RunError::TaskDied { task: "writing a checkpoint", source };
        let (writer, written) = written.map_err(died)?;
        let written = written?;
        self.writer = Some(writer);
        let report = &mut *self.report;
        report.checkpoints += 1;
        report.watermark = written.watermark;
        report.finished = written.finished;
        for (stream, progress) in &written.streams {
            let before = self.published.get(stream);
            let since = |of: fn(&PartitionProgress) -> u64| {
                let sum = |progress: &StreamProgress| progress.values().map(of).sum::<u64>();
                sum(progress) - before.map_or(0, sum)
            };
            *report.taken.entry(stream.clone()).or_default() += since(|at| at.taken);
            *report.rejected.entry(stream.clone()).or_default() += since(|at| at.rejected);
        }
        self.observer.checkpoint_written(written.bytes, written.watermark);
        for (index, insert) in self.plan.inserts.iter().enumerate() {
            let (rows, late) = (written.rows[index], written.late[index]);
            *report.rows.entry(insert.table.to_string()).or_default() += rows;
            *report.late.entry(insert.table.to_string()).or_default() += late;
            let shown = &mut self.observer.standing().tables[index];
            shown.rows += rows;
            shown.late += late;
            shown.accepted += written.accepted[index];
            shown.sealed_edge = written.sealed[index];
        }
        self.published.clone_from(&written.streams);
        self.telling.tell(written.streams);
        self.sealing.published(written.touched, written.settled);
        self.check_memory()
    }

    /// Looks at memory, and shows how the run stands.
    fn look(&mut self) {
        self.relief.observe(Memory::now(self.options.memory_max));
        self.observer.epochs(self.engine.in_flight(), false);
        if self.observer.is_due() {
            self.show();
        }
    }

    fn show(&mut self) {
        self.inflow.show(self.observer);
        let standing = self.observer.standing();
        standing.phase = if self.ending.is_none() { Phase::Reading } else { Phase::Ending };
        standing.memory = self.relief.memory();
        standing.held.pending_bytes = self.pending.bytes() as u64;
        self.observer.show();
    }

    /// Notes what the open windows hold after an epoch.
    fn note_held(&mut self, output: &EpochOutput) {
        let operators = self.plan.inserts.iter().zip(&output.inserts).map(|(insert, output)| HeldByOperator {
            table: insert.table.clone(),
            bytes: output.open.bytes as u64,
            windows: output.open.windows as u64,
            largest: output.open.largest.map(|(start, bytes)| (start, bytes as u64)),
        });
        self.observer.standing().held.operators = operators.collect();
    }

    /// Rows after which an epoch closes: fewer when memory is short.
    fn epoch_rows(&self) -> usize {
        self.relief.epoch_rows(self.options.epoch_rows)
    }

    /// Gives up when a checkpoint has given back what could be and there is still too little memory. A run that ends
    /// anyway is let go.
    fn check_memory(&mut self) -> Result<(), RunError> {
        let memory = Memory::now(self.options.memory_max);
        if !self.relief.is_exhausted(memory) || self.ending.is_some() {
            return Ok(());
        }
        self.show();
        Err(RunError::Memory {
            used: Bytes(memory.used_bytes),
            limit: Bytes(memory.limit_bytes.unwrap_or(u64::MAX)),
            held: Box::new(self.observer.standing().held.clone()),
        })
    }
}

/// Rewrites what is sealed; once the run is told to stop, only the piece that is under way, and not for long.
async fn finish_sealing(sealing: &mut Sealing, stop: &CancellationToken) {
    let stopped = stop.is_cancelled();
    tokio::select! {
        () = async { while sealing.is_busy() { sealing.step().await } }, if !stopped => return,
        () = stop.cancelled() => {}
    }
    // It begins the next piece, which is dropped.
    if sealing.is_busy() && tokio::time::timeout(SEALING_AT_STOP_MAX, sealing.step()).await.is_err() {
        tracing::info!("a partition was not rewritten; the next run does it");
    }
}

async fn finished(
    writing: &mut Option<Writing>,
) -> Result<(Writer, Result<Written, RunError>), tokio::task::JoinError> {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}

/// The event time from which on a run that publishes windows from `first_window` on reads all records.
fn complete_from((insert, &first_window): (&Insert, &EventTime)) -> EventTime {
    if first_window == EventTime::MIN { first_window } else { first_window.minus(insert.reach()) }
}

/// Which records of an INSERT without a window are published already, as of a checkpoint.
fn places(manifest: Option<&Manifest>, insert: &Insert) -> Places {
    let known = manifest.and_then(|manifest| manifest.inserts.iter().find(|progress| progress.table == insert.table));
    Places { published: known.and_then(|progress| progress.published.clone()), others: None }
}

/// Windows of a checkpoint's state that end at or before it are published as they are in it.
fn published_below(manifest: Option<&Manifest>, insert: &Insert) -> EventTime {
    let Some(manifest) = manifest else { return EventTime::MIN };
    let left = manifest.inserts.iter().find(|progress| progress.table == insert.table).and_then(|at| at.republish);
    // A job that was moved back: what it has published since is replaced, revisions of older windows too.
    let moved = left.is_some_and(|left| left.from < insert.published_below(manifest.watermark));
    if moved { manifest.watermark.minus(insert.allowed) } else { manifest.watermark }
}

/// Below which edge of an INSERT's result nothing can change any more, as of a checkpoint.
fn sealed_at(manifest: Option<&Manifest>, insert: &Insert) -> EventTime {
    let Some(manifest) = manifest else { return EventTime::MIN };
    let known = manifest.inserts.iter().find(|progress| progress.table == insert.table);
    let known = known.map_or(EventTime::MIN, |progress| progress.sealed_edge);
    known.max(insert.sealed_edge(manifest.watermark, EventTime::MIN))
}
