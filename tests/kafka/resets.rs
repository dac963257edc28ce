//! Resets of a job's offsets on the real broker: every way of them, and when they are refused. What they do, say and leave
//! is told by the story of `tests/stories/lag.rs`.

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

fn json(finished: &Finished) -> Json {
    serde_json::from_str(&finished.stdout).expect("one JSON document")
}

/// New positions, by partition.
fn positions(document: &Json) -> Vec<i64> {
    let partitions = document["partitions"].as_array().expect("a list");
    partitions.iter().map(|partition| partition["new_position"].as_i64().expect("an offset")).collect()
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

fn counts(hours: &[(&str, i64)]) -> Vec<(String, i64)> {
    hours.iter().map(|&(hour, count)| (hour.to_owned(), count)).collect()
}
