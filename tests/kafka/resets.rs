//! Resets of a job's offsets on the real broker: what is said before, what is published after.

use serde_json::Value as Json;

use super::hours::{Hours, LIMIT};
use crate::support::process::Finished;

/// Ten records in two partitions: two in each hour from 06:00 on.
fn morning() -> Hours {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "06:10"), (0, "07:10"), (0, "08:10"), (0, "09:10"), (0, "10:10")]);
    hours.send(&[(1, "06:20"), (1, "07:20"), (1, "08:20"), (1, "09:20"), (1, "10:20")]);
    hours
}

fn counts(hours: &[(&str, i64)]) -> Vec<(String, i64)> {
    hours.iter().map(|&(hour, count)| (hour.to_owned(), count)).collect()
}

/// What a command said, without the names that are new in every run of the tests.
fn told(hours: &Hours, finished: &Finished) -> String {
    let text = finished.stdout.replace(hours.project.namespace(), "NAMESPACE").replace(&hours.topic, "TOPIC");
    let words = text.split_inclusive(' ').map(|word| match word.strip_prefix("before-reset-") {
        Some(rest) => {
            format!("before-reset-TIME{}", rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-'))
        }
        None => word.to_owned(),
    });
    words.collect()
}

fn json(finished: &Finished) -> Json {
    serde_json::from_str(&finished.stdout).expect("one JSON document")
}

/// New positions, by partition.
fn positions(document: &Json) -> Vec<i64> {
    let partitions = document["partitions"].as_array().expect("a list");
    partitions.iter().map(|partition| partition["new_position"].as_i64().expect("an offset")).collect()
}

#[test]
fn a_reset_back_publishes_windows_again_whole_and_can_be_undone() {
    let hours = morning();
    let end = ["--until", "end"];
    hours.kappa(&["run"], &end).ok();
    let published = counts(&[("06:00", 2), ("07:00", 2), ("08:00", 2), ("09:00", 2)]);
    assert_eq!(hours.results(), published);

    let at = ["--to-datetime", "2026-01-01T08:00:00Z"];
    let dry = hours.kappa(&["offsets", "reset"], &at).ok();
    insta::assert_snapshot!(told(&hours, &dry), @r"
    job hours would be reset; nothing was changed
    stream  partition  position  new position  difference
    events          0         5             1          -4
    events          1         5             1          -4
    state dropped: 1 open window (1 row, 914 B)
    NAMESPACE.result: first whole window 2026-01-01T08:00:00Z
    NAMESPACE.result publishes [2026-01-01T08:00:00Z, 2026-01-01T10:00:00Z) again (2 partitions with rows); the old rows stay until then
    do it with: kappa offsets reset jobs/hours.sql --to-datetime 2026-01-01T08:00:00Z --execute
    ");
    assert_eq!(positions(&json(&hours.kappa(&["offsets", "reset"], &["--to-current", "--json"]).ok())), [5, 5]);

    let done = hours.kappa(&["offsets", "reset"], &[&at[..], &["--execute"]].concat()).ok();
    insta::assert_snapshot!(told(&hours, &done), @r"
    job hours was reset
    stream  partition  position  new position  difference
    events          0         5             1          -4
    events          1         5             1          -4
    state dropped: 1 open window (1 row, 914 B)
    NAMESPACE.result: first whole window 2026-01-01T08:00:00Z
    NAMESPACE.result publishes [2026-01-01T08:00:00Z, 2026-01-01T10:00:00Z) again (2 partitions with rows); the old rows stay until then
    savepoint before-reset-TIME keeps how it stood; undo with: kappa run jobs/hours.sql --savepoint before-reset-TIME
    ");
    assert_eq!(hours.results(), published, "rows stay until their windows are published again");
    let run = json(&hours.kappa(&["run"], &[&end[..], &["--json"]].concat()).ok());
    assert_eq!(run["taken"]["events"], 8, "{run}");
    assert_eq!(hours.results(), published);

    let (_, name) = done.stdout.rsplit_once("--savepoint ").expect("the way back is named");
    hours.kappa(&["run"], &[&end[..], &["--savepoint", name.trim()]].concat()).ok();
    assert_eq!(positions(&json(&hours.kappa(&["offsets", "reset"], &["--to-current", "--json"]).ok())), [5, 5]);
    assert_eq!(hours.results(), published);
}

#[test]
fn a_backfill_keeps_out_of_what_is_published_again_until_that_is_done() {
    let hours = morning();
    let end = ["--until", "end"];
    for command in ["archive", "run"] {
        hours.kappa(&[command], &end).ok();
    }
    hours.kappa(&["offsets", "reset"], &["--to-datetime", "2026-01-01T08:00:00Z", "--execute"]).ok();
    let range = ["--from", "2026-01-01T07:00:00Z", "--to", "2026-01-01T09:00:00Z"];
    hours.says("published-again-plan", &["backfill", "plan"], &range);
    hours.says("published-again", &["backfill", "run"], &range);
    let below = ["--from", "2026-01-01T07:00:00Z", "--to", "2026-01-01T08:00:00Z"];
    hours.kappa(&["backfill", "run"], &below).ok();
    hours.kappa(&["run"], &end).ok();
    hours.kappa(&["backfill", "run"], &range).ok();
    assert_eq!(hours.results(), counts(&[("06:00", 2), ("07:00", 2), ("08:00", 2), ("09:00", 2)]));
}

#[test]
fn a_job_that_lags_goes_on_further_up_and_a_backfill_fills_the_hole() {
    let hours = Hours::new(1, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "05:10"), (0, "06:10")]);
    let end = ["--until", "end"];
    hours.kappa(&["run"], &end).ok();
    hours.send(&[(0, "07:10"), (0, "07:50"), (0, "08:10"), (0, "09:10"), (0, "09:20"), (0, "10:10")]);

    let at = ["--to-datetime", "2026-01-01T09:00:00Z", "--execute"];
    let done = hours.kappa(&["offsets", "reset"], &at).ok();
    insta::assert_snapshot!(told(&hours, &done), @r"
    job hours was reset
    stream  partition  position  new position  difference
    events          0         2             4           2
    state dropped: 1 open window (1 row, 914 B)
    NAMESPACE.result: first whole window 2026-01-01T09:00:00Z
    nobody publishes windows of NAMESPACE.result [2026-01-01T06:00:00Z, 2026-01-01T09:00:00Z)
    backfill them with: kappa backfill run jobs/hours.sql --from 2026-01-01T06:00:00Z --to 2026-01-01T09:00:00Z
    savepoint before-reset-TIME keeps how it stood; undo with: kappa run jobs/hours.sql --savepoint before-reset-TIME
    ");
    hours.kappa(&["run"], &end).ok();
    assert_eq!(hours.results(), counts(&[("05:00", 1), ("09:00", 2)]));

    hours.kappa(&["archive"], &end).ok();
    let range = ["--from", "2026-01-01T06:00:00Z", "--to", "2026-01-01T09:00:00Z"];
    hours.kappa(&["backfill", "run"], &range).ok();
    assert_eq!(hours.results(), counts(&[("05:00", 1), ("06:00", 1), ("07:00", 2), ("08:00", 1), ("09:00", 2)]));
    hours.kappa(&["diff"], &["--from", "2026-01-01T05:00:00Z", "--to", "2026-01-01T10:00:00Z"]).ok();
}

#[test]
fn every_way_of_the_kafka_tool_says_where_it_leads() {
    let hours = morning();
    hours.kappa(&["run"], &["--until", "end"]).ok();
    let reset = |arguments: &[&str]| {
        let finished = hours.kappa(&["offsets", "reset"], &[arguments, &["--json"]].concat()).ok();
        let document = json(&finished);
        assert_eq!(document["executed"], false);
        positions(&document)
    };
    assert_eq!(reset(&["--to-earliest"]), [0, 0]);
    assert_eq!(reset(&["--to-latest"]), [5, 5]);
    assert_eq!(reset(&["--by-duration", "PT1H30M"]), [5, 5]);
    assert_eq!(reset(&["--shift-by", "-2"]), [3, 3]);
    assert_eq!(reset(&["--shift-by", "-99"]), [0, 0]);
    assert_eq!(reset(&["--to-current"]), [5, 5]);
    let one = format!("{}:1", hours.topic);
    assert_eq!(reset(&["--to-offset", "2", "--topic", &one]), [5, 2]);
    assert_eq!(reset(&["--to-offset", "2", "--whole-from", "2026-01-01T09:00:00Z"]), [2, 2]);
    assert_eq!(reset(&["--to-offset", "2", "--allow-partial"]), [2, 2]);
    assert_eq!(reset(&["--to-offset", "4", "--topic", &one, "--export", "new.csv"]), [5, 4]);
    let exported = std::fs::read_to_string(hours.project.path().join("new.csv")).expect("was written");
    assert_eq!(exported, format!("{0},0,5\n{0},1,4\n", hours.topic));
    assert_eq!(reset(&["--from-file", "new.csv"]), [5, 4]);

    hours.kappa(&["offsets", "reset"], &["--to-earliest", "--to-latest"]).exits(2);
    hours.kappa(&["offsets", "reset"], &[]).exits(2);
    let refused = hours.kappa(&["offsets", "reset"], &["--to-earliest", "--topic", "elsewhere"]).exits(2);
    assert!(refused.stderr.contains("the job reads no topic elsewhere"), "{}", refused.stderr);
}

#[test]
fn a_job_that_runs_is_not_reset() {
    let hours = morning();
    let mut run = hours.run(&[]);
    hours.wait_for_results(&mut run, 4);
    let refused = hours.kappa(&["offsets", "reset"], &["--to-earliest", "--execute"]).exits(4);
    assert!(refused.stderr.contains("stop it"), "{}", refused.stderr);
    run.terminate();
    run.wait(LIMIT).ok();
}
