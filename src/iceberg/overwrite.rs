//! The commit: one atomic change of a table's files and properties, tried again until it is known to have landed.
//! Invariants: a change lands once or not at all; an outcome that is not known is looked up, never taken for a failure;
//! data files are never deleted here, landed or not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::catalog::{Catalog, CommitFailure, MetadataChange};
use super::snapshot::{self, Staged};
use super::{IcebergError, PartitionRange, StagedFile, Table};
use crate::event::TableName;
use crate::kill_point::KillPoint;

/// Tries of one commit. With the pauses between them that is about two minutes of losing against others.
const ATTEMPTS_MAX: u32 = 100;
/// Pause after the first lost try; doubles up to [`PAUSE_MAX`]. The actual pause is between a half and the whole of it.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(1_280);

/// One atomic change of a table. Serialised, it can be committed by a later process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The table.
    pub table: TableName,
    /// Its identity when the change was made: a table created anew under the name is not touched.
    pub uuid: Uuid,
    /// What the snapshot is to say it does.
    pub operation: Operation,
    /// Files to add.
    pub add: Vec<StagedFile>,
    /// Files to remove.
    pub remove: Remove,
    /// Table properties to set in the same commit.
    pub properties: BTreeMap<String, String>,
    /// Table properties to remove in the same commit; those that aren't there don't matter.
    pub remove_properties: Vec<String>,
    /// Entries of the snapshot's summary, beside the counts.
    pub summary: BTreeMap<String, String>,
    /// A property, set by this change, whose value proves that it has landed. A table that has it is left as it is.
    pub marker: Option<(String, String)>,
    /// A property and the value it must have when the change lands (`None`: it must not be there), or else
    /// [`CommitError::Fenced`]. Effective against writers that changed it by a commit of this module, which always makes a snapshot.
    pub fence: Option<(String, Option<String>)>,
    /// A property to set to the id of the snapshot that this change makes.
    pub snapshot_property: Option<String>,
    /// What must not have happened meanwhile.
    pub expect: Expect,
}

/// What a change does to the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Adds rows. Removes nothing.
    Append,
    /// Replaces rows by others: `overwrite`, or `delete` where nothing is added, or `append` where nothing was there.
    Overwrite,
    /// Replaces files by others with the same rows; their number is checked.
    Replace,
    /// Touches no row: a snapshot that carries properties only, such as a claim.
    Empty,
}

/// Which files a change removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remove {
    /// None.
    None,
    /// All live files in any of these ranges, whoever added them.
    Partitions(Vec<PartitionRange>),
    /// Exactly the files at these locations. If one is not live any more, the change is a conflict.
    Files(Vec<String>),
}

/// What must not have happened since the change was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Anything may have happened: what is there now is replaced.
    Any,
    /// Since this snapshot (`None`: since the table was empty) nothing may have added to or removed from the partitions
    /// that the change removes; rewrites that keep rows (`replace`) are fine.
    Snapshot(Option<i64>),
}

/// A change that has landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot it made. If it had landed before and that snapshot has expired, the table's newest.
    pub snapshot_id: i64,
    /// That snapshot's sequence number.
    pub sequence_number: i64,
    /// Files it removed.
    pub removed_files: u64,
    /// Rows in them.
    pub removed_records: u64,
    /// Tries that this call made; 0 if the change had landed before.
    pub attempts: u32,
}

/// Why a change has not landed, or is not known to have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Someone else changed what it builds on, or kept winning. Nothing of it is in the table; plan it anew.
    #[error("table {table}: {detail}; nothing was changed, plan it again")]
    Conflict {
        /// The table.
        table: TableName,
        /// What stands against it.
        detail: String,
    },
    /// A newer run owns the table. Don't try again.
    #[error("table {table}: `{key}` is {found}, not {expected}: a newer run has taken the table over")]
    Fenced {
        /// The table.
        table: TableName,
        /// The property that tells who owns it.
        key: String,
        /// Its value when the change was made.
        expected: String,
        /// Its value now.
        found: String,
    },
    /// The table was dropped, or dropped and created anew.
    #[error("table {table} {detail}")]
    TableGone {
        /// The table.
        table: TableName,
        /// What happened to it.
        detail: String,
    },
    /// The change can't be made, now or later.
    #[error("table {table}: {detail}")]
    Rejected {
        /// The table.
        table: TableName,
        /// Why not, and the way out.
        detail: String,
    },
    /// It may have landed or not, and the catalog can't be asked. Commit the same change again: its marker tells.
    #[error("table {table}: the outcome of a commit is not known after {attempts} tries: {detail}; commit it again")]
    Unknown {
        /// The table.
        table: TableName,
        /// Tries made.
        attempts: u32,
        /// The last answer.
        detail: String,
    },
    /// The table can't be read.
    #[error(transparent)]
    Table(#[from] IcebergError),
}

impl CommitError {
    /// Whether catalog or bucket refuse until a person acts.
    pub fn is_refusal(&self) -> bool {
        match self {
            CommitError::Rejected { .. } => true,
            CommitError::Table(error) => error.is_refusal(),
            _ => false,
        }
    }
}

impl Change {
    /// A change of `table` that does nothing yet but make a snapshot.
    pub fn nothing(table: &Table) -> Change {
        Change {
            table: table.name().clone(),
            uuid: table.uuid(),
            operation: Operation::Empty,
            add: Vec::new(),
            remove: Remove::None,
            properties: BTreeMap::new(),
            remove_properties: Vec::new(),
            summary: BTreeMap::new(),
            marker: None,
            fence: None,
            snapshot_property: None,
            expect: Expect::Any,
        }
    }

    fn rejected(&self, detail: impl Into<String>) -> CommitError {
        CommitError::Rejected { table: self.table.clone(), detail: detail.into() }
    }

    fn gone(&self, detail: impl Into<String>) -> CommitError {
        CommitError::TableGone { table: self.table.clone(), detail: detail.into() }
    }

    fn conflict(&self, detail: impl Into<String>) -> CommitError {
        CommitError::Conflict { table: self.table.clone(), detail: detail.into() }
    }

    /// Refuses what contradicts itself, before anything is written.
    fn check(&self) -> Result<(), CommitError> {
        match (self.operation, &self.remove) {
            (Operation::Append | Operation::Empty, Remove::Partitions(_) | Remove::Files(_)) => {
                return Err(self.rejected("an append removes nothing; make it an overwrite"));
            }
            (Operation::Empty, _) if !self.add.is_empty() => {
                return Err(self.rejected("an empty change adds nothing; make it an append"));
            }
            (Operation::Replace, Remove::None | Remove::Partitions(_)) => {
                return Err(self.rejected("a replace names the files that it replaces"));
            }
            (_, Remove::Partitions(ranges)) => {
                for range in ranges {
                    range.check().map_err(|detail| self.rejected(detail))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_table(&self, table: &Table) -> Result<(), CommitError> {
        if table.uuid() != self.uuid {
            return Err(self.gone(format!(
                "was dropped and created anew (uuid {} instead of {}); what was written for the old one doesn't belong in it",
                table.uuid(),
                self.uuid
            )));
        }
        match &self.fence {
            Some((key, expected)) if table.properties().get(key) != expected.as_ref() => {
                let words = |value: Option<&String>| value.map_or("absent".to_owned(), |value| format!("`{value}`"));
                let found = words(table.properties().get(key));
                let (table, key, expected) = (self.table.clone(), key.clone(), words(expected.as_ref()));
                Err(CommitError::Fenced { table, key, expected, found })
            }
            _ => Ok(()),
        }
    }

    /// The change as landed, if the table shows that it has: by the marker, or by a snapshot of a try before.
    fn landed(&self, table: &Table, tried: &[Staged], attempts: u32) -> Option<Committed> {
        for staged in tried {
            if table.metadata().snapshot_by_id(staged.snapshot_id).is_some() {
                return Some(staged.committed(attempts));
            }
        }
        let (key, value) = self.marker.as_ref()?;
        if table.properties().get(key) != Some(value) {
            return None;
        }
        let snapshots = table.ancestor_snapshots();
        let mut own =
            snapshots.iter().filter(|snapshot| snapshot.summary().additional_properties.get(key) == Some(value));
        let snapshot = own.next().or(snapshots.first());
        let count = |name: &str| {
            let text = snapshot.and_then(|snapshot| snapshot.summary().additional_properties.get(name));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Some(Committed {
            snapshot_id: snapshot.map_or(-1, |snapshot| snapshot.snapshot_id()),
            sequence_number: snapshot.map_or(0, |snapshot| snapshot.sequence_number()),
            removed_files: count("deleted-data-files"),
            removed_records: count("deleted-records"),
            attempts,
        })
    }
}

impl Catalog {
    /// Lands a change: staged against the table as it is, and again against what others made of it, until it is in.
    /// Idempotent by the change's marker. Cancel-safe: landed or not, never half; metadata files may stay behind.
    pub async fn commit(&self, change: &Change) -> Result<Committed, CommitError> {
        change.check()?;
        // Tries whose outcome is not known.
        let mut open: Vec<Staged> = Vec::new();
        let mut last = String::new();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(pause(attempt)).await;
            }
            let table = match self.load(&change.table).await {
                Ok(Some(table)) => table,
                Ok(None) => return Err(change.gone("doesn't exist any more")),
                Err(error) if open.is_empty() => return Err(error.into()),
                Err(error) => {
                    last = error.to_string();
                    continue;
                }
            };
            if table.uuid() == change.uuid
                && let Some(landed) = change.landed(&table, &open, attempt)
            {
                return Ok(landed);
            }
            change.check_table(&table)?;
            let staged = match snapshot::stage(&table, change).await {
                // With a try open, "it can't be read" must not be taken for "it didn't land".
                Err(CommitError::Table(error)) if !open.is_empty() => {
                    last = error.to_string();
                    continue;
                }
                staged => staged?,
            };
            let update = MetadataChange { updates: staged.updates.clone(), requirements: staged.requirements.clone() };
            let answer = self.backend.commit(&table, &update).await;
            KillPoint::CommitUnanswered.reach();
            match answer {
                Ok(()) => return Ok(staged.committed(attempt + 1)),
                Err(CommitFailure::Unknown(detail)) => {
                    tracing::warn!(table = %change.table, %detail, "outcome of a commit not known, looking it up");
                    open.push(staged);
                    last = detail;
                }
                Err(failure) => {
                    staged.discard(&table).await;
                    match failure {
                        CommitFailure::Conflict(detail) | CommitFailure::Unknown(detail) => last = detail,
                        CommitFailure::Gone => return Err(change.gone("doesn't exist any more")),
                        CommitFailure::Rejected(detail) => return Err(change.rejected(detail)),
                    }
                }
            }
        }
        if open.is_empty() {
            return Err(change.conflict(format!("others were first {ATTEMPTS_MAX} times ({last})")));
        }
        Err(CommitError::Unknown { table: change.table.clone(), attempts: ATTEMPTS_MAX, detail: last })
    }
}

impl Catalog {
    /// Tries once to land a change on exactly the state that `table` was loaded in. Fails with [`CommitError::Conflict`]
    /// if the table has moved on, and with [`CommitError::Unknown`] if it may have landed: load the table and look.
    /// Looks at no marker.
    pub async fn commit_on(&self, table: &Table, change: &Change) -> Result<Committed, CommitError> {
        change.check()?;
        change.check_table(table)?;
        let staged = snapshot::stage(table, change).await?;
        let update = MetadataChange { updates: staged.updates.clone(), requirements: staged.requirements.clone() };
        let answer = self.backend.commit(table, &update).await;
        KillPoint::CommitUnanswered.reach();
        let failure = match answer {
            Ok(()) => return Ok(staged.committed(1)),
            // Its metadata may be the table's by now.
            Err(CommitFailure::Unknown(detail)) => {
                return Err(CommitError::Unknown { table: change.table.clone(), attempts: 1, detail });
            }
            Err(failure) => failure,
        };
        staged.discard(table).await;
        Err(match failure {
            CommitFailure::Conflict(detail) | CommitFailure::Unknown(detail) => change.conflict(detail),
            CommitFailure::Gone => change.gone("doesn't exist any more"),
            CommitFailure::Rejected(detail) => change.rejected(detail),
        })
    }
}

/// Pause before a try. Its random half keeps writers that lost together from losing together again.
fn pause(attempt: u32) -> Duration {
    let whole = PAUSE_FIRST.saturating_mul(1 << (attempt - 1).min(10)).min(PAUSE_MAX);
    let random = (Uuid::new_v4().as_u128() & 0xffff) as u32;
    whole / 2 + whole.saturating_mul(random) / (2 * 0xffff)
}
