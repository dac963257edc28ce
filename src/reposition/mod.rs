//! Making a job that isn't running go on somewhere else: the one operation behind a reset of its offsets, a return to a
//! savepoint, and an upgrade to another version.
//!
//! It takes the job over as a run does, finishes what the newest checkpoint has staged, keeps that as a savepoint, and puts
//! one checkpoint of its own that says where the job goes on. The next run continues from it like from any other, so that
//! a crash at any point leaves the job as it was or finished.
//!
//! Invariants: there is no moment at which the job has no checkpoint; no row of a published window goes before the run
//! publishes that window again, by the range that each result's checkpoint names; late rows and rejects are
//! replaced with the records that the run reads again, and no others. Never begins without the state that a table says there was: lost
//! state is refused as it is by a run.

mod execute;
mod fallback;
mod moves;
mod standing;
mod upgrade;
#[cfg(test)]
mod fallback_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::checkpoints::{
    CheckpointError, CheckpointStore, Gaps, Manifest, ManifestId, PropertyError, RepublishRange, Savepoint,
    SavepointName,
};
use crate::event::{EventTime, ResumeOffset, TableName};
use crate::handing::HandOverError;
use crate::iceberg::{Catalog, IcebergError};
use crate::job::Plan;
use crate::job::explain::{describe, difference};
use crate::sinks::PublishError;
use crate::sources::SourceError;
use crate::start::StartError;
use crate::time::clock::Clock;

pub use execute::execute;
pub use fallback::{FellBack, fall_back};
pub use moves::plan;
pub use upgrade::{Upgrade, Upgraded, upgrade};

/// The job that is moved, and where it keeps things.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'a> {
    /// As the job file is now.
    pub plan: &'a Plan,
    /// Where its tables are.
    pub catalog: &'a Catalog,
    /// Where its checkpoints are.
    pub checkpoints: &'a CheckpointStore,
    /// The wall clock: dates the savepoint that is kept first.
    pub clock: &'a Arc<dyn Clock>,
    /// Fence another process that runs the job, instead of refusing to move it under its feet.
    pub take_over: bool,
}

/// Where a job goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// At positions of its logs, without state, by a reset.
    Reset(Positions),
    /// At positions of its logs, without state, as another version.
    Upgrade(Positions),
    /// As it stood when it was kept.
    Savepoint(Box<Savepoint>),
}

/// Where logs are taken up, and what is published from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// First offset that is read, for every partition of every stream of the job; one that is left out is read from offset 0.
    pub streams: BTreeMap<String, BTreeMap<i32, ResumeOffset>>,
    /// For each result, the start of the first window that is published: no record below the positions belongs to it or a
    /// later one.
    pub first_windows: BTreeMap<TableName, EventTime>,
    /// By stream, the broker's ids of the topics that the offsets are of, as in [`Manifest::topics`].
    pub topics: BTreeMap<String, String>,
    /// Streams whose logs don't hold their first records any more, so that history gives them: by stream, the start of the
    /// first window that needs them.
    pub from_history: BTreeMap<String, EventTime>,
}

/// What moving a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repositioning {
    /// The newest checkpoint, which is left behind; `None`: the job has none.
    pub checkpoint: Option<ManifestId>,
    /// For each stream and partition, where it stood (`None`: nowhere yet) and where it goes on.
    pub streams: BTreeMap<String, BTreeMap<i32, (Option<ResumeOffset>, ResumeOffset)>>,
    /// Open windows that are given up, with the state of the newest checkpoint.
    pub dropped: DroppedState,
    /// Start of the first window that is published, of any result.
    pub first_window: EventTime,
    /// For each INSERT.
    pub inserts: Vec<ResultMove>,
    /// For each table of rejects of the job, rows that are replaced as their records are read again.
    pub rejects: BTreeMap<String, u64>,
}

/// State that isn't gone on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedState {
    /// Open windows, over all INSERTs.
    pub windows: usize,
    /// Rows that were written: a key of a window each, once for each file that has something of it, or says that it is gone.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What moving a job does to one result. Times are those of its time partition column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultMove {
    /// The result table.
    pub table: TableName,
    /// Least time of the windows that are published from now on.
    pub from: EventTime,
    /// Published windows that are published again; `None`: there are none.
    pub republish: Option<RepublishRange>,
    /// The partitions with rows in there: their start, and the rows of their files that reach into it.
    pub partitions: BTreeMap<EventTime, u64>,
    /// Windows that nobody publishes, as the job has not got there and goes on behind them, by this move or one before: to be
    /// backfilled.
    pub gaps: Gaps,
    /// Late rows that are replaced as their records are read and judged again.
    pub late: u64,
    sealed_edge: EventTime,
    /// Of a job that was drained: where its table ended. Whatever a backfill has put above that is published again too.
    ends_at: Option<EventTime>,
}

/// A job that has been moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repositioned {
    /// What was done.
    pub moves: Repositioning,
    /// What keeps how the job stood; `None`: it had no checkpoint.
    pub savepoint: Option<SavepointName>,
    /// The checkpoint that the next run continues.
    pub checkpoint: ManifestId,
}

/// Why a job can't be moved. Unless the message says otherwise it stands where it stood.
#[derive(Debug, Error)]
pub enum RepositionError {
    /// The job file is another version than the checkpoint.
    #[error(
        "job {job} has changed since its newest checkpoint ({checkpoint}){}go over to the new version with `kappa run \
         --upgrade`, or put the job file back as it was",
        lines("checkpoint", .difference)
    )]
    Version {
        /// The job.
        job: String,
        /// The checkpoint.
        checkpoint: ManifestId,
        /// How the file's version differs, in lines.
        difference: Vec<String>,
    },
    /// The job file is another version than the savepoint.
    #[error(
        "job {job} has changed since savepoint {savepoint}, and state doesn't pass between versions{}put the job file back as \
         it was then, or reset the job to a time with `kappa offsets reset`",
        lines("savepoint", .difference)
    )]
    SavepointVersion {
        /// The job.
        job: String,
        /// The savepoint.
        savepoint: SavepointName,
        /// How the file's version differs, in lines.
        difference: Vec<String>,
    },
    /// Rows that waited for their partition when the savepoint was made can't be read any more.
    #[error(
        "savepoint {savepoint} needs rows that were written for {table} and not yet published ({source}); they are gone, so \
         reset the job to a time with `kappa offsets reset`"
    )]
    HeldRows {
        /// The savepoint.
        savepoint: SavepointName,
        /// The table.
        table: TableName,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The savepoint has rows that replace published ones, but not all of them.
    #[error(
        "savepoint {savepoint} was made while {table} was being published again; go back to another one, or reset the job to a \
         time with `kappa offsets reset`"
    )]
    SavepointBetween {
        /// The savepoint.
        savepoint: SavepointName,
        /// The result, which has no window.
        table: TableName,
    },
    /// Files of the newest checkpoint are damaged or gone, and no older one that is kept is good either.
    #[error(
        "no checkpoint of {job} below state.location can be gone on from: {flaws}; restore one of these files from a copy, go back \
         to a savepoint with `kappa run JOB --savepoint NAME`, or say where the job begins with `kappa offsets reset`"
    )]
    NoneGood {
        /// The job.
        job: String,
        /// The files, and what is wrong with each.
        flaws: String,
    },
    /// Files of the newest checkpoint are damaged or gone, and the one before can't be gone on from without a wrong row.
    #[error(
        "the newest checkpoint below state.location can't be gone on from: {flaws}; and the one before, {to}, doesn't do: \
         {source}; or restore the file from a copy"
    )]
    NoWayBack {
        /// The older one.
        to: ManifestId,
        /// The files, and what is wrong with each.
        flaws: String,
        /// Why not.
        source: Box<RepositionError>,
    },
    /// Nothing tells which records a result without a window has.
    #[error(
        "checkpoint {checkpoint} can't be read, and it was committed to {late} but perhaps not to {table}, so that nothing tells \
         which records are in {table}; publish all of it again with `kappa offsets reset JOB --to-earliest --execute`"
    )]
    Partly {
        /// The checkpoint that is lost.
        checkpoint: ManifestId,
        /// The result.
        table: TableName,
        /// Its late table.
        late: TableName,
    },
    /// A result without a window goes on where its stream was read to, and that isn't known.
    #[error(
        "{table} is without a window, so it goes on where stream {stream} was read to, and the job read no stream of that name; \
         put the stream's name back, or write to another table"
    )]
    StreamUnknown {
        /// The result.
        table: TableName,
        /// The stream that it reads now.
        stream: String,
    },
    /// A table's property can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: PropertyError,
    },
    /// The job can't be taken over, or its tables don't fit, or it can't be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A table can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// The log can't be asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The new version can't begin there.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Neither the log nor its history holds what the job would go on from.
    #[error("{log}; history can't give it either: {history}")]
    NotHeld {
        /// Why the log doesn't.
        log: StartError,
        /// Why history doesn't.
        #[source]
        history: Box<HandOverError>,
    },
}

impl From<CheckpointError> for RepositionError {
    fn from(error: CheckpointError) -> RepositionError {
        RepositionError::Publish(error.into())
    }
}

impl RepositionError {
    /// Whether a person has to act, though neither store nor tables nor log were away.
    fn is_refusal(&self) -> bool {
        match self {
            RepositionError::Publish(_)
            | RepositionError::Iceberg(_)
            | RepositionError::Source(_)
            | RepositionError::NoneGood { .. }
            | RepositionError::NoWayBack { .. } => false,
            RepositionError::Version { .. }
            | RepositionError::SavepointVersion { .. }
            | RepositionError::HeldRows { .. }
            | RepositionError::SavepointBetween { .. }
            | RepositionError::Partly { .. }
            | RepositionError::StreamUnknown { .. }
            | RepositionError::Property { .. }
            | RepositionError::Start(_)
            | RepositionError::NotHeld { .. } => true,
        }
    }
}

impl Destination {
    /// In one word, as names of savepoints and summaries of snapshots have it.
    pub fn reason(&self) -> &'static str {
        match self {
            Destination::Reset(_) => "reset",
            Destination::Upgrade(_) => "upgrade",
            Destination::Savepoint(_) => "savepoint",
        }
    }

    /// Start of the first window that is published to a result.
    pub fn first_window(&self, result: &TableName) -> EventTime {
        let first = match self {
            Destination::Reset(positions) | Destination::Upgrade(positions) => {
                positions.first_windows.get(result).copied()
            }
            Destination::Savepoint(savepoint) => {
                let kept = savepoint.manifest.inserts.iter().find(|kept| kept.table == *result);
                kept.map(|kept| kept.first_window)
            }
        };
        first.unwrap_or(EventTime::MIN)
    }

    /// First offset that is read of a stream, by partition.
    fn positions(&self, stream: &str) -> BTreeMap<i32, ResumeOffset> {
        match self {
            Destination::Reset(positions) | Destination::Upgrade(positions) => {
                positions.streams.get(stream).cloned().unwrap_or_default()
            }
            Destination::Savepoint(savepoint) => {
                let known = savepoint.manifest.streams.get(stream).into_iter().flatten();
                known.map(|(&partition, at)| (partition, at.next_offset)).collect()
            }
        }
    }

    /// Refuses what would publish windows that the data makes cut off, or never get through what is published already.
    fn check_windows(&self, plan: &Plan) -> Result<(), StartError> {
        for insert in &plan.inserts {
            let Some(window) = insert.by_data() else { continue };
            let (table, window) = (insert.table.clone(), window.name());
            if !insert.closes_in_order() {
                return Err(StartError::NotInOrder { table, window });
            }
            let continues = matches!(self, Destination::Savepoint(_));
            let from_the_beginning = self.first_window(&insert.table) == EventTime::MIN;
            if !(continues || from_the_beginning || insert.can_begin_at_an_edge()) {
                return Err(match insert.begins_anywhere() {
                    Some(_) => StartError::CutsInnerWindows { table, window },
                    None => StartError::CutsWindows { table, window },
                });
            }
        }
        Ok(())
    }

    /// Refuses rows that wait for others which nobody would bring.
    fn check_held(&self, plan: &Plan) -> Result<(), RepositionError> {
        let Destination::Savepoint(savepoint) = self else { return Ok(()) };
        let is_between = |insert: &&crate::job::Insert| {
            let kept = savepoint.manifest.inserts.iter().find(|kept| kept.table == insert.table);
            insert.window.is_without_end() && kept.is_some_and(|kept| kept.republish.is_some())
        };
        match plan.inserts.iter().find(is_between) {
            Some(insert) => Err(RepositionError::SavepointBetween {
                savepoint: savepoint.name.clone(),
                table: insert.table.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The topics that its positions are of.
    fn topics(&self) -> &BTreeMap<String, String> {
        match self {
            Destination::Reset(positions) | Destination::Upgrade(positions) => &positions.topics,
            Destination::Savepoint(savepoint) => &savepoint.manifest.topics,
        }
    }

    /// The streams whose first records come from history, as in [`Positions::from_history`].
    fn given_by_history(&self) -> &BTreeMap<String, EventTime> {
        match self {
            Destination::Reset(positions) | Destination::Upgrade(positions) => &positions.from_history,
            Destination::Savepoint(savepoint) => &savepoint.manifest.from_history,
        }
    }

    /// Refuses to mix versions.
    fn check_version(&self, plan: &Plan, newest: Option<&Manifest>) -> Result<(), RepositionError> {
        let wanted = &plan.fingerprint;
        if let Destination::Savepoint(savepoint) = self
            && savepoint.manifest.fingerprint != *wanted
        {
            return Err(RepositionError::SavepointVersion {
                job: plan.name.clone(),
                savepoint: savepoint.name.clone(),
                difference: difference(&savepoint.manifest.description, &describe(plan)),
            });
        }
        match (self, newest) {
            (Destination::Reset(_) | Destination::Savepoint(_), Some(newest)) if newest.fingerprint != *wanted => {
                Err(RepositionError::Version {
                    job: plan.name.clone(),
                    checkpoint: newest.id,
                    difference: difference(&newest.description, &describe(plan)),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Repositioning {
    /// What to backfill; see [`backfill_for`].
    pub fn backfill(&self, plan: &Plan) -> Option<Range<EventTime>> {
        backfill_for(plan, self.inserts.iter().map(|insert| &insert.gaps))
    }
}

/// One backfill for all windows that nobody publishes, over all results, on partition edges that all of them share. Its end
/// is at most the first window's partition; the rest can be backfilled once that is sealed.
pub fn backfill_for<'a>(plan: &Plan, gaps: impl Iterator<Item = &'a Gaps>) -> Option<Range<EventTime>> {
    let gaps: Vec<&Range<EventTime>> = gaps.flat_map(Gaps::iter).collect();
    let from = gaps.iter().map(|gap| gap.start).min()?;
    let to = gaps.iter().map(|gap| gap.end).max()?;
    let (from, to) = (shared_edge(plan, from), shared_edge(plan, to));
    (from < to).then_some(from..to)
}

/// The greatest time at or below `time` that is a partition edge of every result.
fn shared_edge(plan: &Plan, time: EventTime) -> EventTime {
    let mut edge = time;
    loop {
        let before = edge;
        for insert in &plan.inserts {
            edge = insert.range_transform().floor(edge);
        }
        if edge == before {
            return edge;
        }
    }
}

fn lines(old: &str, difference: &[String]) -> String {
    match difference.is_empty() {
        true => "; ".to_owned(),
        false => {
            let lines: String = difference.iter().map(|line| format!("  {line}\n")).collect();
            format!(" (`-` in the {old}, `+` in the file):\n{lines}")
        }
    }
}

fn dropped(newest: Option<&Manifest>) -> DroppedState {
    let files = newest.map_or(&[][..], |manifest| &manifest.state);
    let windows: BTreeSet<(usize, EventTime)> =
        files.iter().flat_map(|file| file.panes.iter().map(|&start| (file.insert, start))).collect();
    DroppedState {
        windows: windows.len(),
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
    }
}
