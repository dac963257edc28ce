//! Which snapshots go, and what stays readable.

use iceberg::TableUpdate;
use iceberg::spec::{Operation as Done, Snapshot, SnapshotReference, SnapshotRetention, Summary};

use super::super::catalog::MetadataChange;
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
    let table = reload(&catalog).await;
    let head = table.metadata().current_snapshot().expect("a snapshot");
    let entries = [("engine-name".to_owned(), "spark".to_owned())];
    let summary = Summary { operation: Done::Append, additional_properties: entries.into() };
    let foreign = Snapshot::builder()
        .with_snapshot_id(77)
        .with_parent_snapshot_id(Some(head.snapshot_id()))
        .with_sequence_number(table.metadata().next_sequence_number())
        .with_timestamp_ms(head.timestamp_ms())
        .with_manifest_list(head.manifest_list().to_owned())
        .with_summary(summary)
        .with_schema_id(table.schema_id())
        .build();
    let retention = SnapshotRetention::branch(None, None, None);
    let main =
        TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference: SnapshotReference::new(77, retention) };
    update(&catalog, vec![TableUpdate::AddSnapshot { snapshot: foreign }, main]).await;
    ids.extend([77, append(&catalog, &[(Some(9), None, 9)]).await.snapshot_id]);
    assert_eq!(expire(&catalog).await, 2);
    assert_eq!(left(&catalog).await, ids[2..]);
    assert_eq!(values_of(&reload(&catalog).await).await, [0, 1, 9]);
}
