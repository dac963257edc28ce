//! One writer after the other, on every catalog and every kind of store.

use super::*;

async fn change(at: &impl Named, operation: Operation, remove: Remove, rows: &[Row]) -> Change {
    let table = reload(at).await;
    let mut change = Change { operation, ..Change::nothing(&table) };
    change.remove = remove;
    if !rows.is_empty() {
        change.add = stage(&table, rows).await;
    }
    change
}

async fn overwrite(at: &impl Named, remove: Remove, rows: &[Row]) -> Committed {
    let change = change(at, Operation::Overwrite, remove, rows).await;
    at.catalog().commit(&change).await.expect("overwritten")
}

fn operation_of(table: &Table) -> &str {
    table.operation(table.current_snapshot_id().expect("a snapshot")).expect("it has not expired")
}

#[tokio::test]
async fn an_overwrite_replaces_its_hours_out_of_several_snapshots_and_no_others() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        for value in 0..3 {
            let rows: Vec<Row> = (0..4).map(|hour| (Some(hour * HOUR + value), Some("a"), value)).collect();
            append(&catalog, &rows).await;
        }
        let done = overwrite(&catalog, hours(1, 3), &[(Some(HOUR), Some("new"), 100)]).await;
        assert_eq!((done.removed_files, done.removed_records, done.attempts), (6, 6, 1));
        let table = reload(&catalog).await;
        assert_eq!(operation_of(&table), "overwrite");
        assert_eq!(values_of(&table).await, [0, 0, 1, 1, 2, 2, 100]);
        assert_eq!(table.summary(done.snapshot_id).and_then(|summary| summary.get("total-records")), Some(&"7".into()));
    }
}

#[tokio::test]
async fn overwriting_an_empty_table_appends_and_an_overwrite_by_nothing_deletes() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        overwrite(&catalog, hours(0, 5), &[(Some(0), None, 1), (Some(7 * HOUR), None, 2)]).await;
        assert_eq!(operation_of(&reload(&catalog).await), "append");
        let done = overwrite(&catalog, hours(7, 8), &[]).await;
        assert_eq!(done.removed_records, 1);
        let table = reload(&catalog).await;
        assert_eq!((operation_of(&table), values_of(&table).await), ("delete", vec![1]));
        overwrite(&catalog, hours(7, 8), &[]).await;
        assert_eq!(values_of(&reload(&catalog).await).await, [1]);
        overwrite(
            &catalog,
            Remove::Partitions(vec![PartitionRange { field: hour_of("t"), from: EventTime::MIN, to: EventTime::MAX }]),
            &[],
        )
        .await;
        assert_eq!(values_of(&reload(&catalog).await).await, [0; 0]);
    }
}

#[tokio::test]
async fn rows_of_null_and_text_partitions_are_kept_apart_and_pruned_by_value() {
    for catalog in World::everywhere().await {
        let by_name = PartitionField { column: "name".into(), transform: Transform::Identity };
        catalog.create(&catalog.name(), &spec(vec![hour_of("t"), by_name])).await.expect("a table");
        let odd = "a/b ü%2F=..";
        append(
            &catalog,
            &[(Some(0), Some("zzz"), 1), (Some(0), None, 2), (None, Some("aaa"), 3), (Some(1), Some("zzz"), 4)],
        )
        .await;
        append(&catalog, &[(Some(2), None, 5), (None, None, 6), (Some(2), Some(odd), 7), (Some(3), Some(""), 8)]).await;
        let table = reload(&catalog).await;
        assert_eq!(values_of(&table).await, [1, 2, 3, 4, 5, 6, 7, 8]);
        for (wanted, found) in [("zzz", 2), (odd, 1), ("", 1), ("bbb", 0)] {
            let filter = ScanFilter { time: None, equals: vec![("name".into(), wanted.into())] };
            let files = plan_files(&table, None, &filter).await.expect("planned");
            assert_eq!(files.iter().map(|file| file.records).sum::<u64>(), found, "{wanted}");
        }
        // A range of time never holds rows without one.
        overwrite(&catalog, hours(0, 1), &[(Some(0), None, 9)]).await;
        assert_eq!(values_of(&reload(&catalog).await).await, [3, 6, 9]);
    }
}

#[tokio::test]
async fn properties_land_with_the_data_and_a_marker_lands_once() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        let mut first = change(&catalog, Operation::Append, Remove::None, &[(Some(0), None, 1)]).await;
        first.marker = Some(("kappa.job.checkpoint".into(), "1/7".into()));
        first.properties = BTreeMap::from([("kappa.job.offsets".into(), "0:5".into()), ("old".into(), "x".into())]);
        first.summary = BTreeMap::from([("kappa.checkpoint".into(), "7".into())]);
        first.snapshot_property = Some("kappa.job.snapshot".into());
        let done = catalog.commit(&first).await.expect("landed");
        let again = catalog.commit(&first).await.expect("it has landed before");
        assert_eq!(again, Committed { attempts: 0, ..done.clone() });
        let table = reload(&catalog).await;
        assert_eq!(values_of(&table).await, [1]);
        let property = |key: &str| table.properties().get(key).cloned();
        assert_eq!(property("kappa.job.offsets"), Some("0:5".into()));
        assert_eq!(property("kappa.job.checkpoint"), Some("1/7".into()));
        assert_eq!(property("kappa.job.snapshot"), Some(done.snapshot_id.to_string()));
        assert_eq!(
            table.summary(done.snapshot_id).and_then(|summary| summary.get("kappa.checkpoint")),
            Some(&"7".into())
        );

        let mut claim = change(&catalog, Operation::Empty, Remove::None, &[]).await;
        claim.properties = BTreeMap::from([("kappa.generation".into(), "2".into())]);
        claim.remove_properties = vec!["old".into(), "never there".into()];
        let claimed = catalog.commit(&claim).await.expect("claimed");
        let table = reload(&catalog).await;
        assert_eq!(table.current_snapshot_id(), Some(claimed.snapshot_id));
        assert_eq!(table.ancestors(), [claimed.snapshot_id, done.snapshot_id]);
        assert!(!table.properties().contains_key("old"));
        assert_eq!(values_of(&table).await, [1]);

        let mut zombie = change(&catalog, Operation::Append, Remove::None, &[(Some(0), None, 2)]).await;
        zombie.fence = Some(("kappa.generation".into(), Some("1".into())));
        let error = catalog.commit(&zombie).await.expect_err("a newer run owns the table");
        assert!(matches!(&error, CommitError::Fenced { found, .. } if found == "`2`"), "{error}");
    }
}

#[tokio::test]
async fn an_empty_change_of_an_empty_table_makes_a_snapshot() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        let claim = change(&catalog, Operation::Empty, Remove::None, &[]).await;
        catalog.commit(&claim).await.expect("claimed");
        append(&catalog, &[(Some(0), None, 1)]).await;
        let table = reload(&catalog).await;
        assert_eq!((table.ancestors().len(), values_of(&table).await), (2, vec![1]));
    }
}

#[tokio::test]
async fn a_change_planned_on_an_older_state_conflicts_only_where_rows_changed() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        append(&catalog, &[(Some(0), None, 1), (Some(0), None, 2)]).await;
        append(&catalog, &[(Some(HOUR), None, 3)]).await;
        append(&catalog, &[(Some(1), None, 4)]).await;
        let mut stale = change(&catalog, Operation::Overwrite, hours(0, 1), &[(Some(0), None, 10)]).await;
        stale.expect = Expect::Snapshot(reload(&catalog).await.current_snapshot_id());

        append(&catalog, &[(Some(5 * HOUR), None, 5)]).await;
        let range = PartitionRange { field: hour_of("t"), from: EventTime(0), to: EventTime(HOUR) };
        let replace = compact(&catalog, &catalog.name(), &range, &CompactOptions::default()).await.expect("compacted");
        catalog.commit(&replace.expect("two small files")).await.expect("replaced");
        catalog.commit(&stale).await.expect("another hour and a compaction don't matter");
        assert_eq!(values_of(&reload(&catalog).await).await, [3, 5, 10]);

        let mut stale = change(&catalog, Operation::Overwrite, hours(0, 1), &[(Some(0), None, 20)]).await;
        stale.expect = Expect::Snapshot(reload(&catalog).await.current_snapshot_id());
        append(&catalog, &[(Some(7), None, 6)]).await;
        let error = catalog.commit(&stale).await.expect_err("the hour has changed");
        assert!(matches!(&error, CommitError::Conflict { detail, .. } if detail.contains("changed")), "{error}");
        stale.expect = Expect::Any;
        catalog.commit(&stale).await.expect("what is there now is replaced");
        assert_eq!(values_of(&reload(&catalog).await).await, [3, 5, 20]);
    }
}

#[tokio::test]
async fn exactly_the_named_files_are_removed_or_it_is_a_conflict() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        append(&catalog, &[(Some(0), None, 1)]).await;
        let planned = plan_files(&reload(&catalog).await, None, &ScanFilter::default()).await.expect("planned");
        let files = Remove::Files(planned.iter().map(|file| file.path.clone()).collect());
        append(&catalog, &[(Some(0), None, 2)]).await;
        let mut wrong =
            change(&catalog, Operation::Replace, files.clone(), &[(Some(0), None, 1), (Some(0), None, 1)]).await;
        let error = catalog.commit(&wrong).await.expect_err("two rows for one").to_string();
        assert!(error.contains("puts 2 in place of 1"), "{error}");
        wrong.operation = Operation::Overwrite;
        catalog.commit(&wrong).await.expect("an overwrite may");
        assert_eq!(values_of(&reload(&catalog).await).await, [1, 1, 2]);
        let error = catalog.commit(&wrong).await.expect_err("the file is gone");
        assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_compaction_makes_one_sorted_file_a_partition_with_the_same_rows() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        for value in 0..4 {
            let rows = [(Some(HOUR - value), Some("x"), value), (Some(HOUR + 9 - value), None, 10 + value)];
            append(&catalog, &rows).await;
        }
        append(&catalog, &[(Some(3 * HOUR), None, 99)]).await;
        let before = rows_of(&reload(&catalog).await).await;
        let range = PartitionRange { field: hour_of("t"), from: EventTime(0), to: EventTime(4 * HOUR) };
        let options = CompactOptions { sort: vec!["t".into()], ..CompactOptions::default() };
        let change =
            compact(&catalog, &catalog.name(), &range, &options).await.expect("compacted").expect("small files");
        catalog.commit(&change).await.expect("replaced");
        let table = reload(&catalog).await;
        assert_eq!((operation_of(&table), rows_of(&table).await), ("replace", before));
        let files = plan_files(&table, None, &ScanFilter::default()).await.expect("planned");
        let mut records: Vec<u64> = files.iter().map(|file| file.records).collect();
        records.sort_unstable();
        assert_eq!(records, [1, 3, 5]);
        assert_eq!(compact(&catalog, &catalog.name(), &range, &options).await.expect("looked"), None);
        let error = catalog.commit(&change).await.expect_err("its inputs are gone");
        assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    }
}

#[tokio::test]
async fn many_commits_keep_few_manifests_and_all_rows() {
    for catalog in World::everywhere().await {
        let table = by_hour(&catalog).await;
        let staged = stage(&table, &[(Some(0), None, 1)]).await;
        for _ in 0..103 {
            let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
            change.add = staged.clone();
            catalog.commit(&change).await.expect("appended");
        }
        let table = reload(&catalog).await;
        let snapshot = table.metadata().current_snapshot().cloned().expect("a snapshot");
        assert_eq!(table.manifests(&snapshot).await.expect("read").len(), 3);
        assert_eq!(
            table.summary(snapshot.snapshot_id()).and_then(|summary| summary.get("total-records")),
            Some(&"103".into())
        );
        assert_eq!(plan_files(&table, None, &ScanFilter::default()).await.expect("planned").len(), 103);
        // Servers have a way of their own with old metadata.
        if let Some(folder) = catalog.folder() {
            let old = std::fs::read_dir(folder.join("warehouse/marts/hits/metadata")).expect("a folder");
            let names = old.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
            assert_eq!(names.filter(|name| name.ends_with(".metadata.json")).count(), 101);
        }
    }
}

#[tokio::test]
async fn a_table_created_anew_under_the_name_is_not_touched() {
    for catalog in World::everywhere().await {
        by_hour(&catalog).await;
        let old = change(&catalog, Operation::Append, Remove::None, &[(Some(0), None, 1)]).await;
        assert!(catalog.drop(&catalog.name()).await.expect("dropped"));
        assert!(!catalog.drop(&catalog.name()).await.expect("nothing there"));
        let error = catalog.commit(&old).await.expect_err("dropped");
        assert!(matches!(error, CommitError::TableGone { .. }), "{error}");
        by_hour(&catalog).await;
        let error = catalog.commit(&old).await.expect_err("another table").to_string();
        assert!(error.contains("created anew"), "{error}");
        assert_eq!(catalog.list(&catalog.name().namespace).await.expect("listed"), [catalog.name()]);
        assert_eq!(catalog.list(&["nowhere".into()]).await.expect("listed"), []);
    }
}

#[tokio::test]
async fn a_commit_on_one_state_never_lands_on_another() {
    for catalog in World::everywhere().await {
        let empty = by_hour(&catalog).await;
        let mut change = Change { operation: Operation::Append, ..Change::nothing(&empty) };
        change.add = stage(&empty, &[(Some(0), None, 1)]).await;
        let done = catalog.commit_on(&empty, &change).await.expect("nothing has happened");
        let error = catalog.commit_on(&empty, &change).await.expect_err("the table has moved on");
        assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
        let table = reload(&catalog).await;
        assert_eq!(values_of(&table).await, [1]);
        assert!(!table.left_behind(done.snapshot_id));
        assert!(empty.left_behind(done.snapshot_id));
        assert!(table.left_behind(done.snapshot_id ^ 1), "the history is whole, and it is not in there");
    }
}

#[tokio::test]
async fn a_table_that_does_not_fit_says_where() {
    for catalog in World::everywhere().await {
        let table = by_hour(&catalog).await;
        assert_eq!(table.difference(&spec(vec![hour_of("t")])), None);
        let fields = [("t", DataType::Int64), ("x", DataType::Utf8)].map(|(name, kind)| Field::new(name, kind, true));
        let other = TableSpec { schema: Arc::new(Schema::new(fields.to_vec())), ..spec(Vec::new()) };
        assert_eq!(
            table.difference(&other).as_deref(),
            Some(
                "its column `t` is Timestamp(µs, \"+00:00\"), not Int64; it has no column `x` (Utf8); \
             it is partitioned by hour(t), not by nothing"
            )
        );
    }
}
