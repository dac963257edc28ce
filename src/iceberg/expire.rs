//! Expiring snapshots: the oldest ones of our own leave a table's metadata, which would else grow with every commit.
//!
//! Invariants: only the oldest of `main`'s snapshots go, none between two that stay, and none from the first on that
//! another engine made, that was the newest not long ago, or that a branch, a tag or a property names. Rows and data files are never touched:
//! of what an expired snapshot had to itself, only its manifest list is removed; the rest is left to maintenance.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use iceberg::spec::{MAIN_BRANCH, SnapshotRef, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use super::catalog::{Catalog, CommitFailure, MetadataChange};
use super::snapshot::{ENGINE, ENGINE_NAME, commit_time_ms};
use super::{CommitError, IcebergError, Table};
use crate::event::TableName;

/// Iceberg's properties of expiry, which hold where a table sets them.
const AGE_MAX_MS: &str = "history.expire.max-snapshot-age-ms";
const KEEP_MIN: &str = "history.expire.min-snapshots-to-keep";
/// `false`: other tables may need this one's files, so nothing of it may go.
const GC_ENABLED: &str = "gc.enabled";

/// How long a snapshot stays where the table doesn't say, after the next one has come: longer than a backfill takes that
/// was planned on it.
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How many of a table's newest snapshots stay where it doesn't say.
const KEPT_MIN: usize = 100;
/// How many go at a time: a larger change would take some catalogs too long.
const EXPIRED_MAX: usize = 1_000;

impl Catalog {
    /// Expires what may go of a table's snapshots, and answers how many went. Idempotent, and no matter if it fails: what is
    /// left goes the next time.
    pub async fn expire_snapshots(&self, name: &TableName) -> Result<usize, IcebergError> {
        let Some(table) = self.load(name).await? else { return Ok(0) };
        let expired = expirable(&table, commit_time_ms());
        if expired.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = expired.iter().map(|snapshot| snapshot.snapshot_id()).collect();
        match self.backend.commit(&table, &removal(&table, &ids)).await {
            Ok(()) => {}
            // Whoever moved the table on seals a partition too some day. What may have landed may as well not have, so
            // its files stay.
            Err(CommitFailure::Conflict(_) | CommitFailure::Unknown(_) | CommitFailure::Gone) => return Ok(0),
            Err(CommitFailure::Rejected(detail)) => {
                return Err(IcebergError::Unsupported {
                    table: name.clone(),
                    detail: format!("expires no snapshots: {detail}"),
                });
            }
        }
        let gone: BTreeSet<i64> = expired.iter().map(|snapshot| snapshot.snapshot_id()).collect();
        let stay = table.metadata().snapshots().filter(|snapshot| !gone.contains(&snapshot.snapshot_id()));
        let needed: BTreeSet<&str> = stay.map(|snapshot| snapshot.manifest_list()).collect();
        for file in expired.iter().map(|snapshot| snapshot.manifest_list()).filter(|file| !needed.contains(file)) {
            if let Err(error) = table.inner.file_io().delete(file).await {
                tracing::debug!(%file, %error, "the manifest list of an expired snapshot stays behind");
            }
        }
        Ok(expired.len())
    }

    /// Tries once to take these snapshots out of the table's metadata, at most the first thousand, on exactly the branches
    /// and tags that `table` was loaded with; answers how many went. Removes no file. Fails with [`CommitError::Conflict`]
    /// if the table has moved on, and with [`CommitError::Unknown`] if it may have landed: load the table and look.
    pub async fn remove_snapshots(&self, table: &Table, ids: &[i64]) -> Result<usize, CommitError> {
        let ids = &ids[..ids.len().min(EXPIRED_MAX)];
        let name = table.name().clone();
        match self.backend.commit(table, &removal(table, ids)).await {
            Ok(()) => Ok(ids.len()),
            Err(CommitFailure::Conflict(detail)) => Err(CommitError::Conflict { table: name, detail }),
            Err(CommitFailure::Unknown(detail)) => Err(CommitError::Unknown { table: name, attempts: 1, detail }),
            Err(CommitFailure::Rejected(detail)) => Err(CommitError::Rejected { table: name, detail }),
            Err(CommitFailure::Gone) => {
                Err(CommitError::TableGone { table: name, detail: "doesn't exist any more".to_owned() })
            }
        }
    }
}

fn removal(table: &Table, ids: &[i64]) -> MetadataChange {
    // One a change: older catalogs take no more.
    let updates = ids.iter().map(|&id| TableUpdate::RemoveSnapshots { snapshot_ids: vec![id] }).collect();
    MetadataChange { updates, requirements: requirements(table) }
}

/// The table must be as it was: its refs too, as one may have been set on what is to go.
fn requirements(table: &Table) -> Vec<TableRequirement> {
    let mut requirements = vec![TableRequirement::UuidMatch { uuid: table.uuid() }];
    for (name, snapshot_id) in refs(table.metadata()) {
        requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref: name, snapshot_id: Some(snapshot_id) });
    }
    requirements
}

/// The snapshots that may go at the moment `now_ms`, oldest first.
pub(super) fn expirable(table: &Table, now_ms: i64) -> Vec<SnapshotRef> {
    let property = |name: &str| table.properties().get(name).map(|text| text.trim());
    if property(GC_ENABLED).is_some_and(|text| text.eq_ignore_ascii_case("false")) {
        return Vec::new();
    }
    let age_max_ms = property(AGE_MAX_MS).and_then(|text| text.parse().ok());
    let age_max_ms = age_max_ms.unwrap_or(i64::try_from(AGE_MAX.as_millis()).unwrap_or(i64::MAX));
    let kept_min = property(KEEP_MIN).and_then(|text| text.parse().ok()).unwrap_or(KEPT_MIN).max(1);
    let needed = needed(table);
    // Whoever reads the table may have begun to just before another snapshot took the place of the one that it reads.
    let may_go = |snapshot: &SnapshotRef, next: &SnapshotRef| {
        let age_ms = now_ms.saturating_sub(next.timestamp_ms());
        let engine = snapshot.summary().additional_properties.get(ENGINE);
        age_ms > age_max_ms
            && engine.is_some_and(|engine| engine == ENGINE_NAME)
            && !needed.contains(&snapshot.snapshot_id())
    };
    let ancestors = table.ancestor_snapshots();
    // Newest first: those that are always kept, then the others, of which the oldest ones go. Each with its next one.
    let old = ancestors.iter().skip(kept_min).zip(ancestors.iter().skip(kept_min - 1));
    let old = old.rev().take_while(|(snapshot, next)| may_go(snapshot, next));
    old.take(EXPIRED_MAX).map(|(snapshot, _)| snapshot.clone()).collect()
}

/// Snapshots that something names: refs, all that a branch or tag beside `main` is built on, and properties such as those
/// by which a run knows its own last commit.
fn needed(table: &Table) -> BTreeSet<i64> {
    let metadata = table.metadata();
    let mut needed: BTreeSet<i64> = refs(metadata).into_values().collect();
    for (_, head) in refs(metadata).into_iter().filter(|(name, _)| name != MAIN_BRANCH) {
        let mut next = metadata.snapshot_by_id(head);
        while let Some(snapshot) = next {
            needed.insert(snapshot.snapshot_id());
            next = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id));
        }
    }
    needed.extend(table.properties().values().filter_map(|value| value.parse::<i64>().ok()));
    needed
}

/// Branches and tags with their snapshots. The crate keeps them to itself, but for the metadata as it is written.
pub(super) fn refs(metadata: &TableMetadata) -> HashMap<String, i64> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    let refs = json.get("refs").and_then(|refs| refs.as_object()).into_iter().flatten();
    refs.filter_map(|(name, of)| Some((name.clone(), of.get("snapshot-id")?.as_i64()?))).collect()
}
