//! The archive driver: copies the live face of a stream into its history table, exactly once.
//!
//! Every record that can be read becomes one row with its position and `_seen`, those beyond MAX FUTURE included, as a
//! later job may judge them anew; the others go to `<history>_rejects`. No engine takes part: a checkpoint is the rows
//! taken since the last one, as files, and the positions behind them.
//! Invariant: the archiver's identity is the history table, whatever job it was started from.

mod headroom;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{
    ADDED_COLUMNS, CheckpointError, CheckpointStore, Manifest, PartitionProgress, StreamProgress,
};
use crate::event::{EventTime, LiveFace, Micros, Reject, ResumeOffset, Stream, TableName};
use crate::iceberg::{Catalog, IcebergError};
use crate::job::{Declaration, DeclaredColumn};
use crate::memory::{Bytes, Memory, Pressure};
use crate::sinks::{PublishError, Target, layout, take};
use crate::sources::{
    DisagreementError, Intake, IntakeEvent, LaneEvent, LaneRecords, Logs, SourceError, TakeUp, added_columns, ask,
    declaration, resume,
};
use crate::standing::{Observer, Phase, Read, Standing};
use crate::start::{Start, StartError, StartPlace, Vouched, admit, begin};
use crate::store::Place;
use crate::time::Watermarks;
use crate::time::clock::Clock;
use headroom::Headroom;
use write::{Batch, Writer, Written};

/// Table property of a history: what decided which records are in it.
pub const STREAM_PROPERTY: &str = crate::checkpoints::STREAM;

/// Rows after which a checkpoint is due, whatever the interval.
const CHECKPOINT_ROWS_MAX: usize = 500_000;

/// Bytes of records, and of what sorting them takes, after which a checkpoint is due: bounds the memory. While one is
/// written, twice as much may be in it, and as much come in.
const CHECKPOINT_BYTES_MAX: usize = 16 << 20;

/// Bytes that sorting takes for each row: its key, twice, and its place.
const SORTING_BYTES: usize = 80;

/// How often a quiet loop looks whether a checkpoint is due.
const TICK: Duration = Duration::from_millis(50);

/// What an archiver works with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where tables are.
    pub catalog: Catalog,
    /// `state.location`.
    pub state: Place,
    /// Where records come from.
    pub logs: Arc<dyn Logs>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// How a stream is archived.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Threads that read and decode; at least 1.
    pub lanes: usize,
    /// Time from one checkpoint to the next.
    pub checkpoint_interval: Duration,
    /// Where to begin if there is no checkpoint. Nothing is missing below it by intent: history begins there.
    pub start: Start,
    /// Stop at the end of the log as it stands when the run starts.
    pub until_end: bool,
    /// Widen a history that was archived under a narrower declaration.
    pub evolve: bool,
    /// Bytes of memory that the process may hold; `None`: as many as it likes.
    pub memory_max: Option<u64>,
}

/// What an archiver has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Name of the stream.
    pub stream: String,
    /// Records taken by this run, rejected ones included.
    pub taken: u64,
    /// Rows added to history by this run.
    pub rows: u64,
    /// Records rejected by this run.
    pub rejected: u64,
    /// Checkpoints committed by this run.
    pub checkpoints: u64,
    /// The stream's watermark at the end.
    pub watermark: EventTime,
    /// Whether a checkpoint was continued.
    pub resumed: bool,
    /// How the history was widened, in words.
    pub evolved: Vec<String>,
}

/// Why archiving ended.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The stream declares no history.
    #[error(
        "stream {stream} has no HISTORY FROM clause, so there is nowhere to archive it; add HISTORY FROM ICEBERG 'namespace.table'"
    )]
    NoHistory {
        /// The stream.
        stream: String,
    },
    /// The history was made under another declaration.
    #[error("{table} was archived under another declaration of the stream: {difference}; {}", way_out(*widens))]
    Declaration {
        /// The history.
        table: TableName,
        /// In words.
        difference: String,
        /// Whether the history can be widened to it.
        widens: bool,
    },
    /// The history can't be widened to the declaration.
    #[error(
        "{table} can't be widened to this declaration of the stream: {difference}; declare that as it was, or archive into \
         another table"
    )]
    NotWider {
        /// The history.
        table: TableName,
        /// In words.
        difference: String,
    },
    /// The history's declaration can't be read.
    #[error(transparent)]
    Disagreement(#[from] DisagreementError),
    /// The log can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The archive can't begin there.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something can't be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A table can't be read or written.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// There is less memory than a checkpoint needs.
    #[error(
        "{used} of memory are in use, more than the {limit} of [run] memory_max, and a checkpoint has given none of it back; \
         nothing is lost, and an archive with more memory goes on from there: raise memory_max, run it on a larger machine, \
         or archive one stream a process with --stream"
    )]
    Memory {
        /// What the process holds.
        used: Bytes,
        /// What it may hold.
        limit: Bytes,
    },
    /// The checkpoints can't be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

fn way_out(widens: bool) -> &'static str {
    match widens {
        true => "`kappa archive --evolve` widens the history to it; or declare it as it was",
        false => "declare it as it was, or archive into another table",
    }
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
    batch: Batch,
    writer: Option<Writer>,
    writing: Option<JoinHandle<(Writer, Result<Written, ArchiveError>)>>,
    last_checkpoint: Duration,
    /// Whether the checkpoint that is being written was cut to give memory back.
    is_for_relief: bool,
    ending: bool,
    written_last: bool,
    report: ArchiveReport,
}

/// Archives one stream until its log ends, the end that was wanted is reached, or `stop` is cancelled; then a last
/// checkpoint is made.
pub async fn archive(
    stream: &Arc<Stream>,
    setup: &Setup,
    options: &ArchiveOptions,
    stop: &CancellationToken,
    watch: &(dyn Fn(&Standing) + Sync),
) -> Result<ArchiveReport, ArchiveError> {
    let Some(history) = &stream.history else {
        return Err(ArchiveError::NoHistory { stream: stream.name.clone() });
    };
    let declared = Declaration::of(stream).to_json();
    let archived = Arc::new(stream.archived());
    let streams = std::slice::from_ref(&archived);
    let standing = Standing::begun(&owner(history), streams, std::slice::from_ref(history));
    let mut observer = Observer::new(standing, (&setup.logs, streams), &setup.clock, watch);
    observer.show();
    let widening = widening(&setup.catalog, history, stream, options.evolve).await?;
    let stream = &archived;
    let mut spec = layout::history(stream);
    spec.properties.insert(STREAM_PROPERTY.into(), declared);
    let target = Target { table: history.clone(), spec, owned: true, evolve: options.evolve };
    let rejects = history.with_suffix("_rejects");
    let rejects = Target { table: rejects, spec: layout::rejects(), owned: false, evolve: false };
    let store = CheckpointStore::at(&setup.state, &owner(history));
    let taken = take(&setup.catalog, &store, &[target.clone(), rejects], observer.vitals()).await?;
    let manifest = taken.newest().manifest.clone();
    let mut publisher = taken.begin().await?;
    if let Some(widening) = &widening {
        publisher.evolve(&target, &widening.properties).await?;
    }
    let (take_up, whole_from) = take_up(stream, setup, options, manifest.as_ref()).await?;
    observer.standing().generation = publisher.begun().identity().generation.0;
    let writer = Writer::new(stream, publisher, whole_from);
    let mut run = Loop::start(stream, setup, options, (manifest.as_ref(), &take_up), (writer, &mut observer))?;
    run.report.evolved = widening.map(|widening| widening.changes).unwrap_or_default();
    run.go(stop).await?;
    Ok(run.report)
}

/// The name under which a history's archiver claims, checkpoints and commits.
pub fn owner(history: &TableName) -> String {
    format!("archive-{history}")
}

/// How a history is widened.
struct Widening {
    /// In words.
    changes: Vec<String>,
    properties: BTreeMap<String, String>,
}

/// Holds the stream's declaration against the history's. `None`: history goes on as it is.
async fn widening(
    catalog: &Catalog,
    history: &TableName,
    stream: &Stream,
    evolve: bool,
) -> Result<Option<Widening>, ArchiveError> {
    let Some(table) = catalog.load(history).await? else { return Ok(None) };
    let Some(archived) = declaration(&table)? else {
        let difference = format!("it has no property {STREAM_PROPERTY}, so something else has made it");
        return Err(ArchiveError::Declaration { table: history.clone(), difference, widens: false });
    };
    let declared = Declaration::of(stream);
    let mut difference = declared.difference(&archived);
    // The bound decides nothing that history holds.
    difference.bound.clear();
    if difference.is_empty() {
        return Ok(None);
    }
    match declared.widens(&archived) {
        Ok(changes) if evolve => {
            let mut added = added_columns(&table)?;
            let told = |column: &&DeclaredColumn| {
                !archived.columns.iter().any(|there| there.name == column.name) && archived.cant_tell(column).is_none()
            };
            added.extend(declared.columns.iter().filter(told).map(|column| column.name.clone()));
            let mut properties = BTreeMap::from([(STREAM_PROPERTY.to_owned(), declared.to_json())]);
            if !added.is_empty() {
                let names = serde_json::to_string(&added).expect("a list of names always becomes JSON");
                properties.insert(ADDED_COLUMNS.to_owned(), names);
            }
            Ok(Some(Widening { changes, properties }))
        }
        Err(against) if evolve => {
            Err(ArchiveError::NotWider { table: history.clone(), difference: against.join("; ") })
        }
        widened => Err(ArchiveError::Declaration {
            table: history.clone(),
            difference: difference.all().join("; "),
            widens: widened.is_ok(),
        }),
    }
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

impl<'a, 'w> Loop<'a, 'w> {
    fn start(
        stream: &'a Arc<Stream>,
        setup: &'a Setup,
        options: &'a ArchiveOptions,
        (manifest, take_up): (Option<&Manifest>, &BTreeMap<i32, TakeUp>),
        (writer, observer): (Writer, &'a mut Observer<'w>),
    ) -> Result<Loop<'a, 'w>, ArchiveError> {
        // A watermark by another bound says nothing about this one's.
        let same_bound = |manifest: &&Manifest| {
            let declared = Declaration::parse(&manifest.fingerprint);
            declared.is_ok_and(|declared| declared.bound_us == stream.bound.0)
        };
        let stated = manifest.filter(same_bound).map_or(EventTime::MIN, |manifest| manifest.watermark);
        let mut watermarks = Watermarks::new([(stream.bound, stream.idle_after)], stated);
        let known = manifest.and_then(|manifest| manifest.streams.get(&stream.name));
        let mut progress = known.cloned().unwrap_or_default();
        for (&partition, take_up) in take_up {
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
            batch: Batch::default(),
            writer: Some(writer),
            writing: None,
            last_checkpoint: setup.clock.elapsed(),
            is_for_relief: false,
            ending: false,
            written_last: false,
            report: ArchiveReport {
                stream: stream.name.clone(),
                resumed: manifest.is_some(),
                watermark: stated,
                ..ArchiveReport::default()
            },
        })
    }

    async fn go(&mut self, stop: &CancellationToken) -> Result<(), ArchiveError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.end_if_reached();
        while !(self.written_last && self.writing.is_none()) {
            let may_take = !self.ending && !self.batch.is_over(2) && self.memory.pressure() < Pressure::Over;
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.ending => self.end(),
                written = finished(&mut self.writing), if self.writing.is_some() => self.on_written(written)?,
                event = next(&mut self.intake), if may_take => self.on_intake(event)?,
                _ = tick.tick() => self.look(),
            }
            self.cut_if_due();
        }
        self.show();
        Ok(())
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
        self.report.taken += count;
        self.report.rejected += rejected;
        self.report.rows += taken.records.num_rows() as u64;
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
        let has_news = || !self.batch.is_empty() || self.watermarks.clone().state() > self.report.watermark;
        let due = since >= self.options.checkpoint_interval && has_news();
        let is_short = self.memory.pressure() == Pressure::Over;
        if !(self.ending || due || is_short || self.batch.is_over(1)) {
            return;
        }
        self.written_last = self.ending;
        let watermark = self.watermarks.state();
        self.report.watermark = watermark;
        let (batch, progress) = (std::mem::take(&mut self.batch), self.progress.clone());
        let mut writer = self.writer.take().expect("one checkpoint is written at a time");
        self.observer.checkpoint_begun();
        self.is_for_relief = is_short;
        self.writing = Some(tokio::spawn(async move {
            let written = writer.write(batch, progress, watermark).await;
            (writer, written)
        }));
        self.last_checkpoint = self.setup.clock.elapsed();
    }

    fn on_written(&mut self, (writer, written): (Writer, Result<Written, ArchiveError>)) -> Result<(), ArchiveError> {
        self.writing = None;
        let written = written?;
        self.writer = Some(writer);
        self.report.checkpoints += 1;
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

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> T {
    match task {
        Some(task) => task.await.expect("writing a checkpoint doesn't panic"),
        None => std::future::pending().await,
    }
}

/// Rejects of a batch.
type Rejects = Vec<Reject>;
