//! The archive driver: copies the live face of a stream into its history table, exactly once.
//!
//! Every record that can be read becomes one row with its position and `_seen`, those beyond MAX FUTURE included, as a
//! later job may judge them anew; the others go to `<history>_rejects`. No engine takes part: a checkpoint is the rows
//! taken since the last one, as files, and the positions behind them.
//! Invariant: the archiver's identity is the history table, whatever job it was started from.

mod attempt;
mod headroom;
mod rejects;
mod widening;
mod write;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{ARCHIVE, CheckpointError, CheckpointStore, Claim, Claimant};
use crate::event::{EventTime, Stream, TableName};
use crate::iceberg::{Catalog, IcebergError};
use crate::memory::Bytes;
use crate::restarts::{Fault, Restarts};
use crate::sinks::{PublishError, is_outage};
use crate::sources::{AnewError, DisagreementError, Logs, SourceError};
use crate::standing::{Observer, Standing};
use crate::start::{Start, StartError};
use crate::store::Place;
use crate::time::clock::Clock;

pub use rejects::{RejectsReport, decode_rejects};

/// Table property of a history: what decided which records are in it.
pub const STREAM_PROPERTY: &str = crate::checkpoints::STREAM;

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
    /// Don't wait while another process archives the history: fence it.
    pub take_over: bool,
    /// Where metrics and health are served, for whoever asks who archives the history.
    pub listens: Option<String>,
}

impl Default for ArchiveOptions {
    /// As `kappa archive` without a profile, on one thread.
    fn default() -> ArchiveOptions {
        ArchiveOptions {
            lanes: 1,
            checkpoint_interval: Duration::from_secs(60),
            start: Start::Earliest,
            until_end: false,
            evolve: false,
            memory_max: None,
            take_over: false,
            listens: None,
        }
    }
}

/// What an archiver has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Name of the stream.
    pub stream: String,
    /// Records taken by this run and in a checkpoint, rejected ones included.
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
    /// What decides `_seen` of rejects that are decoded again is too much.
    #[error(
        "rejects of stream {stream} can't be decoded again: what its partitions had shown takes more memory than is set aside \
         for it; archive the topic anew into another table"
    )]
    TooMuchSeen {
        /// The stream.
        stream: String,
    },
    /// What decides `_seen` can't be read.
    #[error(transparent)]
    Anew(#[from] AnewError),
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
    /// Something that the archiver needs panicked: a bug of ours. It can go on from its checkpoint.
    #[error("{task} stopped unexpectedly")]
    TaskDied {
        /// What it did.
        task: &'static str,
        /// The panic.
        source: tokio::task::JoinError,
    },
}

fn way_out(widens: bool) -> &'static str {
    match widens {
        true => "`kappa archive --evolve` widens the history to it; or declare it as it was",
        false => "declare it as it was, or archive into another table",
    }
}

impl ArchiveError {
    /// What it means for another attempt.
    fn fault(&self) -> Fault {
        match self {
            ArchiveError::Source(SourceError::Stopped { .. }) | ArchiveError::TaskDied { .. } => Fault::Ours,
            ArchiveError::Source(error) if error.is_outage() => Fault::Outage,
            ArchiveError::Publish(error) if error.is_outage() => Fault::Outage,
            ArchiveError::Iceberg(error) if is_outage(error) => Fault::Outage,
            ArchiveError::Checkpoint(error) if error.is_outage() => Fault::Outage,
            _ => Fault::Lasting,
        }
    }

    /// Whether another process archives the history.
    fn is_held(&self) -> bool {
        matches!(self, ArchiveError::Publish(PublishError::Checkpoint(CheckpointError::Held { .. })))
    }
}

/// What an archiver is to do.
struct Work<'a> {
    /// The stream as the job declares it.
    declared: &'a Stream,
    /// The stream as it is archived.
    stream: &'a Arc<Stream>,
    history: &'a TableName,
    setup: &'a Setup,
    store: &'a CheckpointStore,
    options: &'a ArchiveOptions,
    stop: &'a CancellationToken,
}

/// What the attempts of an archiver share.
#[derive(Debug)]
struct SoFar {
    report: ArchiveReport,
    claimant: Claimant,
    restarts: Restarts,
}

/// Archives one stream until its log ends, the end that was wanted is reached, or `stop` is cancelled; then a last
/// checkpoint is made. While another process archives the same history, that one's end is waited for first.
pub async fn archive(
    stream: &Arc<Stream>,
    setup: &Setup,
    options: &ArchiveOptions,
    stop: &CancellationToken,
    watch: &(dyn Fn(&Standing) + Sync),
) -> Result<ArchiveReport, ArchiveError> {
    let history = history_of(stream)?;
    let archived = Arc::new(stream.archived());
    let streams = std::slice::from_ref(&archived);
    let standing = Standing::begun(&owner(history), streams, std::slice::from_ref(history));
    let mut observer = Observer::new(standing, (&setup.logs, streams), &setup.clock, watch);
    observer.show();
    let store = CheckpointStore::at(&setup.state, &owner(history));
    let work = Work { declared: stream, stream: &archived, history, setup, store: &store, options, stop };
    let claimant = Claimant {
        listens: options.listens.clone(),
        take_over: options.take_over,
        ..Claimant::new(setup.clock.clone())
    };
    let report = ArchiveReport { stream: stream.name.clone(), ..ArchiveReport::default() };
    let mut so_far = SoFar { report, claimant, restarts: Restarts::default() };
    loop {
        let mut waits = |claim: &Claim| observer.waits_for(claim);
        tokio::select! {
            free = store.wait_until_free(&so_far.claimant, &mut waits) => free?,
            () = stop.cancelled() => return Ok(so_far.report),
        }
        let before = so_far.report.checkpoints;
        // On the heap: it is large, and callers have stacks of their own to fill.
        let error = match Box::pin(attempt::attempt(&work, &mut observer, &mut so_far)).await {
            Ok(()) => return Ok(so_far.report),
            Err(error) if error.is_held() => continue,
            Err(error) => error,
        };
        let Some(pause) = so_far.restarts.pause(error.fault(), so_far.report.checkpoints > before) else {
            return Err(error);
        };
        tracing::error!(%error, "starting again from the newest checkpoint in {pause:?}");
        if observer.showing(stop.run_until_cancelled(tokio::time::sleep(pause))).await.is_none() {
            return Ok(so_far.report);
        }
    }
}

fn history_of(stream: &Stream) -> Result<&TableName, ArchiveError> {
    stream.history.as_ref().ok_or_else(|| ArchiveError::NoHistory { stream: stream.name.clone() })
}

/// The name under which a history's archiver claims, checkpoints and commits.
pub fn owner(history: &TableName) -> String {
    format!("{ARCHIVE}{history}")
}
