//! The backfill driver: recomputes a range from history and replaces the result's partitions in it, whole.
//!
//! Rows become files as their windows close; when all are there, each result table gets one overwrite that removes every
//! file of the range's partitions and adds the new ones, then each late table loses the range's late rows and gets the
//! new ones. Until then nothing is visible, so a backfill that dies has done nothing. One that dies between two of these
//! commits is given again: it replaces the same ranges by the same rows.

mod late;
mod plan;
mod run;
mod staging;

use thiserror::Error;

use crate::event::TableName;
use crate::iceberg::{CommitError, IcebergError};
use crate::ownership::NotWritable;
use crate::recompute::{RangeError, RecomputeError, Requested};

pub use plan::{BackfillPlan, COMPUTED_RECORDS_MAX, Conflict, InsertPlan, PartitionPlan, plan};
pub use run::{BackfillReport, InsertReport, run};

/// How a range is backfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillOptions {
    /// What is recomputed.
    pub requested: Requested,
    /// Count late records too, instead of giving the live rows.
    pub include_late: bool,
    /// Engine workers, and files read at the same time; at least 1.
    pub workers: usize,
    /// Bytes that the process may hold; `None`: no limit.
    pub memory_max: Option<u64>,
}

/// Why a backfill was refused or stopped. Nothing was published, unless the message says so.
#[derive(Debug, Error)]
pub enum BackfillError {
    /// The range can't be recomputed.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The range may not be written.
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
    /// A result or late table that is there doesn't fit the job.
    #[error("{table} doesn't fit the job: {difference}; write to another table, or change the job")]
    Layout {
        /// The table.
        table: TableName,
        /// What differs, column by column.
        difference: String,
    },
    /// Properties of a result table can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: crate::checkpoints::PropertyError,
    },
    /// The recomputation stopped.
    #[error(transparent)]
    Recompute(#[from] Box<RecomputeError<IcebergError>>),
    /// A table can't be read or written.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// Somebody else changed the range meanwhile.
    #[error(
        "somebody else changed {table} in the range while this backfill was computed ({source}); run it again to replace \
         what is there now"
    )]
    Changed {
        /// The table.
        table: TableName,
        /// What the catalog says.
        source: Box<CommitError>,
    },
    /// A commit was refused.
    #[error("commit to {table} failed: {source}")]
    Commit {
        /// The table.
        table: TableName,
        /// What the catalog says.
        source: Box<CommitError>,
    },
    /// It stopped between two commits.
    #[error("{}; {source}; the rest is as it was: give the command again to finish", done.join(", "))]
    Partly {
        /// What is published, in words.
        done: Vec<String>,
        /// What stopped it.
        source: Box<BackfillError>,
    },
}

impl From<RecomputeError<IcebergError>> for BackfillError {
    fn from(error: RecomputeError<IcebergError>) -> Self {
        BackfillError::Recompute(Box::new(error))
    }
}
