//! `kappa validate --connect`: what a run would meet, without leaving anything behind.

use std::path::Path;

use super::{kappa, says};
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};

fn job(live: &str) -> String {
    format!(
        "CREATE STREAM clicks (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE    FROM {live}
HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
"
    )
}

const CLICKS: &str = r#"{"host":"a","bytes":1,"t":"2026-01-01T00:00:01Z"}
{"host":"b","bytes":"many","t":"2026-01-01T00:00:59Z"}
{"host":"a","bytes":4,"t":"2026-01-01T00:01:00Z"}
broken
"#;

#[test]
fn nothing_is_left_behind_and_what_a_run_has_made_is_seen() {
    let project = Project::embedded();
    project.write("jobs/hits.sql", job("FILE 'clicks.jsonl'"));
    project.write("clicks.jsonl", CLICKS);
    let connect = ["validate", "jobs/hits.sql", "--connect"];
    says("connect-before", &project, &[&connect, &["--set", "run.rejects_max=50%"][..]].concat(), &[]);
    assert!(!project.path().join(".kappa").exists(), "the look has made something");
    says("connect-rejects", &project, &connect, &[]);
    kappa(&project, &["run", "jobs/hits.sql", "--set", "run.rejects_max=100%"], &[]).ok();
    says("connect-after", &project, &[&connect, &["--set", "run.rejects_max=50%"][..]].concat(), &[]);
    says("connect-json", &project, &[&connect, &["--json", "--set", "run.rejects_max=50%"][..]].concat(), &[]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let project = Project::embedded();
    project.write("jobs/hits.sql", job("FILE 'clicks.jsonl'"));
    project.write("clicks.jsonl", CLICKS);
    kappa(&project, &["run", "jobs/hits.sql", "--set", "run.rejects_max=100%"], &[]).ok();
    // Another job wants the same table in another layout, its file isn't there, and a file is where its state should be.
    let other = job("FILE 'none.jsonl'").replace("count(*) AS hits", "sum(bytes) AS hits, max(bytes) AS most");
    project.write("jobs/other.sql", other);
    project.write("occupied", "");
    says(
        "connect-wrong",
        &project,
        &["validate", "jobs/other.sql", "--connect", "--set", "state.location=occupied/state"],
        &[],
    );
    // A job that doesn't compile connects to nothing, the others do.
    project.write("jobs/broken.sql", "CREATE STREAM");
    let both = kappa(
        &project,
        &["validate", "jobs/broken.sql", "jobs/hits.sql", "--connect", "--set", "run.rejects_max=50%"],
        &[],
    )
    .exits(3);
    assert!(both.stdout.contains("`run` finds the job finished"), "{}", both.stdout);
    assert!(both.stderr.contains("2 problems in 1 file"), "{}", both.stderr);
}

#[test]
fn what_can_not_be_reached_is_worth_another_try() {
    let project = Project::embedded();
    project.write("jobs/hits.sql", job("KAFKA 'clicks' FORMAT JSON"));
    let away = ["--set", "kafka.bootstrap.servers=localhost:1", "--set", "catalog.type=rest"];
    let uri = ["--set", "catalog.uri=http://localhost:1/", "--set", "catalog.warehouse=w"];
    let finished = kappa(&project, &[&["validate", "jobs/hits.sql", "--connect"], &away[..], &uri].concat(), &[]);
    let said = finished.exits(1);
    for expected in ["localhost:1", "catalog `kappa`", "2 problems with what a run would meet"] {
        assert!(said.stderr.contains(expected), "{expected}\n{}", said.stderr);
    }
    assert!(said.stdout.contains("table marts.hits (result): not known"), "{}", said.stdout);
}

#[test]
fn a_topic_shows_its_partitions_and_its_newest_records() {
    let topic = kafka::create_topic("clicks", 3);
    let message = |partition: i32, index: i64, value: &str| Message {
        partition,
        value: Some(value.as_bytes().to_vec()),
        timestamp_ms: Some(1_767_225_600_000 + index * 1_000),
        ..Message::default()
    };
    // More in partition 0 than the newest thousand; the old ones are broken and must not be seen.
    let old = (0..200).map(|index| message(0, index, "old and broken"));
    let new = (200..1_400).map(|index| message(0, index, r#"{"host":"a","bytes":1,"t":"2026-01-01T00:30:00Z"}"#));
    let broken = [message(1, 9, r#"{"host":"a","bytes":1}"#), message(1, 10, r#"{"t":"2026-01-01T00:00:10Z"}"#)];
    kafka::produce(&topic, &old.chain(new).chain(broken).collect::<Vec<_>>());
    let project = Project::on_kafka(Catalog::Sql, "rejects_max = \"5%\"");
    project.write("jobs/hits.sql", job(&format!("KAFKA '{topic}' FORMAT JSON")));
    let said = kappa(&project, &["validate", "jobs/hits.sql", "--connect"], &[]).ok().stdout;
    let said = said
        .replace(&topic, "[TOPIC]")
        .replace(&project.path().canonicalize().expect("a folder").display().to_string(), "[PROJECT]");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("../messages/configuration"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("connect-kafka", said));
    // Retention has cut the log: a run without options would refuse to begin, and that is said, but nothing is wrong.
    kafka::trim(&topic, 0, 100);
    let said = kappa(&project, &["validate", "jobs/hits.sql", "--connect"], &[]).ok().stdout;
    assert!(said.contains("`run` needs --start TIME, or more: partition 0 of clicks begins at offset 100"), "{said}");
    project.write("jobs/hits.sql", job(&format!("KAFKA '{topic}s' FORMAT JSON")));
    let missing = kappa(&project, &["validate", "jobs/hits.sql", "--connect"], &[]).exits(3);
    assert!(missing.stderr.contains(&format!("did you mean {topic}?")), "{}", missing.stderr);
}
