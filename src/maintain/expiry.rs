//! Expiry: which snapshots go.
//! Invariant: of `main` nothing between the newest and one that a property names goes, as a job that finds its last commit
//! cut off from the newest takes the table for rolled back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Held, MaintainError, MaintainOptions};
use crate::event::EventTime;
use crate::iceberg::{Catalog, CommitError, Lineage, SnapshotFact, Table};

/// Iceberg's properties of expiry.
const AGE_MAX_MS: &str = "history.expire.max-snapshot-age-ms";
const KEEP_MIN: &str = "history.expire.min-snapshots-to-keep";
/// `false`: other tables may need this one's files, so nothing of it may go.
const GC_ENABLED: &str = "gc.enabled";

/// How long a snapshot stays where nobody says, as in other engines.
const AGE_DEFAULT: Duration = Duration::from_secs(5 * 86_400);
/// Looks at a table until others are left to it: each loss means that somebody has committed.
const ATTEMPTS_MAX: u32 = 20;

/// Snapshots that have gone, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Them, oldest first: id, and when each was made.
    pub gone: Vec<(i64, EventTime)>,
    /// How many stay.
    pub stay: usize,
    /// The oldest that stays.
    pub oldest: Option<(i64, EventTime)>,
}

/// What decides on snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Those that were replaced after this stay.
    pub(super) replaced_after: EventTime,
    /// So many of the newest of `main` stay.
    pub(super) retain_last: usize,
    /// Whether any may go.
    pub(super) may_go: bool,
}

/// Whether the table lets files go at all.
pub(super) fn collects(table: &Table) -> bool {
    !table.properties().get(GC_ENABLED).is_some_and(|text| text.trim().eq_ignore_ascii_case("false"))
}

impl Rule {
    fn of(table: &Table, options: &MaintainOptions, in_use: Option<EventTime>) -> Rule {
        let number = |name: &str| table.properties().get(name).and_then(|text| text.trim().parse::<i64>().ok());
        let micros = |age: Duration| i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let of_table = || number(AGE_MAX_MS).map_or(micros(AGE_DEFAULT), |millis| millis.saturating_mul(1_000));
        let age = options.snapshot_age.map_or_else(of_table, micros);
        let kept = options.retain_last.or_else(|| usize::try_from(number(KEEP_MIN)?).ok()).unwrap_or(1);
        let replaced_after = EventTime(options.now.0.saturating_sub(age)).min(in_use.unwrap_or(EventTime::MAX));
        Rule { replaced_after, retain_last: kept.max(1), may_go: collects(table) }
    }
}

/// The snapshots that go, oldest first.
pub(super) fn plan(lineage: &Lineage, checkpoints: &BTreeSet<(String, String)>, rule: Rule) -> Vec<SnapshotFact> {
    if !rule.may_go {
        return Vec::new();
    }
    let is_free = |snapshot: &&SnapshotFact| {
        snapshot.replaced.is_some_and(|replaced| replaced <= rule.replaced_after)
            && !snapshot.is_referenced
            && !snapshot.is_named
            && !snapshot.checkpoints.iter().any(|published| checkpoints.contains(published))
    };
    // Up to and with the last one that is named, and the newest.
    let named = lineage.main.iter().rposition(|snapshot| snapshot.is_named).map_or(0, |last| last + 1);
    let old = lineage.main.get(rule.retain_last.max(named)..).unwrap_or_default();
    old.iter().rev().filter(is_free).chain(lineage.aside.iter().filter(is_free)).cloned().collect()
}

/// Expires what may go, or only plans it. Answers the table, and which snapshots have gone from it or would.
pub(super) async fn expire(
    catalog: &Catalog,
    mut table: Table,
    held: &Held,
    options: &MaintainOptions,
    in_use: Option<EventTime>,
) -> Result<(Table, Expired, BTreeSet<i64>), MaintainError> {
    let mut done: Vec<(i64, EventTime)> = Vec::new();
    let mut attempts = 0;
    loop {
        let lineage = table.lineage();
        let going = plan(&lineage, &held.checkpoints, Rule::of(&table, options, in_use));
        let ids: Vec<i64> = going.iter().map(|snapshot| snapshot.id).collect();
        if ids.is_empty() || !options.execute {
            done.extend(going.iter().map(|snapshot| (snapshot.id, snapshot.made)));
            let gone: BTreeSet<i64> = ids.into_iter().collect();
            return Ok((table, expired(&lineage, done, &gone), gone));
        }
        match catalog.remove_snapshots(&table, &ids).await {
            Ok(count) => done.extend(going[..count].iter().map(|snapshot| (snapshot.id, snapshot.made))),
            // Others were first, or the answer was lost: the next look tells what is left to do.
            Err(CommitError::Conflict { .. } | CommitError::Unknown { .. }) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error.into()),
        }
        let gone =
            || CommitError::TableGone { table: table.name().clone(), detail: "doesn't exist any more".to_owned() };
        table = catalog.load(table.name()).await?.ok_or_else(gone)?;
    }
}

fn expired(lineage: &Lineage, done: Vec<(i64, EventTime)>, gone: &BTreeSet<i64>) -> Expired {
    let stay = || lineage.main.iter().chain(&lineage.aside).filter(|snapshot| !gone.contains(&snapshot.id));
    let oldest = stay().min_by_key(|snapshot| (snapshot.made, snapshot.id));
    Expired { gone: done, stay: stay().count(), oldest: oldest.map(|snapshot| (snapshot.id, snapshot.made)) }
}
