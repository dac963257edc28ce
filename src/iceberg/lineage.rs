//! Which snapshots a table has, how they follow each other, and what holds them: facts for whoever expires some.
//! Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{MAIN_BRANCH, SnapshotRef};

use super::Table;
use super::expire::refs;
use crate::event::EventTime;

/// Milliseconds, as Iceberg dates snapshots, to microseconds.
const MICROS_OF_MILLI: i64 = 1_000;

/// A snapshot that a table's metadata hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFact {
    /// Its id.
    pub id: i64,
    /// When it was made.
    pub made: EventTime,
    /// When another took its place as the newest: until then the table was read as it says. `None`: none has.
    pub replaced: Option<EventTime>,
    /// Whether a branch or a tag is it, or a branch beside `main` is built on it since it left `main`.
    pub is_referenced: bool,
    /// Whether a table property names it, as that by which a job knows its last commit does.
    pub is_named: bool,
    /// The entries of its summary that name the checkpoints which it published: property and value.
    pub checkpoints: Vec<(String, String)>,
}

/// The snapshots of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Those of `main`, newest first, back to the first that the metadata still hold.
    pub main: Vec<SnapshotFact>,
    /// The others: of branches, and what `main` has left behind. In the order in which they were made.
    pub aside: Vec<SnapshotFact>,
}

impl Table {
    /// The snapshots of the table.
    pub fn lineage(&self) -> Lineage {
        let metadata = self.metadata();
        let main = self.ancestor_snapshots();
        let is_main: BTreeSet<i64> = main.iter().map(|snapshot| snapshot.snapshot_id()).collect();
        let referenced = self.referenced(&is_main);
        let named: BTreeSet<i64> = self.properties().values().filter_map(|value| value.parse().ok()).collect();
        let fact = |snapshot: &SnapshotRef, replaced: Option<i64>| SnapshotFact {
            id: snapshot.snapshot_id(),
            made: time(snapshot.timestamp_ms()),
            replaced: replaced.map(time),
            is_referenced: referenced.contains(&snapshot.snapshot_id()),
            is_named: named.contains(&snapshot.snapshot_id()),
            checkpoints: checkpoints(snapshot),
        };
        let nexts = std::iter::once(None).chain(main.iter().map(|next| Some(next.timestamp_ms())));
        let facts = main.iter().zip(nexts).map(|(snapshot, next)| fact(snapshot, next)).collect();
        let mut aside: Vec<&SnapshotRef> =
            metadata.snapshots().filter(|snapshot| !is_main.contains(&snapshot.snapshot_id())).collect();
        aside.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id()));
        // The log says when each one became the newest of `main`, if it ever was.
        let log = metadata.history();
        let left: BTreeMap<i64, i64> =
            log.windows(2).map(|pair| (pair[0].snapshot_id, pair[1].timestamp_ms())).collect();
        let aside = aside.into_iter().map(|snapshot| {
            let replaced = left.get(&snapshot.snapshot_id()).copied().unwrap_or(snapshot.timestamp_ms());
            fact(snapshot, Some(replaced.max(snapshot.timestamp_ms())))
        });
        Lineage { main: facts, aside: aside.collect() }
    }

    /// Snapshots that branches and tags are, and those on the way from a branch back to `main`, with the one where it left.
    fn referenced(&self, is_main: &BTreeSet<i64>) -> BTreeSet<i64> {
        let metadata = self.metadata();
        let mut referenced: BTreeSet<i64> = BTreeSet::new();
        for (name, head) in refs(metadata) {
            referenced.insert(head);
            let mut next = metadata.snapshot_by_id(head).filter(|_| name != MAIN_BRANCH);
            while let Some(snapshot) = next {
                referenced.insert(snapshot.snapshot_id());
                let on = Some(snapshot).filter(|snapshot| !is_main.contains(&snapshot.snapshot_id()));
                next = on.and_then(|snapshot| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?));
            }
        }
        referenced
    }
}

fn checkpoints(snapshot: &SnapshotRef) -> Vec<(String, String)> {
    let entries = snapshot.summary().additional_properties.iter();
    let of_checkpoints = entries.filter(|(key, _)| key.starts_with("kappa.") && key.ends_with(".checkpoint"));
    of_checkpoints.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn time(millis: i64) -> EventTime {
    EventTime(millis.saturating_mul(MICROS_OF_MILLI))
}
