//! Preflight: what a run of a job would meet, looked at without leaving anything behind.
//!
//! Logs, their newest records, tables, histories and the places of tables and state are looked at each on its own, whatever
//! the others say, so that all problems come at once. Rights are tried: objects are put and removed again, and a catalog is
//! asked for commits that can't succeed. Invariant: never claims, creates or publishes anything.

mod files;
mod sample;
mod state;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::checkpoints::{CheckpointError, CheckpointStore, ManifestId, Newest, ProtocolError};
use crate::event::{EventTime, LiveFace, Stream};
use crate::iceberg::{Catalog, IcebergError};
use crate::job::{Insert, Plan};
use crate::sinks::PublishError;
use crate::sources::{DisagreementError, Logs, SourceError, ask};
use crate::start::{LogFacts, Start, StartError, Vouched, admit, begin};
use crate::store::{CallError, Place};
use crate::time::clock::Clock;

pub use sample::{RejectExample, SAMPLE_RECORDS_MAX, Sample};
pub use tables::{Found, Role, TableLook};

/// What is looked at.
pub struct Setup {
    /// The catalog.
    pub catalog: CatalogLook,
    /// The place of the state; `None`: it can't be opened, so nothing is known of it.
    pub state: Option<Place>,
    /// The place of new tables and its location; `None`: the catalog decides it, or it can't be opened.
    pub warehouse: Option<(Place, String)>,
    /// The streams' logs.
    pub logs: Arc<dyn Logs>,
    /// For waiting only.
    pub clock: Arc<dyn Clock>,
    /// More rejects than this share of a checkpoint's records stop a run, in millionths.
    pub rejects_max_millionths: u32,
}

/// The catalog, as far as it could be opened.
#[derive(Clone, Debug)]
pub enum CatalogLook {
    /// It answers.
    Open(Catalog),
    /// There is none yet: a run would make it.
    New,
    /// It can't be opened, so nothing is known of its tables.
    Closed,
}

/// What was found.
#[derive(Debug)]
pub struct Preflight {
    /// Each stream's log, as far as it answered.
    pub logs: Vec<LogLook>,
    /// Each table of the job.
    pub tables: Vec<TableLook>,
    /// Whether files can be put into the place of the state, and not twice under one name.
    pub state_writable: bool,
    /// Whether files can be put where new tables will be, and removed; `None`: it wasn't tried, as all tables are there or
    /// the catalog decides where they go.
    pub warehouse_writable: Option<bool>,
    /// The checkpoint that a run would go on from.
    pub checkpoint: Option<(ManifestId, EventTime)>,
    /// What a run without options would publish first; `None` when a log or the place of the state didn't answer, or with a
    /// checkpoint.
    pub first_window: Option<Result<EventTime, StartError>>,
    /// Everything that is wrong, in the order of looking.
    pub problems: Vec<PreflightError>,
}

/// A stream's log.
#[derive(Debug)]
pub struct LogLook {
    /// Name of the stream.
    pub stream: String,
    /// The topic or file.
    pub log: String,
    /// By partition.
    pub partitions: BTreeMap<i32, PartitionLook>,
    /// Its newest records (of a file: its first).
    pub sample: Sample,
}

/// A partition of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLook {
    /// What the log says of it.
    pub facts: LogFacts,
    /// The log's timestamp of the first record that could be read.
    pub first: Option<EventTime>,
    /// The log's timestamp of the newest record that could be read.
    pub last: Option<EventTime>,
}

/// What is wrong.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// With a log.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// With how a log keeps its records.
    #[error(transparent)]
    Start(#[from] StartError),
    /// With the records of a log.
    #[error(
        "stream {stream}: {rejected} of the {records} records that were looked at are rejected, more than run.rejects_max \
         allows, so a run would stop; the examples say why"
    )]
    Rejects {
        /// The stream.
        stream: String,
        /// Rejected ones.
        rejected: u64,
        /// All that were looked at.
        records: u64,
    },
    /// Records are there but didn't come.
    #[error("stream {stream}: only {records} of its newest records came within {seconds} s")]
    Slow {
        /// The stream.
        stream: String,
        /// Those that came.
        records: u64,
        /// How long was waited.
        seconds: u64,
    },
    /// With the catalog or a table's metadata.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// With a table that a run writes to.
    #[error(transparent)]
    Table(#[from] PublishError),
    /// Files can't be put or removed.
    #[error("no file can be {action} {location}: {source}")]
    Files {
        /// What was tried, as `put into`.
        action: &'static str,
        /// Where.
        location: String,
        /// What the store says.
        source: CallError,
    },
    /// With a history.
    #[error(transparent)]
    History(#[from] DisagreementError),
    /// With the checkpoints, or the place of them.
    #[error(transparent)]
    State(#[from] CheckpointError),
    /// A table knows a checkpoint that is gone.
    #[error(transparent)]
    Lost(#[from] ProtocolError),
    /// The newest checkpoint is another version's.
    #[error(
        "checkpoint {checkpoint} was written by another version of job {job}, so `kappa run` would refuse to go on from it"
    )]
    Version {
        /// Job name.
        job: String,
        /// The checkpoint.
        checkpoint: ManifestId,
    },
    /// Two puts under one name both succeeded, or the second failed otherwise than it should.
    #[error(
        "state.location takes two objects under one name: it has no conditional puts, so two runs could overwrite each \
         other's checkpoints; use a store that has them"
    )]
    NoConditionalPut,
}

/// Looks at everything that a run of `plan` would meet.
pub async fn check(plan: &Plan, setup: &Setup) -> Preflight {
    let mut problems = Vec::new();
    let mut logs = Vec::new();
    for stream in &plan.streams {
        match look_at_log(stream, setup).await {
            Ok(look) => logs.push(look),
            Err(error) => problems.push(error.into()),
        }
    }
    for look in &logs {
        problems.extend(sample::judge(&look.stream, &look.sample, setup.rejects_max_millionths));
    }
    // Nothing known is not the same as no checkpoint.
    let mut newest = None;
    let mut state_writable = false;
    if let Some(place) = &setup.state {
        match CheckpointStore::at(place, &plan.name).newest().await {
            Ok(found) => newest = Some(found),
            Err(error) => problems.push(error.into()),
        }
        state_writable = state::probe(place).await.map_err(|error| problems.push(error)).is_ok();
    }
    let tables = tables::look(plan, &setup.catalog, newest.as_ref(), &mut problems).await;
    let makes_tables = tables.iter().any(|look| look.found == Found::Missing && look.role != Role::History);
    let warehouse_writable = match setup.warehouse.as_ref().filter(|_| makes_tables) {
        Some((place, location)) => {
            let probed = files::probe_place(place, location).await;
            Some(probed.map_err(|error| problems.push(error)).is_ok())
        }
        None => None,
    };
    if let Some(Newest { manifest: Some(manifest), .. }) = &newest
        && manifest.fingerprint != plan.fingerprint
    {
        problems.push(PreflightError::Version { job: plan.name.clone(), checkpoint: manifest.id });
    }
    let is_new = newest.as_ref().is_some_and(|newest| newest.manifest.is_none());
    let checkpoint = newest.and_then(|newest| newest.manifest).map(|manifest| (manifest.id, manifest.watermark));
    let all_answered = logs.len() == plan.streams.len();
    let first_window = match is_new && all_answered {
        true => first_window(plan, setup, &mut problems).await,
        false => None,
    };
    Preflight { logs, tables, state_writable, warehouse_writable, checkpoint, first_window, problems }
}

async fn look_at_log(stream: &Arc<Stream>, setup: &Setup) -> Result<LogLook, SourceError> {
    let (stream, logs, clock) = (stream.clone(), setup.logs.clone(), setup.clock.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let facts = logs.facts(&stream, None)?;
        let taken = sample::take(&stream, &*logs, &facts, &*clock)?;
        let partitions = facts.iter().map(|(&partition, &facts)| {
            let (first, last) = taken.times.get(&partition).copied().unwrap_or_default();
            (partition, PartitionLook { facts, first, last })
        });
        let log = match &stream.live {
            LiveFace::Kafka { topic, .. } => format!("topic {topic}"),
            LiveFace::File { path, .. } => format!("file {path}"),
        };
        Ok(LogLook { stream: stream.name.clone(), log, partitions: partitions.collect(), sample: taken.sample })
    });
    looked.await.expect("looking at a log doesn't panic")
}

/// The first window from which on a run without options would publish all; `None` when a log can't say, which goes to
/// `problems`.
async fn first_window(
    plan: &Plan,
    setup: &Setup,
    problems: &mut Vec<PreflightError>,
) -> Option<Result<EventTime, StartError>> {
    let mut first_window = EventTime::MIN;
    for (index, stream) in plan.streams.iter().enumerate() {
        let inserts = plan.inserts.iter().filter(|insert| insert.reads(index));
        let reach = inserts.map(Insert::reach).max().unwrap_or_default();
        let answers = match ask(&setup.logs, stream, Start::Earliest, reach).await {
            Ok(answers) => answers,
            Err(error) => {
                problems.push(error.into());
                return None;
            }
        };
        if let Err(error) = admit(stream, answers.nature) {
            problems.push(error.into());
            return None;
        }
        match begin(&answers.asked(stream, Vouched::default(), setup.clock.now())) {
            Ok(begun) => first_window = first_window.max(begun.whole_from),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(first_window))
}
