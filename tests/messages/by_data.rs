//! What is said of windows that the data makes, where an edge cuts them or history doesn't hold them whole.

use kappa::event::{EventTime, TableName};
use kappa::iceberg::Change;
use kappa::sinks::HistoryProgress;

use super::commands::{catalog_of, says};
use crate::support::project::Project;

const STREAM: &str = "
CREATE STREAM clicks (
  host TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE    FROM FILE    'clicks.jsonl'
HISTORY FROM ICEBERG 'raw.clicks';
";

const INSERT: &str = "
INSERT INTO ICEBERG 'marts.visits' PARTITIONED BY (hour(window_end))
SELECT host, window_start, window_end, count(*) AS hits
FROM   SESSION(clicks PARTITION BY host, t, INTERVAL '10 minutes')
GROUP  BY host, window_start, window_end;
";

const CLICKS: &str = r#"{"host":"a","t":"2026-01-01T00:04:00Z"}
{"host":"a","t":"2026-01-01T00:12:00Z"}
{"host":"b","t":"2026-01-01T00:52:00Z"}
{"host":"a","t":"2026-01-01T01:56:00Z"}
{"host":"a","t":"2026-01-01T02:05:00Z"}
{"host":"a","t":"2026-01-01T02:14:00Z"}
{"host":"b","t":"2026-01-01T02:22:00Z"}
{"host":"a","t":"2026-01-01T02:23:00Z"}
"#;

const JOB: &str = "jobs/visits.sql";

fn project() -> Project {
    let project = Project::embedded();
    project.write("clicks.jsonl", CLICKS);
    project.write(JOB, format!("{STREAM}{INSERT}"));
    project
}

/// The same job with another column to go by.
fn by_start(project: &Project) {
    project.write(JOB, format!("{STREAM}{}", INSERT.replace("hour(window_end)", "hour(window_start)")));
}

#[test]
fn a_range_whose_windows_history_does_not_hold_whole_is_refused() {
    let project = project();
    by_start(&project);
    project.kappa(&["archive", JOB]).ok();
    let hours = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T02:00:00Z"];
    says(&project, "sessions-still-open", &[&["backfill", "run", JOB][..], &hours].concat());
    says(&project, "sessions-drained", &[&["backfill", "run", JOB, "--drain"][..], &hours].concat());
    // As after a topic whose first hour was removed before it was archived.
    whole_from(&project, EventTime(1_767_225_600_000_000 + 600_000_000));
    says(&project, "sessions-cut-off", &[&["backfill", "run", JOB, "--drain"][..], &hours].concat());
    says(&project, "sessions-cut-off-plan", &[&["backfill", "plan", JOB, "--drain"][..], &hours].concat());
    let later = ["--from", "2026-01-01T01:00:00Z", "--to", "2026-01-01T02:00:00Z"];
    project.kappa(&[&["backfill", "run", JOB, "--drain"][..], &later].concat()).ok();
}

/// States from when on history holds all records.
fn whole_from(project: &Project, time: EventTime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let catalog = catalog_of(project).await;
        let name = TableName::parse("raw.clicks").expect("a name");
        let table = catalog.load(&name).await.expect("the catalog answers").expect("the table is there");
        let known = HistoryProgress::parse(table.properties()).expect("it was archived").expect("it can be read");
        let properties = HistoryProgress { whole_from: Some(time), ..known }.properties();
        let change = Change { properties, ..Change::nothing(&table) };
        catalog.commit(&change).await.expect("nothing stands against it");
    });
}

/// Runs the job, then another version of it.
fn upgraded(project: &Project, snapshot: &str) {
    project.kappa(&["run", JOB]).ok();
    let job = std::fs::read_to_string(project.path().join(JOB)).expect("the job is there");
    project.write(JOB, job.replace("GROUP  BY", "WHERE  host <> 'b'\nGROUP  BY"));
    says(project, snapshot, &["run", JOB, "--upgrade"]);
}

#[test]
fn another_version_does_not_begin_at_an_edge_that_cuts_windows() {
    upgraded(&project(), "sessions-upgrade");
}

#[test]
fn another_version_does_not_publish_again_what_closes_out_of_order() {
    let project = project();
    by_start(&project);
    upgraded(&project, "sessions-out-of-order");
}

#[test]
fn a_live_run_does_not_take_over_from_a_backfill_where_that_would_cut_windows() {
    let project = project();
    project.kappa(&["archive", JOB]).ok();
    let hours = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T02:00:00Z"];
    project.kappa(&[&["backfill", "run", JOB][..], &hours].concat()).ok();
    says(&project, "sessions-hand-over", &["run", JOB, "--start", "history"]);
}

/// Hours of the visits, by the function that makes them.
fn hours_of(windows: &str) -> Project {
    let project = project();
    let hours = format!(
        "INSERT INTO ICEBERG 'marts.hours' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, count(*) AS visits, sum(hits) AS hits
FROM   TUMBLE((SELECT window_time, host, count(*) AS hits
               FROM   {windows}
               GROUP  BY window_start, window_end, window_time, host), window_time, INTERVAL '1 hour')
GROUP  BY window_start, window_end;
"
    );
    project.write(JOB, format!("{STREAM}{hours}"));
    project
}

#[test]
fn a_run_from_a_time_on_leaves_out_hours_of_sessions_that_it_cuts_off_and_a_backfill_brings_them() {
    let project = hours_of("SESSION(clicks PARTITION BY host, t, INTERVAL '10 minutes')");
    project.kappa(&["archive", JOB]).ok();
    // The visit of 0:52 ends in the hour.
    project.kappa(&["run", JOB, "--start", "2026-01-01T01:00:00Z"]).ok();
    let hours = ["--from", "2026-01-01T01:00:00Z", "--to", "2026-01-01T03:00:00Z", "--drain"];
    says(&project, "sessions-of-hours-left-out", &[&["diff", JOB][..], &hours].concat());
    project.kappa(&[&["backfill", "run", JOB][..], &hours].concat()).ok();
    says(&project, "sessions-of-hours-brought", &[&["diff", JOB][..], &hours].concat());
}

#[test]
fn hours_of_windows_that_a_key_makes_anew_begin_with_the_log() {
    let project = hours_of("COUNT_WINDOW(clicks PARTITION BY host, t, 3, TIMEOUT INTERVAL '10 minutes')");
    says(&project, "count-windows-of-hours-from-a-time", &["run", JOB, "--start", "2026-01-01T01:00:00Z"]);
    project.kappa(&["run", JOB]).ok();
}

#[test]
fn another_version_of_hours_of_sessions_does_not_begin_at_an_edge() {
    let project = hours_of("SESSION(clicks PARTITION BY host, t, INTERVAL '10 minutes')");
    project.kappa(&["run", JOB]).ok();
    let job = std::fs::read_to_string(project.path().join(JOB)).expect("the job is there");
    project.write(
        JOB,
        job.replace("GROUP  BY window_start, window_end;", "GROUP  BY window_start, window_end HAVING count(*) > 0;"),
    );
    says(&project, "sessions-of-hours-upgrade", &["run", JOB, "--upgrade"]);
}

const OF_TWO: &str = "
CREATE STREAM taps (
  host TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE    FROM FILE    'taps.jsonl'
HISTORY FROM ICEBERG 'raw.taps';

INSERT INTO ICEBERG 'marts.visits' PARTITIONED BY (hour(window_end))
SELECT host, window_start, window_end, count(*) AS hits
FROM   SESSION((SELECT host, t FROM clicks UNION ALL SELECT host, t FROM taps) PARTITION BY host, t, INTERVAL '10 minutes')
GROUP  BY host, window_start, window_end;
";

#[test]
fn sessions_of_two_streams_are_read_back_in_both() {
    let project = project();
    // One goes on with records of both in turn, from 0:44 to 1:04, so that it ends in the second hour.
    let line = |(host, time): (&str, &str)| format!("{{\"host\":\"{host}\",\"t\":\"2026-01-01T0{time}:00Z\"}}\n");
    let lines = |records: [(&str, &str); 3]| records.map(line).concat();
    project.write("clicks.jsonl", lines([("b", "0:52"), ("b", "1:04"), ("a", "3:00")]));
    project.write("taps.jsonl", lines([("b", "0:44"), ("b", "0:58"), ("a", "3:00")]));
    project.write(JOB, format!("{STREAM}{OF_TWO}"));
    project.kappa(&["run", JOB]).ok();
    project.kappa(&["archive", JOB]).ok();
    let hour = ["--from", "2026-01-01T01:00:00Z", "--to", "2026-01-01T02:00:00Z", "--drain"];
    says(&project, "sessions-of-two-streams", &[&["diff", JOB][..], &hour].concat());
}
