//! Writers at the same time, and answers that get lost.

use super::super::testing::forgetful;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_with_catalogs_of_their_own_lose_no_row() {
    let folder = tempfile::tempdir().expect("a folder");
    by_hour(&open(folder.path()).await).await;
    let writers = (0..4).map(|writer| {
        let root = folder.path().to_owned();
        tokio::spawn(async move {
            let catalog = open(&root).await;
            for round in 0..6 {
                if writer == 3 {
                    append(&catalog, &[(Some(9 * HOUR), Some("d"), 1_000 + round)]).await;
                    continue;
                }
                let table = reload(&catalog).await;
                let mut change = Change { operation: Operation::Overwrite, ..Change::nothing(&table) };
                change.remove = hours(writer, writer + 1);
                change.add = stage(&table, &[(Some(writer * HOUR), None, writer * 100 + round)]).await;
                catalog.commit(&change).await.expect("overwritten");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let table = reload(&open(folder.path()).await).await;
    assert_eq!(table.ancestors().len(), 24);
    assert_eq!(values_of(&table).await, [5, 105, 205, 1_000, 1_001, 1_002, 1_003, 1_004, 1_005]);
    // Losers clean up: two metadata files (manifest and list) a snapshot are not exceeded by the rewrites.
    let lists = std::fs::read_dir(folder.path().join("warehouse/marts/hits/metadata")).expect("a folder");
    let names = lists.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    assert_eq!(names.filter(|name| name.starts_with("snap-")).count(), 24);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_creators_all_get_the_same_table() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).await;
    let creators = (0..4).map(|_| {
        let root = folder.path().to_owned();
        tokio::spawn(async move { by_hour(&open(&root).await).await.uuid() })
    });
    let mut uuids = Vec::new();
    for creator in creators.collect::<Vec<_>>() {
        uuids.push(creator.await.expect("no panic"));
    }
    uuids.dedup();
    assert_eq!(uuids.len(), 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_lands_once() {
    for (lands, attempts) in [(true, 1), (false, 3)] {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = open(folder.path()).await;
        let table = by_hour(&inner).await;
        let catalog = forgetful(&inner, lands, 2);
        let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
        change.add = stage(&table, &[(Some(0), None, 1)]).await;
        let done = catalog.commit(&change).await.expect("landed");
        assert_eq!(done.attempts, attempts);
        let table = reload(&inner).await;
        assert_eq!((table.ancestors(), values_of(&table).await), (vec![done.snapshot_id], vec![1]));
    }
}
