//! Rows named by what they hold, taken out of whatever files they stand in.

use super::*;

fn hour_cut(from: i64, to: i64) -> RowCut {
    RowCut::of_times("t", EventTime(from), EventTime(to))
}

async fn replace(catalog: &Catalog, cuts: &[RowCut], rows: &[Row]) -> u64 {
    let table = reload(catalog).await;
    let cut = cut_out(&table, cuts).await.expect("cut out");
    let mut change = Change { operation: Operation::Overwrite, ..Change::nothing(&table) };
    change.add = stage(&table, rows).await;
    change.add.extend(cut.kept);
    if !cut.files.is_empty() {
        change.remove = Remove::Files(cut.files);
    }
    catalog.commit_on(&table, &change).await.expect("replaced");
    cut.rows
}

#[tokio::test]
async fn exactly_the_rows_that_are_meant_go_whatever_files_they_are_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    by_hour(&catalog).await;
    // Two files of the first hour that hold rows in and out of the range, one inside of it, others outside.
    append(&catalog, &[(Some(1), None, 1), (Some(20), None, 2), (Some(30), None, 3)]).await;
    append(&catalog, &[(Some(19), Some("a"), 4), (Some(39), None, 5), (Some(40), None, 6)]).await;
    append(&catalog, &[(Some(25), None, 7), (Some(26), None, 8)]).await;
    append(&catalog, &[(Some(HOUR), None, 9), (None, None, 10)]).await;
    let kept = plan_files(&reload(&catalog).await, None, &ScanFilter::default()).await.expect("planned");
    let gone = replace(&catalog, &[hour_cut(20, 40)], &[(Some(20), None, 100)]).await;
    let table = reload(&catalog).await;
    assert_eq!((gone, values_of(&table).await), (5, vec![1, 4, 6, 9, 10, 100]));
    let left = plan_files(&table, None, &ScanFilter::default()).await.expect("planned");
    let untouched = left.iter().filter(|file| kept.iter().any(|before| before.path == file.path)).count();
    assert_eq!(untouched, 2, "the files of other hours are left alone");
    assert_eq!(replace(&catalog, &[hour_cut(20, 20), hour_cut(50, 60)], &[]).await, 0);
}

#[tokio::test]
async fn conditions_hold_together_and_cuts_add_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = open(folder.path()).await;
    by_hour(&catalog).await;
    let rows = [(Some(1), Some("a"), 1), (Some(2), Some("b"), 2), (Some(3), None, 3), (Some(HOUR), Some("a"), 4)];
    append(&catalog, &rows).await;
    let of = |name: &str, from, to| RowCut {
        equals: BTreeMap::from([("name".to_owned(), name.to_owned())]),
        ..hour_cut(from, to)
    };
    let cuts = [of("a", 0, HOUR), of("b", 5, HOUR)];
    assert_eq!(count_cut(&reload(&catalog).await, &cuts).await.expect("counted"), 1);
    assert_eq!(replace(&catalog, &cuts, &[]).await, 1);
    assert_eq!(values_of(&reload(&catalog).await).await, [2, 3, 4]);
}
