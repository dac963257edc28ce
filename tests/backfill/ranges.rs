//! What a range covers: its edges, what is emptied, what is refused.

use kappa::backfill::{BackfillError, Conflict};
use kappa::event::EventTime;
use kappa::recompute::RangeError;
use kappa::start::Start;

use super::log::{Log, Record};
use super::rig::{DRAINED, How, Rig, at, between, job};

const EXACT: How = How { drain: false, widen: false, include_late: false };

fn sql(condition: &str) -> String {
    format!(
        "CREATE STREAM events (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
         LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
         INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(events, t, INTERVAL '10 minutes')
         {condition} GROUP BY window_start, window_end, host;"
    )
}

fn record(time: &str, host: &str) -> Record {
    (at(time).0, format!(r#"{{"host":"{host}","t":"{time}"}}"#))
}

/// Records of three hours in two partitions; the last is of 02:30.
fn log() -> Log {
    let hosts = |host: &str| -> Vec<Record> {
        ["00:05", "00:15", "01:05", "02:00", "02:30"]
            .into_iter()
            .map(|time| record(&format!("2026-01-01T{time}:00Z"), host))
            .collect()
    };
    Log::new(vec![hosts("a"), hosts("b")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_live_job_is_made() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    let planned = rig.plan(&plan, range.clone(), &EXACT).await;
    assert!(!planned.inserts[0].exists && planned.conflicts.is_empty());
    assert!(rig.table("marts.hits").await.is_none(), "a plan writes nothing");
    let done = rig.backfill(&plan, range.clone(), &EXACT).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].removed, done.inserts[0].late), (6, 0, 0));
    assert!(rig.table("marts.hits_late").await.is_none(), "without late records there is no late table");
    rig.assert_equal(&plan, range, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_live_run_begins_behind_what_a_backfill_has_published() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    rig.backfill(&plan, range.clone(), &EXACT).await;
    let refused = rig.try_live(&plan, &log(), true, Start::Earliest).await.expect_err("its windows are there");
    assert_eq!(
        refused.to_string(),
        "marts.hits has rows, but job hits has no checkpoint: it would publish their windows a \
         second time; begin behind them with --start 2026-01-01T02:00:00Z, or write to another table"
    );
    // It has claimed nothing, so a backfill may still have the range.
    rig.backfill(&plan, range, &EXACT).await;
    let start = Start::Time(at("2026-01-01T02:00:00Z"));
    rig.try_live(&plan, &log(), true, start).await.expect("nothing is published from there on");
    assert_eq!(rig.rows("marts.hits", &[]).await.len(), 10);
    rig.assert_equal(&plan, between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_for_which_no_rows_come_out_are_emptied() {
    let rig = Rig::new().await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    let before = job("hits", &sql(""));
    rig.archive(&before, &log()).await;
    rig.backfill(&before, range.clone(), &DRAINED).await;
    // All but the first hour's rows of one host.
    let after = job("hits", &sql("WHERE host = 'a' AND t < TIMESTAMP '2026-01-01 01:00:00'"));
    let planned = rig.plan(&after, range.clone(), &DRAINED).await;
    let rows: Vec<_> = planned.inserts[0].partitions.values().map(|rows| (rows.current, rows.expected)).collect();
    assert_eq!(rows, [(4, Some(2)), (2, Some(0)), (4, Some(0))]);
    let hour = between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
    let done = rig.backfill(&after, hour.clone(), &DRAINED).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].removed), (0, 2));
    assert_eq!(rig.rows("marts.hits", &[]).await.len(), 8, "the other hours are as they were");
    rig.assert_equal(&after, hour, true).await;
    rig.backfill(&after, range.clone(), &DRAINED).await;
    assert_eq!(rig.rows("marts.hits", &[]).await.len(), 2);
    rig.assert_equal(&after, range, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_what_is_complete_a_range_is_refused_unless_drained() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    let refused = rig.try_backfill(&plan, range.clone(), &EXACT).await.expect_err("the last hour isn't complete");
    assert_eq!(
        refused.to_string(),
        "history raw.events isn't complete for the range: it is complete up to 2026-01-01T02:29:00Z, and the last windows \
         of marts.hits need 2026-01-01T03:00:00Z; archive on, end the range at 2026-01-01T02:00:00Z, or take the end of \
         history for the end of the log with --drain"
    );
    assert!(rig.table("marts.hits").await.is_none(), "nothing was made");
    let planned = rig.plan(&plan, range.clone(), &EXACT).await;
    assert!(matches!(&planned.conflicts[..], [Conflict::Incomplete(incomplete)] if incomplete.idle.is_empty()));
    rig.backfill(&plan, range.clone(), &DRAINED).await;
    rig.assert_equal(&plan, range, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_ends_at_the_sealed_edge_of_the_live_job() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    rig.live(&plan, &log(), false).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    let refused = rig.try_backfill(&plan, range, &DRAINED).await.expect_err("live may change the last hour");
    assert!(matches!(refused, BackfillError::NotWritable(_)), "{refused}");
    assert!(refused.to_string().contains("sealed only up to 2026-01-01T02:00:00Z"), "{refused}");
    let sealed = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    rig.backfill(&plan, sealed, &EXACT).await;
    rig.live(&plan, &log(), true).await;
    let all = between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    rig.assert_equal(&plan, all, true).await;
    assert_eq!(rig.rows("marts.hits", &[]).await.len(), 10, "no window twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_are_refused_with_the_nearest_or_grown_to_them() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    let cut = between("2026-01-01T00:10:00Z", "2026-01-01T01:10:00Z");
    let refused = rig.try_backfill(&plan, cut.clone(), &EXACT).await.expect_err("it cuts hours");
    assert!(matches!(refused, BackfillError::Range(RangeError::Edges { .. })), "{refused}");
    let done = rig.backfill(&plan, cut, &How { widen: true, ..EXACT }).await;
    assert_eq!(done.range, between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_the_edges_of_a_range_fall_in_the_right_windows() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    let edges = [
        record("2026-01-01T00:59:59.999999Z", "before"),
        record("2026-01-01T01:00:00Z", "first"),
        record("2026-01-01T01:59:59.999999Z", "last"),
        record("2026-01-01T02:00:00Z", "after"),
        record("2026-01-01T03:00:00Z", "later"),
        // Late for the last window of the range, and for the first behind it.
        record("2026-01-01T01:59:59.999999Z", "late"),
        record("2026-01-01T02:00:00Z", "late"),
        record("2026-01-01T01:00:00Z", "late"),
        record("2026-01-01T00:59:59.999999Z", "late"),
    ];
    let log = Log::new(vec![edges.to_vec()]);
    rig.archive(&plan, &log).await;
    let done = rig.backfill(&plan, between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"), &EXACT).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].late), (2, 2));
    let rows = rig.rows("marts.hits", &[]).await;
    assert!(rows[0].contains("first") && rows[1].contains("last") && rows.len() == 2, "{rows:#?}");
    let late = rig.rows("marts.hits_late", &[]).await;
    assert!(late.iter().all(|line| line.contains("_seen=2026-01-01T03:00:00Z")), "{late:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_any_record_empties_nothing_and_is_no_error() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql(""));
    rig.archive(&plan, &log()).await;
    let done = rig.backfill(&plan, EventTime(0)..at("1970-01-02T00:00:00Z"), &EXACT).await;
    assert_eq!((done.records, done.inserts[0].rows, done.inserts[0].removed), (0, 0, 0));
}
