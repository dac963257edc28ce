//! A run that takes over from backfills, on the real broker: what is said where it can't, and how it goes on where it can.

use super::hours::{Hours, JOB};
use crate::support::kafka;

const WATERMARK: &str = "WATERMARK FOR t AS t";
const END: [&str; 2] = ["--until", "end"];
const HISTORY: [&str; 4] = ["--start", "history", "--until", "end"];

/// Six hours of one record each, all archived.
fn archived(start: &[&str]) -> Hours {
    let hours = Hours::new(1, &[], WATERMARK);
    hours.send(&[(0, "00:30"), (0, "01:30"), (0, "02:30"), (0, "03:30"), (0, "04:30"), (0, "05:30")]);
    hours.kappa(&["archive"], &[start, &END[..]].concat()).ok();
    hours
}

fn backfill(hours: &Hours, from: &str, to: &str) {
    let time = |hour: &str| format!("2026-01-01T{hour}:00:00Z");
    hours.kappa(&["backfill", "run"], &["--from", &time(from), "--to", &time(to)]).ok();
}

#[test]
fn there_must_be_something_to_go_on_from() {
    let hours = archived(&[]);
    hours.says("hand-over-not-backfilled", &["run"], &HISTORY);
    backfill(&hours, "00", "03");
    let history = format!("HISTORY FROM ICEBERG '{}'", hours.table("history"));
    hours.edit(&history, "");
    hours.says("hand-over-no-history", &["run"], &HISTORY);
    hours.edit("FORMAT JSON", &format!("FORMAT JSON {history}"));
    hours.kappa(&["run"], &HISTORY).ok();
    let counts = hours.results();
    assert_eq!(counts, ["00:00", "01:00", "02:00", "03:00", "04:00"].map(|hour| (hour.to_owned(), 1)));
}

#[test]
fn a_table_that_somebody_else_filled_is_no_history_to_go_on_from() {
    let hours = archived(&[]);
    backfill(&hours, "00", "03");
    let job = std::fs::read_to_string(hours.project.path().join(JOB)).expect("it was written");
    let history = format!("HISTORY FROM ICEBERG '{}'", hours.table("history"));
    hours
        .project
        .write("jobs/other.sql", job.replace(&history, "").replace(&hours.table("result"), &hours.table("foreign")));
    hours.project.kappa(&["run", "jobs/other.sql", "--until", "end"]).ok();
    hours.edit(&hours.table("history"), &hours.table("foreign"));
    hours.says("hand-over-foreign", &["run"], &HISTORY);
}

#[test]
fn results_must_end_at_one_time() {
    let hours = archived(&[]);
    backfill(&hours, "00", "03");
    let (result, late) = (hours.table("result"), hours.table("late"));
    let second = format!(
        "LATE INTO ICEBERG '{late}';
         INSERT INTO ICEBERG '{result}_2' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, count(*) AS records FROM TUMBLE(events, t, INTERVAL '1 hour')
         GROUP BY window_start, window_end LATE INTO ICEBERG '{late}';"
    );
    hours.edit(&format!("LATE INTO ICEBERG '{late}';"), &second);
    backfill(&hours, "00", "02");
    hours.says("hand-over-differ", &["run"], &HISTORY);
    backfill(&hours, "02", "03");
    hours.kappa(&["run"], &HISTORY).ok();
    assert_eq!((hours.row_count("result"), hours.row_count("result_2")), (5, 5));
}

#[test]
fn no_record_may_be_missing_between_history_and_log() {
    let hours = archived(&[]);
    backfill(&hours, "00", "03");
    hours.send(&[(0, "06:30"), (0, "07:30"), (0, "08:30")]);
    kafka::trim(&hours.topic, 0, 8);
    hours.says("hand-over-gap", &["run"], &HISTORY);
    kafka::make_anew(&hours.topic, 1);
    hours.send(&[(0, "06:30")]);
    hours.says("hand-over-beyond-log", &["run"], &HISTORY);
}

#[test]
fn a_history_that_was_begun_in_the_middle_says_from_where_on_it_is_whole() {
    let line_of_three = |hours: &Hours| hours.offsets(&[(0, 3)]);
    let hours = Hours::new(1, &[], WATERMARK);
    hours.send(&[(0, "00:30"), (0, "01:30"), (0, "02:30"), (0, "03:30"), (0, "04:30"), (0, "05:30")]);
    hours.kappa(&["archive"], &["--start", line_of_three(&hours), "--until", "end"]).ok();
    backfill(&hours, "00", "04");
    hours.says("hand-over-cut-off", &["run"], &HISTORY);
    let vouched = [&HISTORY[..], &["--whole-from", "2026-01-01T04:00:00Z"]].concat();
    hours.kappa(&["run"], &vouched).ok();
    assert_eq!(hours.results(), ["03:00", "04:00"].map(|hour| (hour.to_owned(), 1)));

    let hours = archived(&["--start", "2026-01-01T03:00:00Z"]);
    backfill(&hours, "00", "02");
    hours.says("hand-over-whole-from", &["run"], &HISTORY);
}
