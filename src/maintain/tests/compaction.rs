//! Which files are rewritten.

use super::super::compaction::{Group, Rule, Settled, batches, compact, plan};
use super::*;
use crate::checkpoints::Manifest;
use crate::iceberg::ScanFile;

fn file(hour: i64, bytes: u64) -> ScanFile {
    let times = BTreeMap::from([("t".to_owned(), (EventTime(hour * HOUR), EventTime(hour * HOUR + 1)))]);
    let partition = vec![("t_hour".to_owned(), Some(hour.to_string()))];
    ScanFile { path: format!("{hour}-{bytes}"), records: 1, bytes, lower: None, upper: None, times, partition }
}

fn rule(settled: Settled) -> Rule {
    let times = vec![PartitionField { column: "t".into(), transform: Transform::Hour }];
    Rule { target_bytes: 100, settled, times }
}

fn planned(files: Vec<ScanFile>, settled: Settled) -> Vec<(usize, u64)> {
    plan(files, &rule(settled)).iter().map(|group| (group.files.len(), group.bytes)).collect()
}

#[test]
fn several_small_files_of_a_partition_that_is_settled_are_rewritten() {
    let files = || vec![file(0, 10), file(0, 24), file(0, 25), file(1, 10), file(2, 1), file(2, 2)];
    assert_eq!(planned(files(), Settled::All), [(2, 34), (2, 3)]);
    assert_eq!(planned(files(), Settled::Below(EventTime(3 * HOUR))), [(2, 34), (2, 3)]);
    assert_eq!(planned(files(), Settled::Below(EventTime(3 * HOUR - 1))), [(2, 34)]);
    assert_eq!(planned(files(), Settled::Below(EventTime::MIN)), []);
    assert_eq!(planned(files(), Settled::Below(EventTime::MAX)).len(), 2);
    let untold = |bytes| ScanFile { times: BTreeMap::new(), ..file(0, bytes) };
    assert_eq!(planned(vec![untold(1), untold(2)], Settled::Below(EventTime::MAX)), [], "nobody knows when it is");
    assert_eq!(planned(vec![untold(1), untold(2)], Settled::All), [(2, 3)]);
}

#[test]
fn commits_are_of_bounded_size() {
    let group = |bytes| Group { files: vec![file(0, 1)], bytes };
    let sizes = |groups: Vec<Group>| batches(groups).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(vec![group(1); 300]), [128, 128, 44]);
    assert_eq!(
        sizes(vec![group(900 << 20), group(100 << 20), group(100 << 20), group(2 << 30), group(1)]),
        [2, 1, 1, 1]
    );
}

async fn settled(properties: &[(&str, &str)], held: &Held) -> Settled {
    let world = World::new(properties).await;
    Rule::of(&world.table().await, held).expect("properties are ours").settled
}

#[tokio::test]
async fn a_running_job_keeps_what_it_has_not_sealed_to_itself() {
    let (owner, claim) = (("kappa.owner", "hits"), ("kappa.hits.generation", "0000000001"));
    let edge = ("kappa.sealed_edge", "1970-01-01T05:00:00.000000Z");
    let again = ("kappa.republish", "1970-01-01T02:00:00.000000Z/1970-01-01T05:00:00.000000Z");
    let none = Held::default();
    assert_eq!(settled(&[], &none).await, Settled::All);
    assert_eq!(settled(&[owner], &none).await, Settled::All, "only backfills have written it");
    assert_eq!(settled(&[owner, claim], &none).await, Settled::Below(EventTime::MIN));
    assert_eq!(settled(&[owner, claim, edge], &none).await, Settled::Below(EventTime(5 * HOUR)));
    assert_eq!(settled(&[owner, claim, edge, again], &none).await, Settled::Below(EventTime(2 * HOUR)));
    let stream = ("kappa.stream", "{}");
    assert_eq!(settled(&[stream], &none).await, Settled::All);
    let mut held = Held::default();
    for (number, watermark) in [(2, 7), (1, 6)] {
        held.take(&Manifest { watermark: EventTime(watermark), ..checkpoint(number) }).expect("nothing is staged");
    }
    assert_eq!(settled(&[stream], &held).await, Settled::Below(EventTime(7)));
}

#[tokio::test]
async fn files_are_rewritten_in_order_by_a_replace_that_keeps_properties() {
    let world = World::new(&[("kappa.note", "kept")]).await;
    for values in [[5, 1], [4, 2], [3, 6]] {
        world.append(0, &values).await;
    }
    world.append(1, &[7]).await;
    let done = world.done(&MaintainOptions { retain_last: Some(9), ..later(true) }).await;
    assert_eq!((done.files.files, done.files.partitions, done.files.into, done.files.left), (3, 1, 1, 0));
    let table = world.table().await;
    assert_eq!(table.operation(table.current_snapshot_id().expect("one")), Some("replace"));
    assert_eq!(table.properties().get("kappa.note").map(String::as_str), Some("kept"));
    let files = plan_files(&table, None, &ScanFilter::default()).await.expect("planned");
    assert_eq!(files.iter().map(|file| file.records).collect::<BTreeSet<_>>(), BTreeSet::from([1, 6]));
    let large = files.iter().find(|file| file.records == 6).expect("it is there");
    let rows = read_file(&table, large, &["v".to_owned()], None).await.expect("opened");
    let rows: Vec<RecordBatch> = rows.try_collect().await.expect("read");
    let values: Vec<i64> =
        rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(values, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_another_takes_away_meanwhile_is_planned_again_and_no_row_is_lost() {
    let world = World::new(&[]).await;
    world.append(0, &[1]).await;
    world.append(0, &[2]).await;
    let stale = world.table().await;
    // Another compaction is first.
    compact(&world.catalog, world.table().await, &Held::default(), &later(true)).await.expect("compacted");
    world.append(0, &[3]).await;
    let done = compact(&world.catalog, stale, &Held::default(), &later(true)).await.expect("compacted");
    assert_eq!((done.files, done.left), (2, 0), "planned on what is there now");
    assert_eq!(world.values().await, [1, 2, 3]);
    // What the first round wrote is gone: 3 appends, 2 rewrites.
    assert_eq!(world.files().iter().filter(|file| file.ends_with(".parquet")).count(), 5);
}
