//! Positions of published checkpoints in consumer groups, as Kafka's own tool finds them, and what `kappa offsets get` says of
//! them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::hours::{Hours, LIMIT};
use crate::support::kafka;

const END: [&str; 2] = ["--until", "end"];

fn hours() -> Hours {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (0, "01:30"), (1, "00:40"), (0, "02:30")]);
    hours
}

#[test]
fn run_and_archive_commit_each_to_its_own_group() {
    let hours = hours();
    let (job, archive) = ("kappa-hours".to_owned(), format!("kappa-archive-{}", hours.table("history")));
    let committed = |group: &str| kafka::group_offsets(group, &hours.topic);
    hours.kappa(&["archive"], &END).ok();
    assert_eq!(committed(&archive), BTreeMap::from([(0, 3), (1, 1)]));
    assert_eq!(committed(&job), BTreeMap::new(), "nothing of the job's own yet");
    hours.kappa(&["run"], &END).ok();
    assert_eq!(committed(&job), BTreeMap::from([(0, 3), (1, 1)]));
    hours.send(&[(1, "03:30"), (1, "03:40")]);
    hours.kappa(&["run"], &END).ok();
    assert_eq!((committed(&job)[&1], committed(&archive)[&1]), (3, 1), "each by its own checkpoints");
    hours.kappa(&["archive"], &END).ok();
    assert_eq!(committed(&archive), BTreeMap::from([(0, 3), (1, 3)]));
}

#[test]
fn an_archive_commits_while_it_runs() {
    let hours = hours();
    let archive = format!("kappa-archive-{}", hours.table("history"));
    let mut running = hours.project.start(&["archive", super::hours::JOB]);
    running.wait_until("it is archived", LIMIT, || hours.row_count("history") == 4);
    let is_committed = || kafka::group_offsets(&archive, &hours.topic) == BTreeMap::from([(0, 3), (1, 1)]);
    running.wait_until("lag tools see it", LIMIT, is_committed);
    running.terminate();
    running.wait(LIMIT).ok();
}

#[test]
fn offsets_get_names_the_group() {
    let hours = hours();
    hours.says("offsets-before", &["offsets", "get"], &[]);
    hours.kappa(&["archive"], &END).ok();
    hours.kappa(&["run"], &END).ok();
    let group = |finished: crate::support::process::Finished| {
        let document: Json = serde_json::from_str(&finished.ok().stdout).expect("one JSON document");
        document["group"].as_str().expect("a group").to_owned()
    };
    assert_eq!(group(hours.kappa(&["offsets", "get"], &["--json"])), "kappa-hours");
    let history = hours.table("history");
    let shown = hours.project.kappa(&["offsets", "get", "--archive", &history]).ok();
    let named = format!("\nconsumer group kappa-archive-{history}, for lag tools\n");
    assert!(shown.stdout.contains(&named), "{}", shown.stdout);
    let document = group(hours.project.kappa(&["offsets", "get", "--archive", &history, "--json"]));
    assert_eq!(document, format!("kappa-archive-{history}"));
}
