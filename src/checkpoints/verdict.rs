//! What a run may do to a table, by what the table says: commit, leave it, or stop.
//!
//! Invariant: a table that isn't the one that was published to, or has lost what was published, is never written to. Pure:
//! no I/O, no clock.

use thiserror::Error;
use uuid::Uuid;

use super::error::BEGIN_ANEW;
use super::{ClaimedTable, Generation, Manifest, ManifestId, TableChange};
use crate::event::{EventTime, TableName};

/// What the names of archivers begin with, in the store and in the properties of tables.
pub const ARCHIVE: &str = "archive-";

/// Who performs the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The run's generation, claimed in the store and in every table.
    pub generation: Generation,
    /// As in [`super::BeginRecord::abandoned`].
    pub abandoned: Option<ManifestId>,
}

/// What a table says when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSeen {
    /// Its identity.
    pub uuid: Uuid,
    /// Property [`super::generation_property`].
    pub generation: Option<Generation>,
    /// Property [`super::checkpoint_property`].
    pub checkpoint: Option<ManifestId>,
    /// The snapshot of property [`super::snapshot_property`] is certainly no ancestor of the current one any more. (If that
    /// one, and those after it, may merely have expired, this is `None`: nothing can be told.)
    pub rolled_back: Option<Rollback>,
}

/// What somebody took out of a table by setting it back to an older snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Job or archived history that had published.
    pub owner: String,
    /// The last snapshot that it made, which is no longer part of the table.
    pub snapshot: i64,
    /// Whether the table's metadata still hold that snapshot, so that it can be set again.
    pub can_be_undone: bool,
    /// The watermark of what is still there; `None`: nothing is, or nothing says it.
    pub from: Option<EventTime>,
    /// The watermark of what was there; `None`: nothing says it.
    pub to: Option<EventTime>,
}

impl Rollback {
    /// What is gone, in words.
    fn lost(&self) -> String {
        let what = if self.owner.starts_with(ARCHIVE) { "records" } else { "windows that ended" };
        match (self.from, self.to) {
            (Some(from), Some(to)) => format!("{what} after {from}, up to {to}, are gone"),
            (Some(from), None) => format!("{what} after {from} are gone"),
            (None, Some(to)) => format!("{what} up to {to} are gone"),
            (None, None) => "what was published since is gone".to_owned(),
        }
    }

    /// The ways out.
    fn ways_out(&self, table: &TableName) -> String {
        let undo = format!(
            "undo the rollback, with CALL CATALOG.system.set_current_snapshot('{table}', {0}) in Spark or \
             table.manage_snapshots().set_current_snapshot({0}).commit() in pyiceberg",
            self.snapshot
        );
        let again = match self.from {
            _ if self.owner.starts_with(ARCHIVE) => BEGIN_ANEW.to_owned(),
            Some(from) => format!("publish them again, with kappa offsets reset JOB --to-datetime {from} --execute"),
            None => "publish all of it again, with kappa offsets reset JOB --to-earliest --execute".to_owned(),
        };
        if self.can_be_undone { format!("{undo}, or {again}") } else { again }
    }
}

/// What is to be done with a staged change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It isn't in the table yet: commit it, against exactly the table that was seen.
    Commit,
    /// It is in the table, or there is none.
    Done,
}

/// Why a run must stop. None of these is to be retried.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// A newer run has claimed a table.
    #[error("a newer run has taken over {table}: this run's generation is {mine}, the table's is {newest}")]
    Fenced {
        /// The table.
        table: TableName,
        /// Of this run.
        mine: Generation,
        /// Of the newer one.
        newest: Generation,
    },
    /// A newer run has claimed the store.
    #[error("a newer run has taken over: this run's generation is {mine}, the newest claim is {newest}")]
    FencedInStore {
        /// Of this run.
        mine: Generation,
        /// The greatest claimed.
        newest: Generation,
    },
    /// The claim of this run is gone from a table.
    #[error(
        "{table} isn't claimed by this run (generation {mine}; the table says {}): its properties were set back; start the \
         run again", or_none(.found)
    )]
    NotClaimed {
        /// The table.
        table: TableName,
        /// Of this run.
        mine: Generation,
        /// As the table says.
        found: Option<Generation>,
    },
    /// The table isn't there.
    #[error("{table} is gone, though checkpoint {id} writes to it; restore it, or {BEGIN_ANEW}")]
    TableGone {
        /// The table.
        table: TableName,
        /// The checkpoint.
        id: ManifestId,
    },
    /// Another table stands under its name.
    #[error(
        "{table} was dropped and made anew (uuid {found}, checkpoint {id} wrote to {expected}), so what was published is \
         gone; put the old table back, or {BEGIN_ANEW}"
    )]
    TableReplaced {
        /// The table.
        table: TableName,
        /// The checkpoint.
        id: ManifestId,
        /// Uuid in the manifest.
        expected: Uuid,
        /// Uuid of the table.
        found: Uuid,
    },
    /// Someone set the table back.
    #[error(
        "{table} was rolled back to before checkpoint {}: {}; {}",
        or_none(.published), .rollback.lost(), .rollback.ways_out(.table)
    )]
    RolledBack {
        /// The table.
        table: TableName,
        /// The last one published to it.
        published: Option<ManifestId>,
        /// What was taken out of it.
        rollback: Box<Rollback>,
    },
    /// The table has more than the store knows.
    #[error(
        "{table} has checkpoint {published}, but the newest at state.location is {}: state.location was changed, set back or \
         lost; point it at the right folder, or {BEGIN_ANEW}", or_none(.newest)
    )]
    StateLost {
        /// The table.
        table: TableName,
        /// The last one published to it.
        published: ManifestId,
        /// The newest in the store.
        newest: Option<ManifestId>,
    },
}

fn or_none<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), T::to_string)
}

/// Decides what manifest `id` still has to do with one table, as `seen` (`None`: it isn't there). To be asked again with
/// what is seen then, whenever a commit conflicted or its answer was lost.
///
/// # Errors
/// When the run must not touch the table, or what it published there is gone.
pub fn decide(
    run: &RunIdentity,
    id: ManifestId,
    target: &ClaimedTable,
    change: Option<&TableChange>,
    seen: Option<&TableSeen>,
) -> Result<Verdict, ProtocolError> {
    let table = || target.table.clone();
    let Some(seen) = seen else {
        return Err(ProtocolError::TableGone { table: table(), id });
    };
    if seen.uuid != target.uuid {
        return Err(ProtocolError::TableReplaced { table: table(), id, expected: target.uuid, found: seen.uuid });
    }
    match seen.generation {
        Some(newest) if newest > run.generation => {
            return Err(ProtocolError::Fenced { table: table(), mine: run.generation, newest });
        }
        Some(generation) if generation == run.generation => {}
        found => return Err(ProtocolError::NotClaimed { table: table(), mine: run.generation, found }),
    }
    check_not_rolled_back(run.abandoned, &target.table, seen.checkpoint, seen.rolled_back.as_ref())?;
    match seen.checkpoint {
        // Continued on purpose below what is published: everything of this manifest was committed before the next one.
        Some(published) if published > id && Some(published) <= run.abandoned => Ok(Verdict::Done),
        Some(published) if published > id => {
            Err(ProtocolError::StateLost { table: table(), published, newest: Some(id) })
        }
        Some(published) if published == id => Ok(Verdict::Done),
        _ if change.is_some() => Ok(Verdict::Commit),
        _ => Ok(Verdict::Done),
    }
}

/// Whether a table shows that the newest manifest, or the store itself, was lost: to be asked at start for every table
/// of the job, whatever the manifest names, before anything is published.
///
/// # Errors
/// [`ProtocolError::StateLost`] when the table has a checkpoint above `newest` that wasn't left behind on purpose.
pub fn check_not_lost(
    newest: Option<ManifestId>,
    abandoned: Option<ManifestId>,
    table: &TableName,
    published: Option<ManifestId>,
) -> Result<(), ProtocolError> {
    match published {
        Some(published) if Some(published) > newest.max(abandoned) => {
            Err(ProtocolError::StateLost { table: table.clone(), published, newest })
        }
        _ => Ok(()),
    }
}

/// Whether a table has lost what was published to it. A rollback of what a later start left behind on purpose (a reset
/// after it) is none: that start publishes again what it covers.
///
/// # Errors
/// [`ProtocolError::RolledBack`].
pub fn check_not_rolled_back(
    abandoned: Option<ManifestId>,
    table: &TableName,
    published: Option<ManifestId>,
    rollback: Option<&Rollback>,
) -> Result<(), ProtocolError> {
    match rollback {
        Some(rollback) if abandoned.is_none() || published > abandoned => {
            Err(ProtocolError::RolledBack { table: table.clone(), published, rollback: Box::new(rollback.clone()) })
        }
        _ => Ok(()),
    }
}

/// Whether a table is another one than what the newest manifest was published to: to be asked at start, before anything
/// is made or claimed. `found` is its uuid; `None`: it isn't there.
///
/// # Errors
/// [`ProtocolError::TableGone`], [`ProtocolError::TableReplaced`].
pub fn check_same_table(
    newest: Option<&Manifest>,
    table: &TableName,
    found: Option<Uuid>,
) -> Result<(), ProtocolError> {
    let Some(manifest) = newest else { return Ok(()) };
    let known = manifest.targets().into_iter().find(|target| target.table == *table);
    match (known, found) {
        (Some(_), None) => Err(ProtocolError::TableGone { table: table.clone(), id: manifest.id }),
        (Some(known), Some(found)) if found != known.uuid => {
            Err(ProtocolError::TableReplaced { table: table.clone(), id: manifest.id, expected: known.uuid, found })
        }
        _ => Ok(()),
    }
}
