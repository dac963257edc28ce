//! Too little memory: runs and recomputations end with who holds it, nothing is lost, and more memory lets them go on.

use std::fmt::Write;

use crate::support::process::Finished;
use crate::support::project::Project;

/// Rows, and bytes of their keys. A recomputation may have read some epochs before it looks at what they hold: fewer and
/// longer keys, so that what was read is too much before all is.
const MANY: (usize, usize) = (300_000, 200);
const LONG: (usize, usize) = (160_000, 1_000);
const JOB: &str = "jobs/keys.sql";
/// Memory that isn't enough for the window, and memory that is.
const SHORT: &str = "160MB";
const ENOUGH: &str = "8GB";

/// A day of rows, each with a long key of its own: no window closes before the end.
fn rows((count, key_bytes): (usize, usize)) -> String {
    let mut rows = String::new();
    let padding = "x".repeat(key_bytes);
    for row in 0..count {
        let second = row % 3_600;
        writeln!(
            rows,
            r#"{{"host":"{row}-{padding}","bytes":1,"t":"2026-01-01T{:02}:{:02}:{:02}Z"}}"#,
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
        .expect("a string takes every text");
    }
    rows
}

fn limit(project: &Project, memory_max: &str) {
    let config = std::fs::read_to_string(project.path().join("kappa.toml")).expect("it is there");
    let rest = config.split_once("\n[catalog]").expect("a table of its own").1;
    let run = format!("[run]\nworkers = 1\ncheckpoint_interval = \"1s\"\nmemory_max = \"{memory_max}\"\n");
    project.write("kappa.toml", format!("{run}\n[catalog]{rest}"));
}

/// A project with one window of a day that needs more than [`SHORT`].
fn project(size: (usize, usize)) -> Project {
    let project = Project::embedded();
    project.write("clicks.jsonl", rows(size));
    // An hour out of order.
    let stream = super::STREAM.replace("INTERVAL '5 seconds'", "INTERVAL '2 hours'");
    let insert = super::INSERT.replace("'1 minute'", "'1 day'");
    project.write(
        JOB,
        format!(
            "{stream}LIVE FROM FILE 'clicks.jsonl' HISTORY FROM ICEBERG 'raw.clicks';\n\
             INSERT INTO ICEBERG 'marts.keys' PARTITIONED BY (day(window_start)){insert}"
        ),
    );
    project
}

#[track_caller]
fn names_the_window(short: &Finished) {
    for part in [
        "of memory are in use, more than the 160.0 MB of [run] memory_max",
        "1 open window of marts.keys hold",
        "the one that starts at 2026-01-01T00:00:00Z",
        "raise memory_max",
        "exit 5",
    ] {
        assert!(short.stderr.contains(part), "{part} in {}", short.stderr);
    }
}

#[test]
fn a_window_that_outgrows_the_memory_is_named_and_nothing_is_lost() {
    let project = project(MANY);
    limit(&project, SHORT);
    names_the_window(&project.kappa(&["run", JOB]).exits(5));
    limit(&project, ENOUGH);
    let finished = project.kappa(&["run", JOB]).ok();
    assert!(finished.stdout.contains("marts.keys: 300,000 rows published"), "{}", finished.stdout);
}

#[test]
fn a_backfill_and_a_diff_that_outgrow_the_memory_name_the_window_and_change_nothing() {
    let project = project(LONG);
    limit(&project, ENOUGH);
    project.kappa(&["run", JOB]).ok();
    project.kappa(&["archive", JOB]).ok();
    limit(&project, SHORT);
    let day = ["--from", "2026-01-01", "--to", "2026-01-02", "--drain"];
    for command in [&["backfill", "plan"][..], &["backfill", "run"], &["diff"]] {
        let short = project.kappa(&[command, &[JOB], &day].concat()).exits(5);
        names_the_window(&short);
        assert!(short.stderr.contains("nothing has been changed"), "{}", short.stderr);
    }
    limit(&project, ENOUGH);
    project.kappa(&[&["diff", JOB], &day[..]].concat()).ok();
    let finished = project.kappa(&[&["backfill", "run", JOB], &day[..]].concat()).ok();
    assert!(finished.stdout.contains("160,000 rows"), "{}", finished.stdout);
}
