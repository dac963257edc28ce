//! Why archiving ends.

use thiserror::Error;

use crate::checkpoints::CheckpointError;
use crate::event::TableName;
use crate::iceberg::IcebergError;
use crate::memory::Bytes;
use crate::sinks::PublishError;
use crate::sources::{AnewError, DisagreementError, SourceError};
use crate::start::StartError;

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
    /// Raw bytes alone don't make records of this stream.
    #[error("rejects of stream {stream} can't be decoded again: {reason}")]
    RawOnly {
        /// The stream.
        stream: String,
        /// What is missing.
        reason: String,
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
}

fn way_out(widens: bool) -> &'static str {
    match widens {
        true => "`kappa archive --evolve` widens the history to it; or declare it as it was",
        false => "declare it as it was, or archive into another table",
    }
}
