//! The same rows and late records from history as live, for every way of cutting time.

use std::ops::Range;

use kappa::event::EventTime;

use super::log::{Log, Record};
use super::rig::{DRAINED, How, Rig, at, between, job};

const MINUTE: i64 = 60_000_000;

/// A small generator of numbers: what matters is only that they are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % end
    }
}

/// Four partitions over `span` from `start`: out of order beyond the bound, on edges, with nulls, doubles of all sizes,
/// rejects, records beyond MAX FUTURE, and tags on which an expression fails.
fn log(start: EventTime, span: i64, records: i64) -> Log {
    bursts(start, span, records, 1)
}

/// The same with records of a burst at one time, as the history of a long time has a file for each hour.
fn bursts(start: EventTime, span: i64, records: i64, burst: i64) -> Log {
    let mut numbers = Numbers(7);
    let mut partitions: Vec<Vec<Record>> = vec![Vec::new(); 4];
    for index in 0..records {
        let now = start.0 + span * (index / burst * burst) / records;
        let behind = match numbers.below(10) {
            0 => numbers.below(30 * MINUTE),
            1..4 => numbers.below(MINUTE),
            _ => 0,
        };
        let mut time = now - behind;
        if numbers.below(8) == 0 {
            time -= time.rem_euclid(MINUTE);
        }
        let stamp = now.max(0);
        let partition = (numbers.below(4)) as usize;
        let text = match numbers.below(40) {
            0 => "broken".to_owned(),
            // Only where the log has timestamps of its own can a record lie ahead of them.
            1 if now > 0 => message(stamp + 3 * 60 * MINUTE, index, &mut numbers),
            _ => message(time, index, &mut numbers),
        };
        partitions[partition].push((stamp, text));
    }
    Log::new(partitions)
}

fn message(time: i64, index: i64, numbers: &mut Numbers) -> String {
    let host = ["\"a\"", "\"b\"", "\"c\"", "null"][numbers.below(4) as usize];
    let x = ["1e300", "-1e300", "1e-300", "0.1", "-0.0", "3.25", "null"][numbers.below(7) as usize];
    let tag = ["00ff", "zz", "", "a0"][if numbers.below(20) == 0 { 1 } else { [0, 2, 3][numbers.below(3) as usize] }];
    let time = EventTime(time);
    format!(r#"{{"host":{host},"x":{x},"tag":"{tag}","note":"n{index}","t":"{time}"}}"#)
}

fn sql(result: &str, insert: &str, max_future: &str) -> String {
    format!(
        "CREATE STREAM events (host TEXT, x DOUBLE, tag TEXT, note TEXT, t TIMESTAMP NOT NULL,
           WATERMARK FOR t AS t - INTERVAL '30 seconds'{max_future})
         LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
         {}",
        insert.replace("RESULT", result)
    )
}

/// Every column that a query needs, and an expression that fails on some records.
fn insert(partitions: &str, window: &str) -> String {
    format!(
        "INSERT INTO ICEBERG 'marts.RESULT' PARTITIONED BY ({partitions})
         SELECT window_start, window_end, window_time, host, count(*) AS n, sum(x) AS s, avg(x) AS a, min(x) AS low,
                count(decode(tag, 'hex')) AS good, first_value(tag) AS tag
         FROM TUMBLE(events, t, {window}) GROUP BY window_start, window_end, window_time, host;"
    )
}

/// Runs live and backfills the same job into other tables, in pieces; all of it must be the same.
async fn same_as_live(insert: &str, max_future: &str, log: &Log, pieces: &[Range<EventTime>]) {
    let rig = Rig::new().await;
    let live = job("live", &sql("live", insert, max_future));
    let backfill = job("backfill", &sql("backfill", insert, max_future));
    rig.archive(&live, log).await;
    rig.live(&live, log, true).await;
    for piece in pieces {
        rig.backfill(&backfill, piece.clone(), &DRAINED).await;
        rig.assert_equal(&live, piece.clone(), true).await;
        rig.assert_equal(&backfill, piece.clone(), true).await;
    }
    let (published, recomputed) = (rig.rows("marts.live", &[]).await, rig.rows("marts.backfill", &[]).await);
    assert!(published.len() > 10, "the case says something");
    assert_eq!(published, recomputed);
    let late = rig.rows("marts.live_late", &["result"]).await;
    for reason in ["\"late\"", "\"expression\""] {
        let count = late.iter().filter(|line| line.contains(reason)).count();
        assert!(count > 0, "no record of the case is late with reason {reason}");
    }
    assert_eq!(late, rig.rows("marts.backfill_late", &["result"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_in_hours_hour_by_hour_in_any_order() {
    let log = log(at("2026-01-01T00:00:00Z"), 3 * 60 * MINUTE, 3_000);
    let hours = [
        between("2026-01-01T02:00:00Z", "2026-01-01T04:00:00Z"),
        between("2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"),
        between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"),
    ];
    same_as_live(&insert("hour(window_start)", "INTERVAL '1 minute'"), "", &log, &hours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_do_not_divide_their_partitions() {
    let log = log(at("2026-01-01T00:00:00Z"), 3 * 60 * MINUTE, 3_000);
    let hours = [
        between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        between("2026-01-01T01:00:00Z", "2026-01-01T04:00:00Z"),
        between("2025-12-31T22:00:00Z", "2026-01-01T00:00:00Z"),
    ];
    let window = "INTERVAL '7 minutes', INTERVAL '2 minutes'";
    same_as_live(&insert("hour(window_start)", window), "", &log, &hours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_window_end_and_of_window_time() {
    let log = log(at("2026-01-01T00:00:00Z"), 3 * 60 * MINUTE, 2_000);
    let hours = [
        between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"),
        between("2025-12-31T22:00:00Z", "2026-01-01T01:00:00Z"),
        between("2026-01-01T02:00:00Z", "2026-01-01T04:00:00Z"),
    ];
    for column in ["window_end", "window_time"] {
        let partitions = format!("host, hour({column})");
        same_as_live(&insert(&partitions, "INTERVAL '25 minutes'"), "", &log, &hours).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn months_before_1970() {
    let log = bursts(at("1969-10-20T00:00:00Z"), 100 * 24 * 60 * MINUTE, 1_500, 100);
    let months = [
        between("1969-12-01T00:00:00Z", "1970-02-01T00:00:00Z"),
        between("1969-10-01T00:00:00Z", "1969-12-01T00:00:00Z"),
    ];
    same_as_live(&insert("month(window_start)", "INTERVAL '6 hours'"), " MAX FUTURE NONE", &days_late(&log), &months)
        .await;
}

/// Over months a record is late only if it comes hours behind.
fn days_late(log: &Log) -> Log {
    let mut partitions = (*log.partitions).clone();
    for records in &mut partitions {
        let early: Vec<Record> = records.iter().take(20).cloned().collect();
        records.extend(early);
    }
    Log::new(partitions)
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_and_days_of_one_job_on_edges_of_both() {
    let log = log(at("2026-01-01T12:00:00Z"), 20 * 60 * MINUTE, 2_000);
    let days = format!(
        "{}{}",
        insert("hour(window_start)", "INTERVAL '10 minutes'"),
        insert("day(window_end)", "INTERVAL '1 hour'").replace("marts.RESULT", "marts.RESULT_days")
    );
    let rig = Rig::new().await;
    let live = job("live", &sql("live", &days, ""));
    let backfill = job("backfill", &sql("backfill", &days, ""));
    rig.archive(&live, &log).await;
    rig.live(&live, &log, true).await;
    let cut = between("2026-01-01T13:00:00Z", "2026-01-02T01:00:00Z");
    let refused = rig.try_backfill(&backfill, cut.clone(), &DRAINED).await.expect_err("hours cut days").to_string();
    assert!(refused.contains("[2026-01-01T00:00:00Z, 2026-01-03T00:00:00Z)"), "{refused}");
    let widened = rig.backfill(&backfill, cut, &How { widen: true, ..DRAINED }).await;
    assert_eq!(widened.range, between("2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"));
    for table in ["", "_days"] {
        assert_eq!(
            rig.rows(&format!("marts.live{table}"), &[]).await,
            rig.rows(&format!("marts.backfill{table}"), &[]).await
        );
        assert_eq!(
            rig.rows(&format!("marts.live{table}_late"), &["result"]).await,
            rig.rows(&format!("marts.backfill{table}_late"), &["result"]).await
        );
    }
    // A comparison may cut partitions.
    rig.assert_equal(&live, between("2026-01-01T13:07:00Z", "2026-01-02T01:30:00Z"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_late_records_takes_them_out_of_the_late_table_but_for_those_that_fail() {
    let rig = Rig::new().await;
    let log = log(at("2026-01-01T00:00:00Z"), 2 * 60 * MINUTE, 2_000);
    let insert = insert("hour(window_start)", "INTERVAL '1 minute'");
    let live = job("live", &sql("live", &insert, ""));
    rig.archive(&live, &log).await;
    rig.live(&live, &log, true).await;
    let range = between("2025-12-31T23:00:00Z", "2026-01-01T03:00:00Z");
    let (before, late) = (rig.rows("marts.live", &[]).await, rig.rows("marts.live_late", &[]).await);
    let include = How { include_late: true, ..DRAINED };
    let planned = rig.plan(&live, range.clone(), &include).await;
    let expected: u64 = planned.inserts[0].partitions.values().filter_map(|partition| partition.expected).sum();
    assert_eq!(planned.inserts[0].late, Some(late.len() as u64));
    let done = rig.backfill(&live, range.clone(), &include).await;
    assert_eq!(done.inserts[0].rows, expected);
    let failing: Vec<String> = rig.rows("marts.live_late", &[]).await;
    assert!(failing.iter().all(|line| line.contains("\"expression\"")), "{failing:#?}");
    // Records that fail while they are late were late only; now they fail.
    assert!(late.iter().filter(|line| line.contains("\"expression\"")).all(|line| failing.contains(line)));
    let counted = |rows: &[String]| {
        let number = |line: &String| line.split("n=Integer(").nth(1)?.split(')').next()?.parse::<usize>().ok();
        rows.iter().filter_map(number).sum::<usize>()
    };
    let after = rig.rows("marts.live", &[]).await;
    assert_eq!(counted(&after) + failing.len(), counted(&before) + late.len());
    let found = rig.diff(&live, range.clone(), true).await;
    assert!(!found.is_equal() && found.inserts[0].late_included.is_some());
    rig.backfill(&live, range.clone(), &DRAINED).await;
    assert_eq!((rig.rows("marts.live", &[]).await, rig.rows("marts.live_late", &[]).await), (before, late));
    rig.assert_equal(&live, range, true).await;
}
