//! Expiring snapshots: the oldest ones of our own leave a table's metadata, which would else grow with every commit.
//!
//! Invariants: only the oldest of `main`'s snapshots go, none between two that stay, and none from the first on that
//! another engine made, that is young, or that a branch, a tag or a property names. Rows and data files are never touched:
//! of what an expired snapshot had to itself, only its manifest list is removed; the rest is left to maintenance.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use iceberg::spec::{MAIN_BRANCH, SnapshotRef, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use super::catalog::{Catalog, CommitFailure, MetadataChange};
use super::snapshot::{ENGINE, ENGINE_NAME, commit_time_ms};
use super::{IcebergError, Table};
use crate::event::TableName;

/// Iceberg's properties of expiry, which hold where a table sets them.
const AGE_MAX_MS: &str = "history.expire.max-snapshot-age-ms";
const KEEP_MIN: &str = "history.expire.min-snapshots-to-keep";
/// `false`: other tables may need this one's files, so nothing of it may go.
const GC_ENABLED: &str = "gc.enabled";

/// How long a snapshot stays where the table doesn't say: longer than a backfill takes that was planned on it.
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
        // One a change: older catalogs take no more.
        let ids = expired.iter().map(|snapshot| snapshot.snapshot_id());
        let updates = ids.map(|id| TableUpdate::RemoveSnapshots { snapshot_ids: vec![id] }).collect();
        let change = MetadataChange { updates, requirements: requirements(&table) };
        match self.backend.commit(&table, &change).await {
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
fn expirable(table: &Table, now_ms: i64) -> Vec<SnapshotRef> {
    let property = |name: &str| table.properties().get(name).map(|text| text.trim());
    if property(GC_ENABLED).is_some_and(|text| text.eq_ignore_ascii_case("false")) {
        return Vec::new();
    }
    let age_max_ms = property(AGE_MAX_MS).and_then(|text| text.parse().ok());
    let age_max_ms = age_max_ms.unwrap_or(i64::try_from(AGE_MAX.as_millis()).unwrap_or(i64::MAX));
    let kept_min = property(KEEP_MIN).and_then(|text| text.parse().ok()).unwrap_or(KEPT_MIN).max(1);
    let needed = needed(table);
    let may_go = |snapshot: &SnapshotRef| {
        let age_ms = now_ms.saturating_sub(snapshot.timestamp_ms());
        let engine = snapshot.summary().additional_properties.get(ENGINE);
        age_ms > age_max_ms
            && engine.is_some_and(|engine| engine == ENGINE_NAME)
            && !needed.contains(&snapshot.snapshot_id())
    };
    let ancestors = table.ancestor_snapshots();
    // Newest first: those that are always kept, then the others, of which the oldest ones go.
    let old = ancestors.get(kept_min..).unwrap_or_default();
    old.iter().rev().take_while(|snapshot| may_go(snapshot)).take(EXPIRED_MAX).cloned().collect()
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
fn refs(metadata: &TableMetadata) -> HashMap<String, i64> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    let refs = json.get("refs").and_then(|refs| refs.as_object()).into_iter().flatten();
    refs.filter_map(|(name, of)| Some((name.clone(), of.get("snapshot-id")?.as_i64()?))).collect()
}
