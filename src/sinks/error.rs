//! Why publishing stops.

use thiserror::Error;

use super::outage::{is_outage, may_pass};
use crate::checkpoints::{CheckpointError, ManifestId, PropertyError, ProtocolError};
use crate::event::TableName;
use crate::iceberg::{CommitError, IcebergError};

/// Why publishing stopped.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store of checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Another run, a rollback or lost state; never retried.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A table or the catalog.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// A table's property can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: PropertyError,
    },
    /// A table that is there doesn't fit the job.
    #[error("{table} doesn't fit the job: {difference}; write to another table, or change the SELECT list")]
    Layout {
        /// The table.
        table: TableName,
        /// What differs, column by column.
        difference: String,
    },
    /// A result table belongs to another job.
    #[error("{table} belongs to job {owner}, and a result table has one owner; write to a table of your own")]
    OtherOwner {
        /// The table.
        table: TableName,
        /// Whose it is.
        owner: String,
    },
    /// A commit was refused for a reason that repeating doesn't change.
    #[error("commit to {table} failed: {source}")]
    Commit {
        /// The table.
        table: TableName,
        /// What the catalog says.
        source: Box<CommitError>,
    },
    /// A staged file of a manifest can't be read back.
    #[error("a staged file for {table} in checkpoint {id} can't be read back: {detail}")]
    Staged {
        /// The table.
        table: TableName,
        /// The checkpoint.
        id: ManifestId,
        /// What is wrong.
        detail: String,
    },
    /// A file whose rows are still to be published was removed.
    #[error(
        "checkpoint {id} has rows for {table} in {path}, which is gone though no snapshot has it yet: what removes files \
         that nothing refers to must leave those of the last day; put it back, or have its windows computed again, with kappa offsets reset"
    )]
    StagedGone {
        /// The table.
        table: TableName,
        /// The checkpoint.
        id: ManifestId,
        /// Where the file was.
        path: String,
    },
}

impl PublishError {
    /// Whether store or catalog was only away, so that the same call may succeed later.
    pub fn is_outage(&self) -> bool {
        match self {
            PublishError::Checkpoint(error) => error.is_outage(),
            PublishError::Iceberg(error) => is_outage(error),
            PublishError::Commit { source, .. } => may_pass(source),
            PublishError::Protocol(_)
            | PublishError::Property { .. }
            | PublishError::Layout { .. }
            | PublishError::OtherOwner { .. }
            | PublishError::Staged { .. }
            | PublishError::StagedGone { .. } => false,
        }
    }
}
