//! Logs as JSON: whatever a process says, a program can read.

use serde_json::Value;

use crate::support::project::Project;

const CLICKS: &str = r#"{"host":"a","bytes":1,"t":"2026-01-01T00:00:01Z"}
{"host":"b","bytes":2,"t":"2026-01-01T00:02:00Z"}
"#;

fn project() -> Project {
    let project = Project::embedded();
    project.write("clicks.jsonl", CLICKS);
    let config = std::fs::read_to_string(project.path().join("kappa.toml")).expect("it is there");
    project.write("kappa.toml", format!("[run]\nlog = \"json\"\nlisten = \"127.0.0.1:0\"\n{config}"));
    let (stream, insert) = (super::STREAM, super::INSERT);
    project.write(
        "jobs/hits.sql",
        format!(
            "{stream}LIVE FROM FILE 'clicks.jsonl';\n\
             INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start)){insert}"
        ),
    );
    project
}

fn lines(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.collect()
}

#[test]
fn every_line_of_a_run_is_an_object_that_names_its_job() {
    let project = project();
    let finished = project.kappa(&["-v", "run", "jobs/hits.sql"]).ok();
    let lines = lines(&finished.stderr);
    assert!(!lines.is_empty(), "it says where it listens");
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        assert!(text("time").starts_with("20") && text("time").ends_with('Z'), "{line}");
        assert!(["info", "debug", "warn"].contains(&text("level")), "{line}");
        assert!(!text("message").is_empty() && !text("target").is_empty(), "{line}");
    }
    let listens = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains("/healthz")));
    assert_eq!(listens.map(|line| line["job"].clone()), Some(Value::from("hits")));
}

#[test]
fn the_error_that_ends_a_run_is_a_line_too_and_names_the_generation() {
    let project = project();
    project.kappa(&["run", "jobs/hits.sql"]).ok();
    // Behind the checkpoint the log goes on with something that overflows.
    let huge = r#"{"host":"a","bytes":9223372036854775807,"t":"2026-01-01T00:00:30Z"}"#;
    project.write("clicks.jsonl", format!("{huge}\n{huge}\n{CLICKS}"));
    std::fs::remove_dir_all(project.path().join(".kappa")).expect("it was there");
    let finished = project.kappa(&["run", "jobs/hits.sql"]).exits(5);
    let last = lines(&finished.stderr).pop().expect("it says something");
    assert_eq!((last["level"].as_str(), last["job"].as_str()), (Some("error"), Some("hits")));
    assert!(last["message"].as_str().is_some_and(|text| text.contains("overflow")), "{last}");
    assert_eq!(last["generation"], 1, "{last}");
}
