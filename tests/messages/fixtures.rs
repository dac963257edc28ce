//! What `kappa test` says, from the first input to a difference.

use super::commands::says;
use crate::support::project::Project;

const JOB: &str = "
CREATE STREAM clicks (
  host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE FROM KAFKA 'clicks' FORMAT JSON;

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, host, count(*) AS hits, sum(bytes) AS bytes
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
";

const INPUT: &str = r#"{"host":"a","bytes":1,"t":"2026-01-01T00:00:01Z"}
{"host":"b","bytes":2,"t":"2026-01-01T00:00:59.999999Z"}
{"host":"a","bytes":4,"t":"2026-01-01T00:01:10Z"}
{"host":"a","bytes":8,"t":"2026-01-01T00:00:02Z"}
{"_partition":1,"_value":{"host":"b","bytes":"sixteen","t":"2026-01-01T00:00:03Z"}}
"#;

const EXPECTED: &str = "jobs/tests/hits/expected.jsonl";

fn project() -> Project {
    let project = Project::embedded();
    project.write("jobs/hits.sql", JOB);
    project.write("jobs/tests/hits/input.jsonl", INPUT);
    project
}

/// Replaces a text in a file that has it.
fn replace(project: &Project, path: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(project.path().join(path)).expect("the file is there");
    assert!(text.contains(from), "{path} has no {from}: {text}");
    project.write(path, text.replace(from, to));
}

#[test]
fn from_the_first_records_to_a_difference() {
    let project = project();
    says(&project, "test-unblessed", &["test"]);
    says(&project, "test-bless", &["test", "jobs/tests/hits", "--bless"]);
    says(&project, "test-passed", &["test"]);
    says(&project, "test-passed-json", &["test", "--json"]);
    replace(&project, EXPECTED, r#""bytes": 2"#, r#""bytes": 3"#);
    replace(&project, EXPECTED, "00:01:00Z", "00:02:00Z");
    replace(&project, "jobs/tests/hits/expected_rejects.jsonl", "bad_value", "null");
    std::fs::remove_file(project.path().join("jobs/tests/hits/expected_late.jsonl")).expect("a record is late");
    project.write("jobs/tests/hits/quiet/input.jsonl", "");
    project.write("jobs/tests/hits/quiet/expected.jsonl", "");
    says(&project, "test-differs", &["test"]);
    says(&project, "test-limit", &["test", "jobs/tests/hits", "--limit", "1"]);
    says(&project, "test-differs-json", &["test", "jobs/tests/hits", "--json"]);
    says(&project, "test-bless-again", &["test", "--bless"]);
}

#[test]
fn fixtures_that_are_none() {
    let project = Project::embedded();
    project.write("docs/input.jsonl", INPUT);
    says(&project, "test-nothing", &["test"]);
    says(&project, "test-no-folder", &["test", "kappa.toml"]);
    says(&project, "test-no-such-folder", &["test", "tests"]);
    says(&project, "test-no-job", &["test", "docs"]);
    project.write("jobs/hits.sql", JOB);
    project.write("jobs/tests/hits/expected.jsonl", "");
    says(&project, "test-no-input", &["test"]);
    let line = |line: &str| {
        project.write("jobs/tests/hits/input.jsonl", format!("{INPUT}\n{line}\n"));
    };
    line(r#"{"host": "a", }"#);
    says(&project, "test-bad-json", &["test"]);
    line(r#"{"_partiton": 1, "_value": {}}"#);
    says(&project, "test-bad-envelope", &["test"]);
    line(r#"{"_partition": 1, "host": "a"}"#);
    says(&project, "test-bad-message", &["test"]);
    line(r#"{"_stream": "klicks", "_value": {}}"#);
    says(&project, "test-bad-stream", &["test"]);
    line("");
    project.write("jobs/tests/hits/input.klicks.jsonl", "");
    says(&project, "test-bad-input-name", &["test"]);
    std::fs::remove_file(project.path().join("jobs/tests/hits/input.klicks.jsonl")).expect("it was written");
    project.write(
        EXPECTED,
        "{\"window_start\": \"2026-01-01T00:00:00Z\", \"host\": \"a\", \"hits\": \"many\", \"bytes\": 1}\n",
    );
    says(&project, "test-bad-row", &["test"]);
    project
        .write(EXPECTED, "{\"window_start\": \"2026-01-01T00:00:00Z\", \"host\": \"a\", \"hit\": 1, \"bytes\": 1}\n");
    says(&project, "test-bad-column", &["test"]);
    project.write("jobs/tests/hits/expected.marts.hits.jsonl", "");
    says(&project, "test-bad-expected-name", &["test"]);
    std::fs::remove_file(project.path().join("jobs/tests/hits/expected.marts.hits.jsonl")).expect("it was written");
    project.write("jobs/hits.sql", JOB.replace("clicks, t", "klicks, t"));
    says(&project, "test-bad-job", &["test", "--json"]);
}

#[test]
fn a_job_that_stops_fails_its_fixture() {
    let project = project();
    let largest = i64::MAX.to_string();
    replace(&project, "jobs/tests/hits/input.jsonl", r#""bytes":1,"#, &format!(r#""bytes":{largest},"#));
    replace(&project, "jobs/tests/hits/input.jsonl", "00:01:10Z", "00:00:10Z");
    says(&project, "test-stopped", &["test"]);
}
