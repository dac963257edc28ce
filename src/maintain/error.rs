//! Why a table was not taken care of.

use thiserror::Error;

use crate::checkpoints::{CheckpointError, ManifestId, PropertyError};
use crate::event::TableName;
use crate::iceberg::{CommitError, IcebergError};

/// Why a table was not taken care of, or not to the end. What was done before stays done, and is whole.
#[derive(Debug, Error)]
pub enum MaintainError {
    /// Files that wait for their commit can't be known.
    #[error(
        "{table} is written by {owner}, which has no checkpoints at state.location, so files that wait there for their \
         commit can't be told from orphans; use the profile that {owner} runs with, or, if it is gone for good, remove the \
         table's properties kappa.{owner}.*"
    )]
    OtherState {
        /// The table.
        table: TableName,
        /// The job or archive.
        owner: String,
    },
    /// A checkpoint names staged files in a way that isn't understood.
    #[error(
        "checkpoint {id} of {owner} names staged files of {table} in an unknown way ({detail}); use the version of kappa that \
         wrote it"
    )]
    Staged {
        /// The table.
        table: TableName,
        /// Whose checkpoint it is.
        owner: String,
        /// The checkpoint.
        id: ManifestId,
        /// What is wrong.
        detail: String,
    },
    /// Files of the table were not found where it says that they are.
    #[error(
        "{count} of the data files of {table} aren't in its folder {location} as it is listed, so nothing was removed from \
         there: the paths may be spelt in another way, or the files are gone; `kappa diff` or a query over the whole table \
         tells which"
    )]
    FilesMissing {
        /// The table.
        table: TableName,
        /// How many.
        count: usize,
        /// Where they should be.
        location: String,
    },
    /// A property of the table isn't what this program writes.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong with it.
        source: PropertyError,
    },
    /// A change can't be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A table can't be read or written.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// The checkpoints can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
