//! The care of tables: snapshots that nobody needs any more expire, files that nothing refers to go, small files become few
//! large ones. Beside running jobs and others, and for tables of any maker.
//!
//! Each step is planned by a pure function over facts, and done, if it is to be, on exactly the state that was planned on, or
//! planned again. Invariants: no row changes; nothing goes that a branch, a tag, a checkpoint, a savepoint or whoever has
//! begun to read or to write a short time ago needs; without `execute` nothing changes at all.
//!
//! The order is expiry, orphans, small files, so that a dry run says what would be done: rewriting leaves files behind that
//! readers still need, which a later turn removes.

mod compaction;
mod error;
mod expiry;
mod held;
mod orphans;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, Table};

pub use compaction::Compacted;
pub use error::MaintainError;
pub use expiry::Expired;
pub use held::{Held, held};
pub use orphans::{ORPHAN_AGE_MIN, Orphans};

/// What is to be done, and how.
#[derive(Clone, Copy, Debug)]
pub struct MaintainOptions {
    /// The time of now.
    pub now: EventTime,
    /// How long a snapshot stays after another has taken its place; `None`: as the table says, or five days.
    pub snapshot_age: Option<Duration>,
    /// How many of the newest snapshots stay whatever their age; `None`: as the table says, or one.
    pub retain_last: Option<usize>,
    /// How old a file must be to be an orphan; at least [`ORPHAN_AGE_MIN`].
    pub orphan_age: Duration,
    /// Whether it is done; otherwise it is only planned.
    pub execute: bool,
}

/// What was done to a table, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintained {
    /// The table.
    pub table: TableName,
    /// Since when backfills have been using it: snapshots from then on stay, and all files.
    pub in_use: Option<EventTime>,
    /// Its snapshots.
    pub snapshots: Expired,
    /// Its orphans.
    pub orphans: Orphans,
    /// Its small files.
    pub files: Compacted,
}

/// Takes care of one table; `None`: there is none of that name. `held` was looked up before.
pub async fn maintain(
    catalog: &Catalog,
    name: &TableName,
    held: &Held,
    options: &MaintainOptions,
) -> Result<Option<Maintained>, MaintainError> {
    let Some(table) = catalog.load(name).await? else { return Ok(None) };
    check(&table, held).await?;
    let in_use = table.in_use_since(options.now).await?;
    let (table, snapshots, gone) = expiry::expire(catalog, table, held, options, in_use).await?;
    let orphans = orphans::remove(&table, &gone, held, options, in_use).await?;
    let files = compaction::compact(catalog, table, held, options).await?;
    Ok(Some(Maintained { table: name.clone(), in_use, snapshots, orphans, files }))
}

/// Refuses what is not understood as a whole: formats and delete files, and tables whose writers keep their checkpoints
/// elsewhere.
async fn check(table: &Table, held: &Held) -> Result<(), MaintainError> {
    table.check_maintained().await?;
    let unknown: BTreeSet<String> =
        held::writers(table.properties()).filter(|owner| !held.owners.contains(owner)).collect();
    match unknown.into_iter().next() {
        None => Ok(()),
        Some(owner) => Err(MaintainError::OtherState { table: table.name().clone(), owner }),
    }
}
