//! The live driver: a job from the logs of its streams, from a start or a checkpoint, until it is told to stop.
//!
//! One *attempt* claims, recovers, and runs the loop of [`attempt`]; an attempt that dies by a fault of ours is followed
//! by another from the newest checkpoint. Nothing in here knows windows: records come by the [`inflow`] and go into the
//! engine, epochs come out and are [`pending`], and a barrier makes a [`checkpoint`] of what has come out. Behind its back
//! [`sealing`] rewrites what can't change any more, and the logs are told how far it is.

mod attempt;
mod begin;
mod bootstrap;
mod checkpoint;
mod inflow;
mod pending;
mod replacing;
mod republish;
mod sealing;
mod starting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{CheckpointError, CheckpointStore, Claim, Claimant};
use crate::engine::{EngineError, FailPoint};
use crate::event::{EventTime, TableName};
use crate::handing::HandOverError;
use crate::iceberg::{Catalog, IcebergError};
use crate::job::Plan;
use crate::memory::{Bytes, Held};
use crate::reposition::RepositionError;
use crate::restarts::{Fault, Restarts};
use crate::sinks::{PublishError, is_outage};
use crate::sources::{DisagreementError, Logs, SourceError};
use crate::standing::{Observer, Standing};
use crate::start::{Start, StartError, Vouched};
use crate::state::StateError;
use crate::time::clock::Clock;

pub use starting::{Starting, starting};

/// Records after which an epoch closes: large enough that its cost doesn't show, small enough to stay in the cache.
pub const EPOCH_ROWS: usize = 65_536;

/// What a run works with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where tables are.
    pub catalog: Catalog,
    /// Where the job's checkpoints are.
    pub checkpoints: CheckpointStore,
    /// Where records come from.
    pub logs: Arc<dyn Logs>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// How a job is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Engine workers, and lanes a stream; at least 1.
    pub workers: usize,
    /// Time from one checkpoint to the next.
    pub checkpoint_interval: Duration,
    /// Where to begin if there is no checkpoint.
    pub start: Start,
    /// What the user states about the start.
    pub vouched: Vouched,
    /// When to stop.
    pub until: Until,
    /// At the end, treat the log as ended: publish all open windows. The job is then finished.
    pub drain: bool,
    /// Don't wait while another process runs the job: fence it.
    pub take_over: bool,
    /// Where metrics and health are served, for whoever asks who runs the job.
    pub listens: Option<String>,
    /// Records after which an epoch closes. Results don't depend on it.
    pub epoch_rows: usize,
    /// More rejects than this many of a million records of a stream, at least 100 of them, in one checkpoint stop the run
    /// before they are published.
    pub rejects_max_millionths: u32,
    /// Bytes of memory that the process may hold; `None`: as many as it likes.
    pub memory_max: Option<u64>,
    /// For tests of what happens when an engine worker dies.
    pub fail_point: Option<FailPoint>,
}

impl Default for RunOptions {
    /// As `kappa run` without a profile, on one worker.
    fn default() -> RunOptions {
        RunOptions {
            workers: 1,
            checkpoint_interval: Duration::from_secs(10),
            start: Start::Earliest,
            vouched: Vouched::default(),
            until: Until::Forever,
            drain: false,
            take_over: false,
            listens: None,
            epoch_rows: EPOCH_ROWS,
            rejects_max_millionths: 50_000,
            memory_max: None,
            fail_point: None,
        }
    }
}

/// When a run stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never; bounded logs end by themselves.
    Forever,
    /// At the end of the logs as they stand when the run starts.
    End,
    /// When every window that ends at or before this time is published.
    Time(EventTime),
}

/// What a run has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Records taken by this run and in a checkpoint, by stream.
    pub taken: BTreeMap<String, u64>,
    /// Records rejected by this run, by stream.
    pub rejected: BTreeMap<String, u64>,
    /// Result rows published by this run, by table.
    pub rows: BTreeMap<String, u64>,
    /// Late records by this run, by result table.
    pub late: BTreeMap<String, u64>,
    /// Checkpoints committed by this run.
    pub checkpoints: u64,
    /// The watermark at the end.
    pub watermark: EventTime,
    /// All windows are closed and published: there is nothing to continue.
    pub finished: bool,
    /// Whether a checkpoint was continued.
    pub resumed: bool,
}

/// Why a run ended.
#[derive(Debug, Error)]
pub enum RunError {
    /// The log can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The run can't begin there.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run can't take over from backfills, or from history.
    #[error(transparent)]
    HandOver(HandOverError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Files of the newest checkpoint are damaged or gone, and the one before can't be gone on from.
    #[error(transparent)]
    FallBack(RepositionError),
    /// Something can't be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A table can't be read or written.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// State can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A backfill, or something else, has published windows that the run would publish again.
    #[error(
        "{table} has rows{}, but job {job} has no checkpoint: it would publish their windows a second time; \
         begin behind them with --start {next}, or write to another table",
        if *.from == EventTime::MIN { String::new() } else { format!(" from {from} on") }
    )]
    AlreadyPublished {
        /// The table.
        table: TableName,
        /// The job.
        job: String,
        /// Where the run would begin, in the table's time partition column.
        from: EventTime,
        /// The first partition edge above all rows.
        next: EventTime,
    },
    /// The checkpoint is of another version of the job.
    #[error("{}", other_version(job, checkpoint, difference))]
    Version {
        /// The job.
        job: String,
        /// The checkpoint.
        checkpoint: String,
        /// How the file's version differs, in lines.
        difference: Vec<String>,
    },
    /// A stream's history was archived under a declaration that takes other records: a backfill could never give what this
    /// run would publish.
    #[error(transparent)]
    History(#[from] DisagreementError),
    /// The stream's declaration hardly fits its log.
    #[error(
        "{rejected} of the {taken} records of stream {stream} since the last checkpoint were rejected, more than the {percent}% \
         of [run] rejects_max, so none of them was published; the first: {reason}; partition@offset: {samples}; correct the \
         stream's declaration, or raise rejects_max in kappa.toml if they are to be rejected"
    )]
    TooManyRejects {
        /// The stream.
        stream: String,
        /// Records rejected since the last checkpoint.
        rejected: u64,
        /// Records taken since the last checkpoint.
        taken: u64,
        /// The limit.
        percent: f64,
        /// Of the first reject.
        reason: String,
        /// Positions of the first few.
        samples: String,
    },
    /// The open windows need more memory than there is.
    #[error(
        "{used} of memory are in use, more than the {limit} of [run] memory_max, and a checkpoint has given none of it back: \
         {held}; nothing is lost, and a run with more memory goes on from there: raise memory_max, run it on a larger \
         machine or with fewer --workers, or make the job hold less (shorter windows, fewer or shorter keys)"
    )]
    Memory {
        /// What the process holds.
        used: Bytes,
        /// What it may hold.
        limit: Bytes,
        /// Who holds it.
        held: Box<Held>,
    },
    /// Something that the run needs panicked: a bug of ours. The run can go on from its checkpoint.
    #[error("{task} stopped unexpectedly")]
    TaskDied {
        /// What it did.
        task: &'static str,
        /// The panic.
        source: tokio::task::JoinError,
    },
}

/// What is said of a changed job: what differs, and both ways on.
fn other_version(job: &str, checkpoint: &str, difference: &[String]) -> String {
    let lines: String = difference.iter().map(|line| format!("  {line}\n")).collect();
    let what = match difference.is_empty() {
        true => {
            "; it was made by another version of kappa, or what differs isn't shown by `kappa explain`\n".to_owned()
        }
        false => format!(" (`-` in the checkpoint, `+` in the file):\n{lines}"),
    };
    format!(
        "job {job} has changed since its newest checkpoint ({checkpoint}){what}run it with --upgrade to start the new version \
         at the edge of what is published for good, or put the job file back as it was"
    )
}

impl From<HandOverError> for RunError {
    fn from(error: HandOverError) -> RunError {
        match error {
            // It may pass.
            HandOverError::Iceberg(error) => RunError::Iceberg(error),
            HandOverError::Start(error) => RunError::Start(error),
            error => RunError::HandOver(error),
        }
    }
}

impl From<RepositionError> for RunError {
    fn from(error: RepositionError) -> RunError {
        match error {
            // These may pass.
            RepositionError::Publish(error) => RunError::Publish(error),
            RepositionError::Iceberg(error) => RunError::Iceberg(error),
            error => RunError::FallBack(error),
        }
    }
}

impl RunError {
    /// What it means for another attempt.
    fn fault(&self) -> Fault {
        match self {
            RunError::Engine(EngineError::WorkerDied { .. })
            | RunError::Source(SourceError::Stopped { .. })
            | RunError::TaskDied { .. } => Fault::Ours,
            RunError::Source(error) if error.is_outage() => Fault::Outage,
            RunError::Publish(error) if error.is_outage() => Fault::Outage,
            RunError::Iceberg(error) if is_outage(error) => Fault::Outage,
            _ => Fault::Lasting,
        }
    }

    /// Whether another process runs the job.
    fn is_held(&self) -> bool {
        matches!(self, RunError::Publish(PublishError::Checkpoint(CheckpointError::Held { .. })))
    }
}

/// What the attempts of a run share.
#[derive(Debug)]
struct SoFar {
    report: RunReport,
    claimant: Claimant,
    restarts: Restarts,
}

/// Runs a job until it ends by itself or `stop` is cancelled; then a last checkpoint is made. While another process runs
/// it, that one's end is waited for first.
/// `watch` is called now and then with how it stands.
pub async fn run(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    stop: &CancellationToken,
    watch: &(dyn Fn(&Standing) + Sync),
) -> Result<RunReport, RunError> {
    let claimant = Claimant {
        listens: options.listens.clone(),
        take_over: options.take_over,
        falls_back: true,
        ..Claimant::new(setup.clock.clone())
    };
    let mut so_far = SoFar { report: RunReport::default(), claimant, restarts: Restarts::default() };
    let tables: Vec<TableName> = plan.inserts.iter().map(|insert| insert.table.clone()).collect();
    let standing = Standing::begun(&plan.name, &plan.streams, &tables);
    let mut observer = Observer::new(standing, (&setup.logs, &plan.streams), &setup.clock, watch);
    loop {
        let mut waits = |claim: &Claim| observer.waits_for(claim);
        tokio::select! {
            free = setup.checkpoints.wait_until_free(&so_far.claimant, &mut waits) => free.map_err(PublishError::from)?,
            () = stop.cancelled() => return Ok(so_far.report),
        }
        let before = so_far.report.checkpoints;
        // On the heap: it is large, and callers have stacks of their own to fill.
        let attempt = Box::pin(attempt::attempt(plan, setup, options, stop, &mut observer, &mut so_far));
        let error = match attempt.await {
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
