//! One attempt at archiving: the loop between the log and the checkpoints.
//! Invariant: at most one checkpoint is being written, and what it holds is counted when it is published. When an attempt
//! is over, nothing of it goes on in the background.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::headroom::{self, Headroom};
use super::widening::{Widening, widening};
use super::write::{Batch, Writer, Written};
use super::{ArchiveError, ArchiveOptions, ArchiveReport, STREAM_PROPERTY, Setup, SoFar, Work};
use crate::checkpoints::{Claimant, Heartbeat, Manifest, PartitionProgress, StreamProgress};
use crate::decode::SideInputs;
use crate::event::{EventTime, LiveFace, Micros, ResumeOffset, Stream, TableName};
use crate::job::Declaration;
use crate::memory::{Bytes, Memory, Pressure};
use crate::sinks::{PublishError, Publisher, Taken, Target, layout, take};
use crate::sources::{Identities, Intake, IntakeEvent, LaneEvent, LaneRecords, TakeUp, Telling, ask, resume};
use crate::standing::{Observer, Phase, Read};
use crate::start::{Start, StartPlace, Vouched, admit, begin};
use crate::time::Watermarks;
use crate::vitals::Vitals;

/// How often a quiet loop looks whether a checkpoint is due.
const TICK: Duration = Duration::from_millis(50);

/// Claims, recovers and archives until the end or a failure. What is in history is in the report, whatever comes then.
pub(super) async fn attempt(
    work: &Work<'_>,
    observer: &mut Observer<'_>,
    so_far: &mut SoFar,
) -> Result<(), ArchiveError> {
    observer.standing().phase = Phase::Starting;
    let vitals = observer.vitals().clone();
    // Dropped at any point, a claim is one that a crash cut off.
    let claiming = work.stop.run_until_cancelled(Box::pin(claim(work, &vitals, &so_far.claimant)));
    let Some(taken) = observer.showing(claiming).await else { return Ok(()) };
    let taken = taken?;
    so_far.restarts.began();
    // Whoever has taken over from this run since then is left alone by its next attempt.
    so_far.claimant.take_over = false;
    let heartbeat = taken.0.heartbeat().clone();
    let beginning = async {
        tokio::select! {
            beginning = Box::pin(begin_claimed(work, taken)) => Some(beginning),
            // Finishing the newest checkpoint may take as long as an outage does.
            newer = heartbeat.fenced() => Some(Err(PublishError::from(newer).into())),
            () = work.stop.cancelled() => None,
        }
    };
    let ended = match observer.showing(beginning).await {
        None => Ok(()),
        Some(Ok(beginning)) => Box::pin(run(work, beginning, observer, &mut so_far.report)).await,
        Some(Err(error)) => Err(error),
    };
    heartbeat.release().await;
    ended
}

/// What an attempt continues or begins.
struct Beginning {
    publisher: Publisher,
    manifest: Option<Manifest>,
    take_up: BTreeMap<i32, TakeUp>,
    /// For a history that begins here: from where on windows are whole in it, if that is known.
    whole_from: Option<EventTime>,
    /// How the history was widened, in words.
    evolved: Vec<String>,
    /// Of the topic.
    identities: Identities,
}

/// The history with its claim, and how it is to be widened.
async fn claim(
    work: &Work<'_>,
    vitals: &Vitals,
    claimant: &Claimant,
) -> Result<(Taken, Option<(Target, Widening)>), ArchiveError> {
    let Work { declared, stream, history, setup, options, .. } = *work;
    let widening = widening(&setup.catalog, history, declared, options.evolve).await?;
    let targets = targets(stream, history, options.evolve);
    let taken = take(&setup.catalog, work.store, claimant, &targets, vitals).await?;
    let [target, _] = targets;
    Ok((taken, widening.map(|widening| (target, widening))))
}

/// The history of `stream`, as archived, and its rejects.
pub(super) fn targets(stream: &Stream, history: &TableName, evolve: bool) -> [Target; 2] {
    let mut spec = layout::history(stream);
    spec.properties.insert(STREAM_PROPERTY.into(), Declaration::of(stream).to_json());
    let (rejects, inputs) = (history.with_suffix("_rejects"), SideInputs::of(stream));
    [
        Target { table: history.clone(), spec, owned: true, evolve },
        // One that was begun without what the stream takes beside messages keeps that from now on.
        Target { table: rejects, spec: layout::rejects(&inputs), owned: false, evolve: !inputs.is_empty() },
    ]
}

/// Finishes the newest checkpoint's commits, widens the history, and asks the log where to go on.
async fn begin_claimed(
    work: &Work<'_>,
    (taken, widened): (Taken, Option<(Target, Widening)>),
) -> Result<Beginning, ArchiveError> {
    let manifest = taken.newest().manifest.clone();
    let mut publisher = taken.begin().await?;
    let mut evolved = Vec::new();
    if let Some((target, widening)) = widened {
        publisher.evolve(&target, &widening.properties).await?;
        evolved = widening.changes;
    }
    let [_, rejects] = targets(work.stream, work.history, work.options.evolve);
    if rejects.evolve {
        publisher.evolve(&rejects, &BTreeMap::new()).await?;
    }
    let stated = manifest.as_ref().map(|manifest| manifest.topics.clone()).unwrap_or_default();
    let identities = Identities::ask(&work.setup.logs, std::slice::from_ref(work.stream), &stated).await?;
    let (take_up, whole_from) = take_up(work.stream, work.setup, work.options, manifest.as_ref()).await?;
    Ok(Beginning { publisher, manifest, take_up, whole_from, evolved, identities })
}

async fn run(
    work: &Work<'_>,
    beginning: Beginning,
    observer: &mut Observer<'_>,
    report: &mut ArchiveReport,
) -> Result<(), ArchiveError> {
    observer.standing().generation = beginning.publisher.begun().identity().generation.0;
    observer.show();
    if report.checkpoints == 0 {
        report.resumed = beginning.manifest.is_some();
    }
    report.evolved.extend(beginning.evolved.iter().cloned());
    let mut run = Loop::start(work, beginning, (report, observer))?;
    let ended = run.go(work).await;
    run.leave(ended.is_ok()).await;
    ended
}

/// What became of some records.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    taken: u64,
    rows: u64,
    rejected: u64,
}

/// Where partitions are taken up; for a history that begins here, also from where on windows are whole in it.
async fn take_up(
    stream: &Arc<Stream>,
    setup: &Setup,
    options: &ArchiveOptions,
    manifest: Option<&Manifest>,
) -> Result<(BTreeMap<i32, TakeUp>, Option<EventTime>), ArchiveError> {
    let start = match (&stream.live, manifest) {
        (LiveFace::Kafka { .. }, None) => options.start.clone(),
        _ => Start::Earliest,
    };
    let answers = ask(&setup.logs, stream, start, Micros(0)).await?;
    if let Some(advice) = admit(stream, answers.nature)? {
        tracing::warn!("{}", advice.text);
    }
    if let Some(manifest) = manifest {
        return Ok((resume(manifest.streams.get(&stream.name), &answers.facts, options.until_end), None));
    }
    let now = setup.clock.now();
    let whole = begin(&answers.asked(stream, Vouched::default(), now));
    let whole_from = whole.as_ref().ok().map(|begun| begun.whole_from);
    // History may begin anywhere: which windows are whole is judged when it is read.
    let vouched = Vouched { whole_from: None, allow_partial: true };
    let begun = whole.or_else(|_| begin(&answers.asked(stream, vouched, now)))?;
    let limit = |partition: i32| options.until_end.then(|| answers.facts[&partition].high);
    let take_up = |(partition, place): (i32, StartPlace)| {
        (partition, TakeUp { from: place.offset, seen: place.seen, limit: limit(partition) })
    };
    Ok((begun.places.into_iter().map(take_up).collect(), whole_from))
}

struct Loop<'a, 'w> {
    stream: &'a Arc<Stream>,
    setup: &'a Setup,
    options: &'a ArchiveOptions,
    observer: &'a mut Observer<'w>,
    read: Read,
    headroom: Headroom,
    memory: Memory,
    intake: Option<Intake>,
    watermarks: Watermarks,
    progress: StreamProgress,
    limits: BTreeMap<i32, ResumeOffset>,
    heartbeat: Arc<Heartbeat>,
    batch: Batch,
    /// Of the batch.
    counts: Counts,
    /// Of the checkpoint that is being written.
    counts_writing: Counts,
    /// Of the checkpoint that is being written.
    progress_writing: StreamProgress,
    telling: Telling,
    /// The watermark of the last cut, or that the attempt began with.
    cut_at: EventTime,
    writer: Option<Writer>,
    writing: Option<Writing>,
    last_checkpoint: Duration,
    /// Whether the checkpoint that is being written was cut to give memory back.
    is_for_relief: bool,
    ending: bool,
    written_last: bool,
    report: &'a mut ArchiveReport,
}

type Writing = AbortOnDropHandle<(Writer, Result<Written, ArchiveError>)>;

impl<'a, 'w> Loop<'a, 'w> {
    fn start(
        work: &Work<'a>,
        beginning: Beginning,
        (report, observer): (&'a mut ArchiveReport, &'a mut Observer<'w>),
    ) -> Result<Loop<'a, 'w>, ArchiveError> {
        let Work { stream, setup, options, .. } = *work;
        let Beginning { publisher, manifest, take_up, whole_from, identities, .. } = beginning;
        let manifest = manifest.as_ref();
        // A watermark by another bound says nothing about this one's.
        let same_bound = |manifest: &&Manifest| {
            let declared = Declaration::parse(&manifest.fingerprint);
            declared.is_ok_and(|declared| declared.bound_us == stream.bound.0)
        };
        let stated = manifest.filter(same_bound).map_or(EventTime::MIN, |manifest| manifest.watermark);
        let mut watermarks = Watermarks::new([(stream.bound, stream.idle_after)], stated);
        let known = manifest.and_then(|manifest| manifest.streams.get(&stream.name));
        let mut progress = known.cloned().unwrap_or_default();
        for (&partition, take_up) in &take_up {
            watermarks.add(0, partition, take_up.seen);
            if take_up.limit == Some(ResumeOffset(0)) {
                // Empty, as the log has just said; the run may end before its lane says it again.
                watermarks.at_end(0, partition, ResumeOffset(0), setup.clock.elapsed());
            }
            progress.entry(partition).or_insert_with(|| new_partition(take_up.from));
        }
        let positions = [take_up.clone()];
        let intake =
            Intake::open(&setup.logs, std::slice::from_ref(stream), &positions, options.lanes, !options.until_end)?;
        let limits = take_up.iter().filter_map(|(&partition, take_up)| Some((partition, take_up.limit?))).collect();
        observer.attempt(std::slice::from_ref(&progress));
        observer.standing().frontier = stated;
        report.watermark = stated;
        Ok(Loop {
            stream,
            setup,
            options,
            observer,
            read: Read::default(),
            headroom: Headroom::default(),
            memory: Memory::default(),
            intake: Some(intake),
            watermarks,
            progress,
            limits,
            heartbeat: publisher.heartbeat().clone(),
            batch: Batch::default(),
            counts: Counts::default(),
            counts_writing: Counts::default(),
            progress_writing: StreamProgress::default(),
            telling: Telling::new(&setup.logs, std::slice::from_ref(stream)),
            cut_at: stated,
            writer: Some(Writer::new(stream, publisher, identities, whole_from)),
            writing: None,
            last_checkpoint: setup.clock.elapsed(),
            is_for_relief: false,
            ending: false,
            written_last: false,
            report,
        })
    }

    async fn go(&mut self, work: &Work<'_>) -> Result<(), ArchiveError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.end_if_reached();
        while !(self.written_last && self.writing.is_none()) {
            let may_take = !self.ending && !self.batch.is_over(2) && self.memory.pressure() < Pressure::Over;
            tokio::select! {
                biased;
                newer = self.heartbeat.fenced() => return Err(PublishError::from(newer).into()),
                () = work.stop.cancelled(), if !self.ending => self.end(),
                written = finished(&mut self.writing), if self.writing.is_some() => self.on_written(written)?,
                event = next(&mut self.intake), if may_take => self.on_intake(event)?,
                _ = tick.tick() => self.look(),
            }
            self.cut_if_due();
        }
        self.show();
        Ok(())
    }

    /// Ends what is under way.
    async fn leave(mut self, in_order: bool) {
        if in_order {
            self.observer.showing(self.telling.finish()).await;
        }
        if let Some(writing) = self.writing.take() {
            // What it had begun is what a crash would have left: another attempt finishes it or passes it over.
            writing.abort();
            let _: Result<_, JoinError> = writing.await;
        }
        let intake = self.intake.take();
        // Waits for threads.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(intake)).await {
            tracing::error!(%error, "ending the threads of an archiver failed");
        }
    }

    fn on_intake(&mut self, event: Option<IntakeEvent>) -> Result<(), ArchiveError> {
        match event {
            Some(IntakeEvent::Lane(LaneEvent::Records(records))) => self.add(records),
            Some(IntakeEvent::Lane(LaneEvent::AtEnd { partition, offset, .. })) => {
                self.watermarks.at_end(0, partition, offset, self.setup.clock.elapsed());
                if let Some(progress) = self.progress.get_mut(&partition) {
                    progress.next_offset = progress.next_offset.max(offset);
                }
                self.end_if_reached();
            }
            Some(IntakeEvent::Lane(LaneEvent::Ended { .. })) => self.end(),
            Some(IntakeEvent::Lane(LaneEvent::Failed(error))) => return Err(error.into()),
            Some(IntakeEvent::Added { partition, .. }) => {
                self.watermarks.add(0, partition, None);
                self.progress.entry(partition).or_insert_with(|| new_partition(ResumeOffset(0)));
            }
            None => self.intake = None,
        }
        Ok(())
    }

    fn add(&mut self, taken: LaneRecords) {
        let count = (taken.records.num_rows() + taken.rejects.len()) as u64;
        let rejected = taken.rejects.len() as u64;
        let progress = self.progress.entry(taken.partition).or_insert_with(|| new_partition(ResumeOffset(0)));
        progress.next_offset = taken.next_offset;
        progress.seen = taken.seen;
        progress.taken += count;
        progress.rejected += rejected;
        self.counts.taken += count;
        self.counts.rejected += rejected;
        self.counts.rows += taken.records.num_rows() as u64;
        self.read.bytes += taken.bytes;
        self.read.logged.extend(taken.logged.map(|logged| (taken.partition, logged)));
        self.watermarks.observe(0, taken.partition, taken.seen);
        self.batch.add(taken.records, taken.rejects);
        self.end_if_reached();
    }

    fn end_if_reached(&mut self) {
        let reached = |(partition, &limit): (&i32, &ResumeOffset)| self.progress[partition].next_offset >= limit;
        if self.options.until_end && !self.setup.logs.is_bounded(self.stream) && self.limits.iter().all(reached) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ending = true;
        self.intake = None;
    }

    fn cut_if_due(&mut self) {
        if self.writing.is_some() || self.written_last {
            return;
        }
        let since = self.setup.clock.elapsed() - self.last_checkpoint;
        let has_news = || !self.batch.is_empty() || self.watermarks.clone().state() > self.cut_at;
        let due = since >= self.options.checkpoint_interval && has_news();
        let is_short = self.memory.pressure() == Pressure::Over;
        if !(self.ending || due || is_short || self.batch.is_over(1)) {
            return;
        }
        self.written_last = self.ending;
        let watermark = self.watermarks.state();
        self.cut_at = watermark;
        self.counts_writing = std::mem::take(&mut self.counts);
        let (batch, progress) = (std::mem::take(&mut self.batch), self.progress.clone());
        self.progress_writing.clone_from(&progress);
        let mut writer = self.writer.take().expect("one checkpoint is written at a time");
        self.observer.checkpoint_begun();
        self.is_for_relief = is_short;
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let written = writer.write(batch, progress, watermark).await;
            (writer, written)
        })));
        self.last_checkpoint = self.setup.clock.elapsed();
    }

    fn on_written(
        &mut self,
        written: Result<(Writer, Result<Written, ArchiveError>), JoinError>,
    ) -> Result<(), ArchiveError> {
        self.writing = None;
        let died = |source| ArchiveError::TaskDied { task: "writing a checkpoint", source };
        let (writer, written) = written.map_err(died)?;
        let written = written?;
        self.writer = Some(writer);
        let counts = std::mem::take(&mut self.counts_writing);
        let report = &mut *self.report;
        report.taken += counts.taken;
        report.rows += counts.rows;
        report.rejected += counts.rejected;
        report.checkpoints += 1;
        report.watermark = self.cut_at;
        let progress = std::mem::take(&mut self.progress_writing);
        self.telling.tell(BTreeMap::from([(self.stream.name.clone(), progress)]));
        self.observer.checkpoint_written(written.bytes, written.watermark);
        let shown = &mut self.observer.standing().tables[0];
        shown.rows += written.rows;
        shown.accepted += written.rows;
        self.memory = Memory::now(self.options.memory_max);
        if std::mem::take(&mut self.is_for_relief) && self.memory.pressure() == Pressure::Over && !self.ending {
            let Memory { used_bytes, limit_bytes } = self.memory;
            return Err(ArchiveError::Memory {
                used: Bytes(used_bytes),
                limit: Bytes(limit_bytes.unwrap_or(u64::MAX)),
            });
        }
        Ok(())
    }

    /// Looks at memory and headroom, and shows how the archive stands.
    fn look(&mut self) {
        self.memory = Memory::now(self.options.memory_max);
        if !self.observer.is_due() {
            return;
        }
        self.show();
        let standing = self.observer.standing();
        let warnings = self.headroom.look(&standing.streams[0].partitions, standing.now, self.setup.clock.elapsed());
        for warning in warnings {
            let headroom::Warning { partition, records, share, time } = warning;
            tracing::warn!(
                stream = self.stream.name,
                partition,
                headroom_records = records,
                headroom_percent = (share * 100.0).round(),
                headroom_s = time.map(|time| time.as_secs()),
                "retention is about to remove records that are not archived yet: they would be lost for good; let the \
                 topic keep them longer, or give the archive more to run with"
            );
        }
    }

    fn show(&mut self) {
        self.observer.stream(0, &self.progress, &self.read);
        let standing = self.observer.standing();
        standing.phase = if self.ending { Phase::Ending } else { Phase::Reading };
        standing.watermark = self.watermarks.stated();
        standing.holder = self.watermarks.holder().map(|holder| (self.stream.name.clone(), holder.partition));
        standing.memory = self.memory;
        standing.held.pending_bytes = self.batch.bytes() as u64;
        self.observer.show();
    }
}

fn new_partition(from: ResumeOffset) -> PartitionProgress {
    PartitionProgress { next_offset: from, seen: None, taken: 0, rejected: 0 }
}

async fn next(intake: &mut Option<Intake>) -> Option<IntakeEvent> {
    match intake {
        Some(intake) => intake.next().await,
        None => std::future::pending().await,
    }
}

async fn finished(writing: &mut Option<Writing>) -> Result<(Writer, Result<Written, ArchiveError>), JoinError> {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}
