//! Jobs that were moved, and those who look at them before the run has worked off what that means.

use std::sync::Arc;

use kappa::diff::DiffError;
use kappa::event::{EventTime, ResumeOffset};
use kappa::job::Plan;
use kappa::reposition::{Destination, Positions, RepositionError, Upgrade};

use super::log::{Log, Record};
use super::mortal::Death;
use super::rig::{Rig, at, between, job};

const BEGIN: &str = "2026-01-01T00:00:00Z";

const SQL: &str = "
    CREATE STREAM events (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
    LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
    INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
    SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(events, t, INTERVAL '10 minutes')
    GROUP BY window_start, window_end, host;";

/// Six hours in two partitions, a record a minute, some of them late.
fn log() -> Log {
    let partition = |shift: i64| -> Vec<Record> {
        let record = |minute: i64| {
            let stamp = at(BEGIN).0 + minute * 60_000_000 + shift;
            let time = if minute % 11 == 10 { stamp - 1_500_000_000 } else { stamp };
            (stamp, format!(r#"{{"host":"h{}","t":"{}"}}"#, minute % 3, EventTime(time)))
        };
        (0..360).map(record).collect()
    };
    Log::new(vec![partition(0), partition(17_000_000)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_published_again_is_not_compared() {
    let (plan, log) = (job("hits", SQL), log());
    let rig = Rig::in_memory().await;
    rig.archive(&plan, &log).await;
    rig.live(&plan, &log, false).await;
    let (from, middle, to) = (BEGIN, "2026-01-01T02:30:00Z", "2026-01-01T05:00:00Z");
    rig.assert_equal(&plan, between(from, to), false).await;

    let places = (0..2).map(|partition| (partition, ResumeOffset(0))).collect();
    let positions = Positions {
        streams: [("events".to_owned(), places)].into(),
        first_windows: [(plan.inserts[0].table.clone(), at(middle))].into(),
        ..Positions::default()
    };
    rig.moved(&plan, &Destination::Reset(positions)).await;
    let refused = rig.try_diff(&plan, between(from, to), false).await.expect_err("windows are to be replaced");
    let DiffError::PublishedAgain { again, .. } = &refused else { panic!("{refused}") };
    assert_eq!(again.start, at(middle));
    let message = refused.to_string();
    assert!(message.starts_with(&format!("[{middle}, ")), "{message}");
    assert!(message.ends_with(&format!("or compare the range before it, [{from}, {middle})")), "{message}");
    let refused = rig.try_diff(&plan, between(middle, to), false).await.expect_err("all of it is to be replaced");
    assert!(refused.to_string().ends_with(&format!("or compare a range that ends at or before {middle}")), "{refused}");
    // What stays as it is can be compared.
    rig.assert_equal(&plan, between(from, middle), false).await;
    rig.live(&plan, &log, false).await;
    rig.assert_equal(&plan, between(from, to), false).await;
}

/// Another version of the job: it counts every record so many times.
fn version(number: i64) -> Arc<Plan> {
    job("hits", &SQL.replace("count(*)", &format!("count(*) * {number}")))
}

/// Rows of both tables after one run over the whole log.
async fn from_scratch(plan: &Arc<Plan>, log: &Log) -> [Vec<String>; 2] {
    let rig = Rig::in_memory().await;
    rig.live(plan, log, true).await;
    [rig.rows("marts.hits", &[]).await, rig.rows("marts.hits_late", &[]).await]
}

/// The value of a column of a late row, as far as the next character that ends it.
fn value<'a>(row: &'a str, column: &str) -> &'a str {
    let rest = row.split(column).nth(1).expect("it has the column");
    rest.split([' ', ')']).next().expect("it has a value")
}

fn offset(row: &str) -> i64 {
    value(row, "_offset=Integer(").parse().expect("a number")
}

fn first_late(row: &str) -> EventTime {
    at(value(row, "first_late="))
}

/// A job that has run over four hours and ten minutes of a log, of which this much is archived.
async fn ran(log: &Log, archived: usize) -> Rig {
    let rig = Rig::in_memory().await;
    rig.archive(&version(1), &log.up_to(archived)).await;
    rig.live(&version(1), &log.up_to(250), false).await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_takes_from_history_what_the_log_does_not_hold_any_more() {
    let log = log();
    let (old, new) = (from_scratch(&version(1), &log).await, from_scratch(&version(2), &log).await);
    let first = at("2026-01-01T04:00:00Z");
    let is_old = |row: &&String| at(&row["window_start=".len()..][..BEGIN.len()]) < first;
    let mut wanted: Vec<String> = old[0].iter().filter(is_old).cloned().collect();
    wanted.extend(new[0].iter().filter(|row| !is_old(row)).cloned());
    assert!(old[1] == new[1] && !old[1].is_empty(), "lateness has nothing to do with versions");
    // What came behind the old version's run, late for windows below the new one's first, is for their backfill to say.
    let late: Vec<String> =
        new[1].iter().filter(|row| offset(row) < 250 || first_late(row) >= first).cloned().collect();
    assert!(late.len() < new[1].len(), "there are such records");

    let rig = ran(&log, 300).await;
    let Upgrade::Done(upgraded) = rig.upgrade(&version(2), &log.trimmed(280)).await else { panic!("it differs") };
    assert_eq!(upgraded.done.moves.first_window, first);
    let manifest = rig.manifest(&version(2)).await.expect("an upgrade is a checkpoint");
    assert_eq!(manifest.from_history, [("events".to_owned(), first)].into());
    // Before the job runs, more is archived, and the log loses that, too.
    rig.archive(&version(1), &log.up_to(320).trimmed(280)).await;
    let left = log.trimmed(310);
    for call in [4, 30, 60, 90] {
        let (mortal, view) = rig.mortal(Death { call, performed: call % 4 == 0 }).await;
        view.lives(mortal.live(&version(2), &left, false)).await;
    }
    rig.live(&version(2), &left, true).await;
    assert_eq!(rig.rows("marts.hits", &[]).await, wanted);
    assert_eq!(rig.rows("marts.hits_late", &[]).await, late);
    rig.archive(&version(1), &left).await;
    rig.assert_equal(&version(2), first..at("2026-01-01T06:00:00Z"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_refused_where_neither_log_nor_history_hold_its_first_window() {
    let log = log();
    let rig = ran(&log, 270).await;
    let refused = rig.try_upgrade(&version(2), &log.trimmed(280)).await.expect_err("ten minutes are in neither");
    let message = refused.to_string();
    assert!(matches!(refused, RepositionError::NotHeld { .. }), "{message}");
    for part in
        ["begins at offset 280", "--whole-from TIME", "; history can't give it either: ", "10 offsets, 270 to 279"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
    // The job stands where it stood.
    rig.live(&version(1), &log, true).await;
    assert_eq!(rig.rows("marts.hits", &[]).await, from_scratch(&version(1), &log).await[0]);
}
