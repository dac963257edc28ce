//! Others at the same table at the same time, and a death between two commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use kappa::backfill::{self, BackfillError, BackfillOptions, BackfillReport, Conflict};
use kappa::event::EventTime;
use kappa::iceberg::{Change, CompactOptions, Operation, PartitionRange, Remove, compact};
use kappa::job::Plan;
use kappa::ownership::NotWritable;
use kappa::recompute::{Requested, Scope};

use super::log::{Log, Record};
use super::rig::{DRAINED, How, Rig, between, job};

const EXACT: How = How { drain: false, widen: false, include_late: false };

fn sql(result: &str) -> String {
    format!(
        "CREATE STREAM events (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
         LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
         INSERT INTO ICEBERG 'marts.{result}' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(events, t, INTERVAL '10 minutes')
         GROUP BY window_start, window_end, host;"
    )
}

/// A record every minute of the first four hours of 2026, one of them an hour late now and then.
fn log() -> Log {
    let record = |minute: i64| -> Record {
        let now = 1_767_225_600_000_000 + minute * 60_000_000;
        let time = if minute % 50 == 49 { now - 3_600_000_000 } else { now };
        (now, format!(r#"{{"host":"h{}","t":"{}"}}"#, minute % 3, EventTime(time)))
    };
    Log::new(vec![(0..240).map(record).collect()])
}

/// Backfills, and lets somebody else in when the first records are read.
pub(super) async fn interrupted(
    rig: &Rig,
    plan: &Arc<Plan>,
    range: std::ops::Range<EventTime>,
    others: impl Future<Output = ()>,
) -> Result<BackfillReport, BackfillError> {
    let requested = Requested { range, widen: false, drain: false };
    let options = BackfillOptions { requested, include_late: false, workers: 1, memory_max: None };
    let reads = AtomicBool::new(false);
    let watch = |_: &Scope, _: u64| reads.store(true, Ordering::SeqCst);
    let mut backfill = std::pin::pin!(backfill::run(plan, &rig.catalog, &options, &watch));
    let mut others = std::pin::pin!(others);
    // The backfill comes to its first records, then everything of the others happens, then it goes on. What it computed
    // meanwhile is not committed: its engine answers to a later poll only.
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = backfill.as_mut().poll(context) {
            panic!("it ended before it read: {done:?}");
        }
        if reads.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    others.as_mut().await;
    backfill.await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_backfills_of_one_range_is_refused_and_may_run_again() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
    let first = async {
        rig.backfill(&plan, range.clone(), &EXACT).await;
    };
    let second = interrupted(&rig, &plan, range.clone(), first).await.expect_err("the range has changed");
    assert!(matches!(second, BackfillError::Changed { .. }), "{second}");
    assert!(second.to_string().contains("run it again"), "{second}");
    let rows = rig.rows("marts.hits", &[]).await;
    rig.backfill(&plan, range.clone(), &EXACT).await;
    assert_eq!(rig.rows("marts.hits", &[]).await, rows);
    rig.assert_equal(&plan, range, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backfills_of_different_ranges_go_side_by_side() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    let other = async {
        rig.backfill(&plan, between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"), &EXACT).await;
    };
    let done = interrupted(&rig, &plan, between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), other).await;
    done.expect("the ranges don't touch");
    rig.assert_equal(&plan, between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_goes_on_above_the_sealed_edge_meanwhile() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    rig.live(&plan, &log().up_to(150), false).await;
    let whole_log = log();
    let live = async {
        rig.live(&plan, &whole_log, false).await;
    };
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    interrupted(&rig, &plan, range, live).await.expect("the live run writes above the range");
    rig.assert_equal(&plan, between("2026-01-01T00:00:00Z", "2026-01-01T03:50:00Z"), false).await;
    let late = rig.rows("marts.hits_late", &[]).await;
    assert_eq!(late.len(), 4, "{late:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_that_begins_meanwhile_is_seen() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    // It has published nothing yet: its claim is all there is to see.
    let log = log().up_to(0);
    let live = async {
        rig.live(&plan, &log, false).await;
    };
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    let refused = interrupted(&rig, &plan, range.clone(), live).await.expect_err("live owns the range now");
    assert!(matches!(refused, BackfillError::NotWritable(NotWritable::NothingSealed { .. })), "{refused}");
    assert!(rig.rows("marts.hits", &[]).await.is_empty());
    let planned = rig.plan(&plan, range, &EXACT).await;
    assert!(matches!(planned.conflicts[..], [Conflict::NotWritable(_)]), "{:?}", planned.conflicts);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_by_others_in_the_range_does_not_matter() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    rig.archive(&plan, &log()).await;
    // Two runs leave two files in the second hour.
    for rows in [80, 110, 240] {
        rig.live(&plan, &log().up_to(rows), false).await;
    }
    let insert = &plan.inserts[0];
    let compacting = async {
        let partition = PartitionRange { field: insert.partitions[0].clone(), from: range.start, to: range.end };
        let options = CompactOptions {
            sort: vec!["window_start".to_owned(), "host".to_owned()],
            small_files_min: 1,
            ..CompactOptions::default()
        };
        let change = compact(&rig.catalog, &insert.table, &partition, &options).await.expect("files are readable");
        if let Some(change) = change {
            rig.catalog.commit(&change).await.expect("nothing stands against it");
        }
    };
    interrupted(&rig, &plan, range.clone(), compacting).await.expect("the rows are the same");
    rig.assert_equal(&plan, range, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_add_to_the_range_are_a_conflict_once_and_replaced_the_next_time() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    rig.backfill(&plan, range.clone(), &EXACT).await;
    let foreign = async {
        // Somebody deletes the range: rows of it are gone.
        let table = rig.table("marts.hits").await.expect("it is there");
        let field = plan.inserts[0].partitions[0].clone();
        let remove = Remove::Partitions(vec![PartitionRange { field, from: range.start, to: range.end }]);
        let change = Change { operation: Operation::Overwrite, remove, ..Change::nothing(&table) };
        rig.catalog.commit(&change).await.expect("nothing stands against it");
    };
    let refused = interrupted(&rig, &plan, range.clone(), foreign).await.expect_err("the range has changed");
    assert!(matches!(refused, BackfillError::Changed { .. }), "{refused}");
    rig.backfill(&plan, range.clone(), &EXACT).await;
    rig.assert_equal(&plan, range, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_results_and_late_rows_is_mended_by_the_next_run() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    rig.live(&plan, &log(), true).await;
    let range = between("2025-12-31T23:00:00Z", "2026-01-01T04:00:00Z");
    let (rows, late) = (rig.rows("marts.hits", &[]).await, rig.rows("marts.hits_late", &[]).await);
    assert_eq!(late.len(), 4);
    // As it is when only the results were committed: late rows counted, and still in the late table.
    let table = rig.table("marts.hits_late").await.expect("it is there");
    let newest = table.current_snapshot_id().expect("it has rows");
    rig.backfill(&plan, range.clone(), &How { include_late: true, ..DRAINED }).await;
    assert!(rig.rows("marts.hits_late", &[]).await.is_empty());
    assert_ne!(rig.rows("marts.hits", &[]).await, rows);
    assert_ne!(rig.table("marts.hits_late").await.and_then(|table| table.current_snapshot_id()), Some(newest));
    rig.backfill(&plan, range.clone(), &DRAINED).await;
    assert_eq!((rig.rows("marts.hits", &[]).await, rig.rows("marts.hits_late", &[]).await), (rows, late));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_of_other_jobs_in_a_shared_late_table_stay() {
    let rig = Rig::new().await;
    let shared = |result: &str| sql(result);
    let with_late = |result: &str| {
        let text = shared(result);
        let text = text.strip_suffix(';').expect("ends with one");
        format!("{text} LATE INTO ICEBERG 'late.events';")
    };
    let (one, two) = (job("one", &with_late("one")), job("two", &with_late("two")));
    rig.archive(&one, &log()).await;
    rig.live(&one, &log(), true).await;
    rig.live(&two, &log(), true).await;
    let before = rig.rows("late.events", &[]).await;
    assert_eq!(before.len(), 8);
    rig.backfill(&one, between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), &How { include_late: true, ..DRAINED })
        .await;
    let after = rig.rows("late.events", &[]).await;
    assert_eq!(after.iter().filter(|line| line.contains("marts.two")).count(), 4);
    assert!(after.len() < before.len() && after.iter().any(|line| line.contains("marts.one")), "{after:#?}");
    rig.backfill(&one, between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), &DRAINED).await;
    assert_eq!(rig.rows("late.events", &[]).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_jobs_result_and_another_layout_are_refused() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("hits"));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    rig.backfill(&plan, range.clone(), &EXACT).await;
    let thief = job("thief", &sql("hits"));
    let refused = rig.try_backfill(&thief, range.clone(), &EXACT).await.expect_err("it is another job's");
    assert!(matches!(refused, BackfillError::NotWritable(NotWritable::OtherJob { .. })), "{refused}");
    let other = job("hits", &sql("hits").replace("count(*) AS n", "count(*) AS number"));
    let refused = rig.try_backfill(&other, range.clone(), &EXACT).await.expect_err("the columns differ");
    assert!(matches!(refused, BackfillError::Layout { .. }), "{refused}");
    let planned = rig.plan(&other, range, &EXACT).await;
    assert!(matches!(planned.conflicts[..], [Conflict::Layout { .. }]), "{:?}", planned.conflicts);
    let properties: BTreeMap<_, _> =
        rig.table("marts.hits").await.expect("it is there").properties().clone().into_iter().collect();
    assert_eq!(properties.get("kappa.owner").map(String::as_str), Some("hits"));
}
