//! What can go wrong with the folder of checkpoints.

use thiserror::Error;

use super::{BadManifest, Claim, Generation, ManifestId, SavepointName};
use crate::event::TableName;
use crate::state::StateError;
use crate::store::{CallError, LocationError, failure_in};

/// How to begin without what was there.
pub(super) const BEGIN_ANEW: &str = "drop the job's tables and remove its folder below state.location to begin anew";

/// A failure of the checkpoint store. Paths are relative to `state.location`.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The location can't be used at all.
    #[error("state.location can't be used: {0}")]
    Location(#[from] LocationError),
    /// The store failed while reading. Trying again is safe.
    #[error("can't read {path} below state.location: {source}")]
    Read {
        /// File or folder.
        path: String,
        /// The store's error.
        source: CallError,
    },
    /// The store failed while writing; whether the file is there is unknown. Trying again is safe.
    #[error("can't write {path} below state.location: {source}")]
    Write {
        /// File.
        path: String,
        /// The store's error.
        source: CallError,
    },
    /// The store failed to make a written file durable. Trying again is safe.
    #[error("can't make {path} below state.location durable: {source}")]
    Sync {
        /// File.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The store failed while removing old files. Nothing is lost; the next collection goes on.
    #[error("can't remove {path} below state.location: {source}")]
    Remove {
        /// File.
        path: String,
        /// The store's error.
        source: CallError,
    },
    /// A file is not what was written.
    #[error(
        "checkpoint file {path} below state.location is damaged: {detail}; restore the file from a copy, or start from a \
         savepoint"
    )]
    Damaged {
        /// File.
        path: String,
        /// What was expected and what is there.
        detail: String,
    },
    /// A manifest or begin record can't be read.
    #[error("checkpoint file {path} below state.location can't be read")]
    BadManifest {
        /// File.
        path: String,
        /// What is wrong with it.
        source: BadManifest,
    },
    /// A file that another one names isn't there.
    #[error(
        "checkpoint file {path} below state.location is missing, though {named_by} needs it; restore it from a copy, or \
         start from a savepoint"
    )]
    Missing {
        /// File.
        path: String,
        /// What names it.
        named_by: String,
    },
    /// State can't be kept as a savepoint keeps it.
    #[error("state file {path} below state.location can't be kept in a savepoint")]
    NotKept {
        /// File.
        path: String,
        /// Why.
        source: StateError,
    },
    /// The bytes of a state file are what was written, but can't be read.
    #[error("state file {path} below state.location can't be read; use the version of kappa that wrote it")]
    State {
        /// File.
        path: String,
        /// What is wrong.
        source: StateError,
    },
    /// A newer run has claimed the same job or history. Stop; don't retry.
    #[error(
        "a newer run has taken over: this run's generation is {mine}, the newest claim is {newest}{}",
        .by.as_ref().map_or_else(String::new, |by| format!(", of {by}"))
    )]
    Fenced {
        /// Of this run.
        mine: Generation,
        /// The greatest claimed.
        newest: Generation,
        /// Who has claimed it, if that can be told.
        by: Option<Box<Claim>>,
    },
    /// Another process runs the same job, or archives the same history.
    #[error("{owner} is being run by {holder}; stop it first")]
    Held {
        /// Job or history.
        owner: String,
        /// Who runs it.
        holder: Box<Claim>,
    },
    /// A table was claimed by a run that the store has never heard of.
    #[error(
        "{table} was last written by generation {found}, but state.location knows none above {newest}: it was changed, set \
         back or lost; point it at the right folder, or {BEGIN_ANEW}"
    )]
    StoreLost {
        /// The table.
        table: TableName,
        /// As the table says.
        found: Generation,
        /// The greatest in the store: this run's.
        newest: Generation,
    },
    /// A name that is never used twice is taken, by other bytes.
    #[error(
        "checkpoint file {path} below state.location exists with other content; something else writes into this folder: \
         give it a state.location of its own"
    )]
    Taken {
        /// File.
        path: String,
    },
    /// Others claimed again and again in between.
    #[error("no generation could be claimed in {attempts} attempts: other runs of {owner} keep starting; stop them")]
    Contended {
        /// Job or history.
        owner: String,
        /// Attempts made.
        attempts: usize,
    },
    /// The newest manifest names tables that this run hasn't claimed, so an older run could still commit to them.
    #[error("the newest checkpoint writes to {}, which this run hasn't claimed; start it again", names(.tables))]
    Unclaimed {
        /// The tables.
        tables: Vec<TableName>,
    },
    /// Asked to continue a manifest that isn't there.
    #[error("there is no checkpoint {id} of {owner} to start from; the newest is {}", or_none(.newest))]
    NoSuchManifest {
        /// Job or history.
        owner: String,
        /// The one asked for.
        id: ManifestId,
        /// What there is.
        newest: Option<ManifestId>,
    },
    /// There is a savepoint of that name.
    #[error("{owner} has a savepoint {name} already; take another name, or delete that one first")]
    SavepointTaken {
        /// Job or history.
        owner: String,
        /// The name.
        name: SavepointName,
    },
    /// There is no savepoint of that name.
    #[error("{owner} has no savepoint {name}; {}", names_known(.known))]
    NoSuchSavepoint {
        /// Job or history.
        owner: String,
        /// The name.
        name: SavepointName,
        /// Those that there are.
        known: Vec<SavepointName>,
    },
}

impl CheckpointError {
    /// Whether the store refuses until a person acts: a wrong key, a missing right, no such bucket.
    pub fn is_refusal(&self) -> bool {
        failure_in(self).is_some_and(|failure| failure.cause.is_lasting())
    }

    /// Whether the store was only away, so that the same call may succeed later. Everything else fails again.
    pub fn is_outage(&self) -> bool {
        match self {
            refused if refused.is_refusal() => false,
            CheckpointError::Read { .. }
            | CheckpointError::Write { .. }
            | CheckpointError::Sync { .. }
            | CheckpointError::Remove { .. } => true,
            CheckpointError::Location(_)
            | CheckpointError::Damaged { .. }
            | CheckpointError::BadManifest { .. }
            | CheckpointError::Missing { .. }
            | CheckpointError::NotKept { .. }
            | CheckpointError::State { .. }
            | CheckpointError::Fenced { .. }
            | CheckpointError::Held { .. }
            | CheckpointError::StoreLost { .. }
            | CheckpointError::Taken { .. }
            | CheckpointError::Contended { .. }
            | CheckpointError::Unclaimed { .. }
            | CheckpointError::NoSuchManifest { .. }
            | CheckpointError::SavepointTaken { .. }
            | CheckpointError::NoSuchSavepoint { .. } => false,
        }
    }
}

fn names(tables: &[TableName]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn names_known(known: &[SavepointName]) -> String {
    match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.iter().map(SavepointName::as_str).collect::<Vec<_>>().join(", ")),
    }
}

fn or_none(id: &Option<ManifestId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}
