//! A partition that is added, or wakes up, when windows of its records are already published: the one way in which live and
//! backfill can differ. The late table keeps the records, `diff` names them, and a backfill counts them.

use crate::model::Value;
use crate::support::kafka::{self, Producer};
use crate::support::python::sound_tables;

use super::hours::{Hours, LIMIT};

const RANGE: [&str; 4] = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T06:00:00Z"];

#[test]
fn a_partition_added_while_running_is_read_and_what_is_behind_the_watermark_is_named() {
    let hours = Hours::new(1, &[("topic.metadata.refresh.interval.ms", "200")], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (0, "01:30"), (0, "02:30"), (0, "03:30")]);
    let mut run = hours.run(&[]);
    hours.wait_for_results(&mut run, 3);
    kafka::add_partitions(&hours.topic, 2);
    // The first is in time by its own partition, as nothing stands before it; the second in time altogether.
    hours.send(&[(1, "01:15"), (1, "03:40")]);
    run.wait_until("a record is late", LIMIT, || hours.row_count("late") > 0);
    hours.send(&[(0, "06:00"), (1, "06:00")]);
    hours.wait_for_results(&mut run, 4);
    run.terminate();
    run.wait(LIMIT).ok();
    assert_eq!(hours.results(), counts(&[("00:00", 1), ("01:00", 1), ("02:00", 1), ("03:00", 2)]));
    let report = named_and_backfilled(&hours, (1, 0));
    assert!(report.contains("0 missing, 0 extra, 1 changed"), "{report}");
    assert_eq!(hours.results(), counts(&[("00:00", 1), ("01:00", 2), ("02:00", 1), ("03:00", 2)]));
}

#[test]
fn what_a_partition_brings_that_was_idle_is_named_if_it_is_behind_the_watermark() {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t IDLE AFTER INTERVAL '0.001' SECOND");
    hours.send(&[(0, "00:30"), (1, "00:40"), (0, "03:30")]);
    let mut run = hours.run(&[]);
    // Partition 0 never rests, so it is the other one that becomes idle: then the first hour is closed.
    let producer = Producer::new(&[]);
    let mut milliseconds = 0;
    run.wait_until("an hour is published", LIMIT, || {
        milliseconds += 1;
        producer.send(
            &hours.topic,
            &hours.messages(&[(0, &format!("03:30:{:02}.{:03}", milliseconds / 1_000, milliseconds % 1_000))]),
        );
        hours.row_count("result") > 0
    });
    producer.flush();
    hours.send(&[(1, "01:10")]);
    run.wait_until("a record is late", LIMIT, || hours.row_count("late") > 0);
    hours.send(&[(0, "06:00"), (1, "06:00")]);
    hours.wait_for_results(&mut run, 2);
    run.terminate();
    run.wait(LIMIT).ok();
    let in_the_third = milliseconds + 1;
    assert_eq!(hours.results(), counts(&[("00:00", 2), ("03:00", in_the_third)]));
    let report = named_and_backfilled(&hours, (1, 1));
    assert!(report.contains("1 missing, 0 extra, 0 changed"), "{report}");
    assert_eq!(hours.results(), counts(&[("00:00", 2), ("01:00", 1), ("03:00", in_the_third)]));
}

/// The late table holds the record at `position` and no other; `diff` says why a row differs, a backfill mends it, and then
/// none does. Answers what `diff` said.
fn named_and_backfilled(hours: &Hours, position: (i32, i64)) -> String {
    let [late] = sound_tables(&hours.project, [&hours.table("late")]);
    assert_eq!(late.positions(), [position]);
    assert_eq!(late.rows()[0][late.index("reason")], Value::from("behind_watermark"));
    hours.kappa(&["archive"], &["--until", "end"]).ok();
    let differing = hours.kappa(&["diff"], &RANGE).exits(4);
    let named = "  1 record came behind the watermark (behind_watermark) when it ran live: a backfill counts them\n";
    assert!(differing.stdout.contains(named), "{}", differing.stdout);
    assert!(differing.stdout.contains("1 row differs"), "{}", differing.stdout);
    hours.kappa(&["backfill", "run"], &RANGE).ok();
    let equal = hours.kappa(&["diff"], &RANGE).ok();
    assert!(!equal.stdout.contains("behind_watermark"), "{}", equal.stdout);
    let [late] = sound_tables(&hours.project, [&hours.table("late")]);
    assert_eq!(late.positions(), []);
    differing.stdout
}

fn counts(hours: &[(&str, i64)]) -> Vec<(String, i64)> {
    hours.iter().map(|&(hour, count)| (hour.to_owned(), count)).collect()
}
