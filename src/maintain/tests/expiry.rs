//! Which snapshots go.

use proptest::prelude::*;

use super::super::expiry::{Rule, expire, plan};
use super::*;
use crate::iceberg::{Lineage, SnapshotFact};

fn fact(id: i64, replaced: Option<i64>) -> SnapshotFact {
    SnapshotFact {
        id,
        made: EventTime(id),
        replaced: replaced.map(EventTime),
        is_referenced: false,
        is_named: false,
        checkpoints: Vec::new(),
    }
}

/// Snapshot `n` of `main` is made at `n` and replaced at `n + 1`; the newest first.
fn main_of(count: i64) -> Lineage {
    let facts = (0..count).rev().map(|id| fact(id, (id + 1 < count).then_some(id + 1)));
    Lineage { main: facts.collect(), aside: Vec::new() }
}

fn rule(replaced_after: i64, retain_last: usize) -> Rule {
    Rule { replaced_after: EventTime(replaced_after), retain_last, may_go: true }
}

fn ids(lineage: &Lineage, rule: Rule) -> Vec<i64> {
    plan(lineage, &BTreeSet::new(), rule).iter().map(|snapshot| snapshot.id).collect()
}

#[test]
fn age_counts_from_when_another_took_its_place() {
    assert_eq!(ids(&main_of(5), rule(3, 1)), [0, 1, 2]);
    assert_eq!(ids(&main_of(5), rule(99, 1)), [0, 1, 2, 3], "the newest stays");
    assert_eq!(ids(&main_of(5), rule(99, 4)), [0]);
    assert!(ids(&main_of(5), Rule { may_go: false, ..rule(99, 1) }).is_empty());
    assert!(ids(&Lineage::default(), rule(99, 1)).is_empty());
}

#[test]
fn what_a_branch_a_tag_or_a_kept_checkpoint_is_stays_and_its_neighbours_go() {
    let mut lineage = main_of(6);
    lineage.main[3].is_referenced = true;
    let published = ("kappa.hits.checkpoint".to_owned(), "0000000001/0000000002".to_owned());
    lineage.main[4].checkpoints = vec![published.clone()];
    let gone = plan(&lineage, &BTreeSet::from([published]), rule(99, 1));
    assert_eq!(gone.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [0, 3, 4]);
}

#[test]
fn nothing_goes_between_the_newest_and_what_a_property_names() {
    let mut lineage = main_of(6);
    lineage.main[3].is_named = true;
    assert_eq!(ids(&lineage, rule(99, 1)), [0, 1]);
}

#[test]
fn what_main_has_left_behind_goes_by_its_age_too() {
    let mut lineage = main_of(3);
    lineage.aside = vec![fact(7, Some(8)), fact(9, Some(50))];
    assert_eq!(ids(&lineage, rule(10, 3)), [7]);
    lineage.aside[0].is_named = true;
    assert_eq!(ids(&lineage, rule(99, 3)), [9]);
}

proptest! {
    #[test]
    fn all_that_goes_is_free_and_all_that_is_free_goes(
        flags in prop::collection::vec((0_u8..8, 0_u8..8), 0..12),
        replaced_after in 0_i64..14,
        retain_last in 1_usize..5,
    ) {
        let mut lineage = main_of(flags.len() as i64);
        for (snapshot, (named, referenced)) in lineage.main.iter_mut().zip(&flags) {
            snapshot.is_named = *named == 0;
            snapshot.is_referenced = *referenced == 0;
        }
        let gone = ids(&lineage, rule(replaced_after, retain_last));
        let named = lineage.main.iter().rposition(|snapshot| snapshot.is_named);
        for (place, snapshot) in lineage.main.iter().enumerate() {
            let is_free = place >= retain_last
                && named.is_none_or(|named| place > named)
                && !snapshot.is_referenced
                && snapshot.replaced.is_some_and(|replaced| replaced.0 <= replaced_after);
            prop_assert_eq!(gone.contains(&snapshot.id), is_free, "{}", place);
        }
        prop_assert!(gone.is_sorted());
    }
}

#[tokio::test]
async fn the_table_says_how_long_and_how_many_unless_told_otherwise() {
    let age = ("history.expire.max-snapshot-age-ms", "-1");
    let kept = ("history.expire.min-snapshots-to-keep", "3");
    let (day, days) = (Some(ORPHAN_AGE_MIN), Some(3 * ORPHAN_AGE_MIN));
    for (properties, snapshot_age, retain_last, expected) in [
        (&[][..], None, None, 0),
        (&[], day, None, 4),
        (&[], day, Some(2), 3),
        (&[age], None, None, 4),
        (&[age], days, None, 0),
        (&[age, kept], None, None, 2),
        (&[age, kept], None, Some(4), 1),
    ] {
        let world = World::new(properties).await;
        for value in 0..5 {
            world.append(0, &[value]).await;
        }
        let done = world.done(&MaintainOptions { snapshot_age, retain_last, ..later(true) }).await;
        assert_eq!(done.snapshots.gone.len(), expected, "{properties:?} {snapshot_age:?} {retain_last:?}");
    }
}

#[tokio::test]
async fn whoever_commits_first_makes_expiry_look_again() {
    let world = World::new(&[]).await;
    for value in 0..3 {
        world.append(0, &[value]).await;
    }
    let stale = world.table().await;
    let newest = world.append(0, &[3]).await;
    let (table, done, _) = expire(&world.catalog, stale, &Held::default(), &later(true), None).await.expect("expired");
    assert_eq!((done.gone.len(), table.ancestors()), (3, vec![newest]));
    assert_eq!(world.values().await, [0, 1, 2, 3]);
}
