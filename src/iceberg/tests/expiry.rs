//! Which snapshots go, and what stays readable.

use iceberg::TableUpdate;
use iceberg::spec::{Operation as Done, Snapshot, SnapshotReference, SnapshotRetention, Summary};

use super::super::catalog::MetadataChange;
use super::super::expire::expirable;
use super::*;

/// A table of so many snapshots, each with a row; everything but `keep` of them is old enough to go.
async fn table_of(catalog: &Catalog, snapshots: i64, keep: &str, more: &[(&str, &str)]) -> Vec<i64> {
    let mut spec = spec(vec![hour_of("t")]);
    let properties = [("history.expire.max-snapshot-age-ms", "-1"), ("history.expire.min-snapshots-to-keep", keep)];
    spec.properties = properties.iter().chain(more).map(|(key, value)| ((*key).into(), (*value).into())).collect();
    catalog.create(&name(), &spec).await.expect("a table");
    let mut ids = Vec::new();
    for value in 0..snapshots {
        ids.push(append(catalog, &[(Some(value), Some("a"), value)]).await.snapshot_id);
    }
    ids
}

async fn update(catalog: &Catalog, updates: Vec<TableUpdate>) {
    let table = reload(catalog).await;
    let change = MetadataChange { updates, requirements: Vec::new() };
    catalog.backend.commit(&table, &change).await.expect("updated");
}

async fn expire(catalog: &Catalog) -> usize {
    catalog.expire_snapshots(&name()).await.expect("answers")
}

/// Adds a snapshot of another engine without any change, made so long after the newest.
async fn foreign(catalog: &Catalog, id: i64, later_ms: i64) {
    let table = reload(catalog).await;
    let head = table.metadata().current_snapshot().expect("a snapshot");
    let entries = [("engine-name".to_owned(), "spark".to_owned())];
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(Some(head.snapshot_id()))
        .with_sequence_number(table.metadata().next_sequence_number())
        .with_timestamp_ms(head.timestamp_ms() + later_ms)
        .with_manifest_list(head.manifest_list().to_owned())
        .with_summary(Summary { operation: Done::Append, additional_properties: entries.into() })
        .with_schema_id(table.schema_id())
        .build();
    let mut updates = vec![TableUpdate::AddSnapshot { snapshot }];
    updates.extend(branch("main", id));
    update(catalog, updates).await;
}

fn branch(name: &str, snapshot_id: i64) -> Vec<TableUpdate> {
    let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
    vec![TableUpdate::SetSnapshotRef { ref_name: name.into(), reference }]
}

/// The snapshots of the metadata, oldest first.
async fn left(catalog: &Catalog) -> Vec<i64> {
    let table = reload(catalog).await;
    let mut snapshots: Vec<_> = table.metadata().snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    snapshots.iter().map(|snapshot| snapshot.snapshot_id()).collect()
}

fn manifest_lists(folder: &Path) -> usize {
    let folder = folder.join("warehouse/marts/hits/metadata");
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name());
    files.filter(|name| name.to_string_lossy().starts_with("snap-")).count()
}

#[tokio::test]
async fn the_oldest_snapshots_go_and_every_row_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let ids = table_of(&catalog, 6, "2", &[]).await;
    assert_eq!(expire(&catalog).await, 4);
    assert_eq!((left(&catalog).await, manifest_lists(folder.path())), (ids[4..].to_vec(), 2));
    let table = reload(&catalog).await;
    assert_eq!(values_of(&table).await, [0, 1, 2, 3, 4, 5]);
    assert!(ids.iter().all(|&id| !table.left_behind(id)), "what has expired was not rolled back");
    assert_eq!(expire(&catalog).await, 0);
    append(&catalog, &[(Some(6), None, 6)]).await;
    assert_eq!(expire(&catalog).await, 1);
    assert_eq!(values_of(&reload(&catalog).await).await.len(), 7);
}

#[tokio::test]
async fn nothing_young_goes_by_itself_and_nothing_at_all_where_the_table_forbids_it() {
    for (properties, snapshots) in [
        (&[("history.expire.max-snapshot-age-ms", "3600000")][..], 4),
        (&[("history.expire.min-snapshots-to-keep", "4")], 4),
        (&[("gc.enabled", "false")], 4),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = open(folder.path()).await;
        table_of(&catalog, snapshots, "1", properties).await;
        assert_eq!(expire(&catalog).await, 0, "{properties:?}");
    }
    // What holds where the table says nothing: a day, and a hundred.
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    by_hour(&catalog).await;
    append(&catalog, &[(Some(0), None, 0)]).await;
    append(&catalog, &[(Some(0), None, 0)]).await;
    assert_eq!(expire(&catalog).await, 0);
}

#[tokio::test]
async fn what_a_tag_or_a_branch_is_built_on_or_a_property_names_stays_and_all_above_it() {
    let reference = |snapshot_id, retention| SnapshotReference::new(snapshot_id, retention);
    let tag = |id| {
        let ref_name = "audit".to_owned();
        let reference = reference(id, SnapshotRetention::Tag { max_ref_age_ms: None });
        vec![TableUpdate::SetSnapshotRef { ref_name, reference }]
    };
    let branch = |id| {
        let ref_name = "audit".to_owned();
        vec![TableUpdate::SetSnapshotRef {
            ref_name,
            reference: reference(id, SnapshotRetention::branch(None, None, None)),
        }]
    };
    let property = |id: i64| {
        let updates = std::collections::HashMap::from([("kappa.job.snapshot".to_owned(), id.to_string())]);
        vec![TableUpdate::SetProperties { updates }]
    };
    type Update<'a> = &'a dyn Fn(i64) -> Vec<TableUpdate>;
    let cases: [(Update<'_>, usize); 3] = [(&tag, 0), (&branch, 0), (&property, 2)];
    for (updates, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = open(folder.path()).await;
        let ids = table_of(&catalog, 6, "1", &[]).await;
        update(&catalog, updates(ids[2])).await;
        assert_eq!(expire(&catalog).await, expected);
        assert_eq!(left(&catalog).await, ids[expected..]);
        assert_eq!(reload(&catalog).await.ancestors().len(), 6 - expected, "no gap in what is left");
    }
}

#[tokio::test]
async fn what_another_engine_made_stays_and_all_above_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let mut ids = table_of(&catalog, 2, "1", &[]).await;
    foreign(&catalog, 77, 0).await;
    ids.extend([77, append(&catalog, &[(Some(9), None, 9)]).await.snapshot_id]);
    assert_eq!(expire(&catalog).await, 2);
    assert_eq!(left(&catalog).await, ids[2..]);
    assert_eq!(values_of(&reload(&catalog).await).await, [0, 1, 9]);
}

#[tokio::test]
async fn age_counts_from_when_another_took_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let hour_ms = 3_600_000;
    let age = ("history.expire.max-snapshot-age-ms", "3600000");
    let ids = table_of(&catalog, 3, "1", &[age]).await;
    foreign(&catalog, 77, 10 * hour_ms).await;
    let table = reload(&catalog).await;
    let newest_ms = table.metadata().current_snapshot().expect("a snapshot").timestamp_ms();
    let going = |now_ms| expirable(&table, now_ms).iter().map(|snapshot| snapshot.snapshot_id()).collect::<Vec<_>>();
    assert_eq!(going(newest_ms + hour_ms / 2), ids[..2], "the third was read until half an hour ago");
    assert_eq!(going(newest_ms + 2 * hour_ms), ids);
}

#[tokio::test]
async fn snapshots_are_known_with_what_holds_them_and_go_only_if_nothing_was_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    let ids = table_of(&catalog, 6, "1", &[("kappa.hits.snapshot", "77")]).await;
    update(&catalog, branch("audit", ids[5])).await;
    // `main` is set back, and goes on from there.
    update(&catalog, branch("main", ids[3])).await;
    foreign(&catalog, 77, 0).await;
    let table = reload(&catalog).await;
    let lineage = table.lineage();
    let held = |facts: &[SnapshotFact]| facts.iter().map(|fact| (fact.id, fact.is_referenced)).collect::<Vec<_>>();
    let main = [(77, true), (ids[3], true), (ids[2], false), (ids[1], false), (ids[0], false)];
    assert_eq!(held(&lineage.main), main, "the branch left `main` at the fourth");
    assert_eq!(held(&lineage.aside), [(ids[4], true), (ids[5], true)]);
    assert_eq!(lineage.main.iter().map(|fact| fact.is_named).collect::<Vec<_>>(), [true, false, false, false, false]);
    assert!(lineage.main[0].replaced.is_none() && lineage.main[1].replaced == Some(lineage.main[0].made));
    update(&catalog, branch("later", ids[1])).await;
    let refused = catalog.remove_snapshots(&table, &ids[..2]).await.expect_err("a branch has been made");
    assert!(matches!(refused, CommitError::Conflict { .. }), "{refused}");
    assert_eq!(left(&catalog).await.len(), 7);
}
