//! From a backfill to a live run: what both have published together is what a run from the beginning publishes.

use std::sync::Arc;

use kappa::handing::HandOverError;
use kappa::job::Plan;
use kappa::live::{RunError, RunOptions};
use kappa::start::{Start, StartError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::log::{Log, Record};
use super::rig::{How, Rig, at, between, job};

const EXACT: How = How { drain: false, widen: false, include_late: false };
const BEGIN: &str = "2026-01-01T00:00:00Z";
/// Some of the first records are late for windows before it.
const FROM: &str = "2025-12-31T23:00:00Z";
const EDGE: &str = "2026-01-01T02:00:00Z";
/// Records of each partition, and those that are archived.
const ROWS: usize = 400;
const ARCHIVED: usize = 300;

const SQL: &str = "
    CREATE STREAM events (host TEXT, x DOUBLE, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
    LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
    INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
    SELECT window_start, window_end, host, count(*) AS n, sum(x) AS x FROM TUMBLE(events, t, INTERVAL '7 minutes')
    GROUP BY window_start, window_end, host;
    INSERT INTO ICEBERG 'marts.ends' PARTITIONED BY (hour(window_end))
    SELECT window_start, window_end, avg(x) AS x FROM TUMBLE(events, t, INTERVAL '20 minutes')
    GROUP BY window_start, window_end;";

/// Four hours in three partitions, each with late records, broken ones and some beyond MAX FUTURE.
fn log(seed: u64) -> Log {
    let mut random = StdRng::seed_from_u64(seed);
    let mut partition = || -> Vec<Record> {
        let mut clock = at(BEGIN).0;
        let mut record = || {
            clock += random.random_range(0..72_000_000);
            let time = match random.random_range(0..10) {
                0 => clock - random.random_range(0..1_500_000_000),
                _ => clock,
            };
            let stamp = if random.random_range(0..50) == 0 { time - 7_200_000_000 } else { clock };
            let text = chrono::DateTime::from_timestamp_micros(time).expect("a time").to_rfc3339();
            let (host, x) = (random.random_range(0..4), random.random_range(0.0..1e9));
            match random.random_range(0..40) {
                0 => (stamp, "broken".to_owned()),
                _ => (stamp, format!(r#"{{"host":"h{host}","x":{x},"t":"{text}"}}"#)),
            }
        };
        (0..ROWS).map(|_| record()).collect()
    };
    Log::new((0..3).map(|_| partition()).collect())
}

/// Everything that the job has published, the positions of late rows included.
async fn published(rig: &Rig) -> [Vec<String>; 4] {
    [
        rig.rows("marts.hits", &[]).await,
        rig.rows("marts.ends", &[]).await,
        rig.rows("marts.hits_late", &["x"]).await,
        rig.rows("marts.ends_late", &["x"]).await,
    ]
}

/// Without the late rows of records that came to the log after the backfill, for windows that it has published: those
/// windows are the backfill's, so the run leaves them alone.
fn owned(late: &[String], first_window: &str) -> Vec<String> {
    let is_owned = |row: &&String| {
        let value =
            |name: &str| row.split(name).nth(1).and_then(|rest| rest.split([' ', ')']).next()).expect("it has it");
        let offset: usize = value("_offset=Integer(").parse().expect("a number");
        offset < ARCHIVED || value("first_late=") >= first_window
    };
    late.iter().filter(is_owned).cloned().collect()
}

fn from_history(workers: usize) -> RunOptions {
    RunOptions { workers, drain: true, start: Start::History, ..RunOptions::default() }
}

/// A project whose history holds the first records as a job archives them, with the first two hours backfilled by another.
async fn backfilled(archiver: &Plan, plan: &Arc<Plan>, log: &Log) -> Rig {
    let rig = Rig::new().await;
    rig.archive(archiver, &log.up_to(ARCHIVED)).await;
    rig.backfill(plan, between(FROM, EDGE), &EXACT).await;
    rig
}

/// Asserts that a backfill and a run behind it publish what one run over the whole log does, and gives that.
async fn assert_taken_over(archiver: &Plan, plan: &Arc<Plan>, log: &Log, workers: usize) -> [Vec<String>; 4] {
    let whole = Rig::new().await;
    whole.live(plan, log, true).await;
    let [hits, ends, hits_late, ends_late] = published(&whole).await;
    // The first window of the other result ends at the edge.
    let ends_late = owned(&ends_late, "2026-01-01T01:40:00Z");
    let wanted = [hits, ends, owned(&hits_late, EDGE), ends_late];
    // Nothing is gone; what the first windows need is gone, but archived.
    for low in [0, ARCHIVED as i64] {
        let rig = backfilled(archiver, plan, log).await;
        let report = rig.live_by(plan, &log.trimmed(low), from_history(workers)).await.expect("takes over");
        assert!(report.taken["events"] < 3 * ROWS as u64, "not all of it is read again");
        let found = published(&rig).await;
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(!wanted.is_empty());
            assert_eq!(found, wanted, "{workers} workers, log from {low}");
        }
    }
    wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_and_the_run_that_takes_over_are_a_run_from_the_beginning() {
    let plan = job("hits", SQL);
    for (seed, workers) in [(1, 1), (2, 2)] {
        assert_taken_over(&plan, &plan, &log(seed), workers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_bring_nothing_new_have_seen_what_history_says() {
    let (plan, log) = (job("hits", SQL), log(6));
    let rig = backfilled(&plan, &plan, &log).await;
    let (archived, gone) = (log.up_to(ARCHIVED), ARCHIVED as i64);
    let taken = rig.live_by(&plan, &archived.trimmed(gone), RunOptions { drain: false, ..from_history(1) }).await;
    taken.expect("takes over");
    let manifest = rig.manifest(&plan).await.expect("a checkpoint");
    assert!(manifest.watermark > at(EDGE), "{}", manifest.watermark);
    assert!(manifest.streams["events"].values().all(|at| at.seen.is_some()), "{:?}", manifest.streams);
    rig.live(&plan, &log.trimmed(gone), true).await;
    let whole = Rig::new().await;
    whole.live(&plan, &log, true).await;
    assert_eq!(published(&rig).await[..2], published(&whole).await[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_over_where_another_bound_or_max_future_has_archived() {
    let (archiver, log) = (job("hits", SQL), log(5));
    let mut all = Vec::new();
    // Some records are two hours ahead of their timestamps.
    for rules in
        ["'20 minutes'", "'1 second'", "'1 minute' MAX FUTURE INTERVAL '3 hours'", "'1 minute' MAX FUTURE NONE"]
    {
        let plan = job("hits", &SQL.replace("INTERVAL '1 minute')", &format!("INTERVAL {rules})")));
        all.push(assert_taken_over(&archiver, &plan, &log, 2).await);
    }
    assert!(all[0] != all[1] && all[1] != all[2], "the declarations make a difference");
    assert_eq!(all[2], all[3], "none is more than two hours ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_in_history_nor_in_the_log_is_refused() {
    let (plan, log) = (job("hits", SQL), log(3));
    let rig = backfilled(&plan, &plan, &log).await;
    let refused = rig.live_by(&plan, &log.trimmed(ARCHIVED as i64 + 1), from_history(1)).await;
    let refused = refused.expect_err("one record of each partition is nowhere");
    assert!(matches!(refused, RunError::Start(StartError::HistoryGap { end: 300, low: 301, .. })), "{refused}");
    assert!(refused.to_string().contains("1 offset, 300 to 300, is in neither"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_over_only_from_backfills_of_complete_windows() {
    let (plan, log) = (job("hits", SQL), log(4));
    let rig = Rig::new().await;
    rig.archive(&plan, &log.up_to(100)).await;
    let refused = rig.live_by(&plan, &log, from_history(1)).await.expect_err("nothing was backfilled");
    assert!(matches!(refused, RunError::HandOver(HandOverError::NotBackfilled { .. })), "{refused}");
    let drained = How { drain: true, ..EXACT };
    rig.backfill(&plan, between(FROM, "2026-01-01T04:00:00Z"), &drained).await;
    let refused = rig.live_by(&plan, &log, from_history(1)).await.expect_err("its last windows are cut off");
    assert!(matches!(refused, RunError::HandOver(HandOverError::NotBackfilled { .. })), "{refused}");
}
