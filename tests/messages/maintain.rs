//! What `kappa maintain` says.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::support::project::Project;
use crate::support::said::snapshots;

const JOB: &str = "
CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE    FROM FILE    'clicks.jsonl'
HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
";

const CLICKS: [&str; 2] = [
    "{\"host\":\"a\",\"t\":\"2026-01-01T00:00:01Z\"}\nbroken\n",
    "{\"host\":\"a\",\"t\":\"2026-01-01T00:02:30Z\"}\nbroken, too\n{\"host\":\"a\",\"t\":\"2026-01-01T01:30:00Z\"}\n",
];

/// What differs from run to run.
const FILTERS: [(&str, &str); 3] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
    (r"stays is \d+ of", "stays is [SNAPSHOT] of"),
    (r#""id": \d+"#, r#""id": [SNAPSHOT]"#),
];

#[track_caller]
fn says(project: &Project, name: &str, arguments: &[&str]) {
    let finished = project.kappa(arguments);
    let code = finished.code.expect("no signal ends it");
    let said =
        format!("$ kappa {}\n{}--- stderr\n{}--- exit {code}\n", arguments.join(" "), finished.stdout, finished.stderr);
    snapshots("messages/commands", &FILTERS).bind(|| insta::assert_snapshot!(name, said));
}

/// A project whose rejects are in two files.
fn project() -> Project {
    let project = Project::embedded();
    project.write("jobs/hits.sql", JOB);
    project.write("clicks.jsonl", CLICKS[0]);
    project.kappa(&["archive", "jobs/hits.sql"]).ok();
    project.write("clicks.jsonl", CLICKS.concat());
    project.kappa(&["archive", "jobs/hits.sql"]).ok();
    project.kappa(&["run", "jobs/hits.sql"]).ok();
    project
}

fn plant_orphans(project: &Project) {
    #[expect(clippy::disallowed_methods, reason = "how old a file is, the file system judges by its own clock")]
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for path in
        ["data/a.parquet", "data/window_start_hour=2026-01-01-00/b.parquet", "metadata/c.avro", "metadata/d.avro"]
    {
        let path = project.write(&format!(".kappa/warehouse/marts/hits/{path}"), "left behind");
        File::options().write(true).open(path).and_then(|file| file.set_modified(old)).expect("it takes a time");
    }
}

#[test]
fn maintain_says_what_it_would_do_and_what_it_did() {
    let project = project();
    plant_orphans(&project);
    let job = ["maintain", "jobs/hits.sql"];
    says(&project, "maintain", &job);
    says(&project, "maintain-older-than", &[&job[..], &["--older-than", "0s"]].concat());
    says(&project, "maintain-execute", &[&job[..], &["--older-than", "0s", "--execute"]].concat());
    says(&project, "maintain-json", &["maintain", "marts.hits", "--json"]);
    // As a backfill marks it that runs since 2026.
    project.write(".kappa/warehouse/marts/hits/metadata/in-use/00001767225600000000-0.mark", "in use");
    says(&project, "maintain-in-use", &["maintain", "marts.hits", "--older-than", "0s"]);
    project.kappa(&["run", "jobs/hits.sql"]).ok();
}

#[test]
fn maintain_refuses_what_it_does_not_know() {
    let project = project();
    says(&project, "maintain-no-table", &["maintain", "marts.hit"]);
    says(&project, "maintain-no-catalog", &["maintain", "marts.hits", "--set", "catalog.uri=sqlite:elsewhere.db"]);
    says(&project, "maintain-other-state", &["maintain", "marts.hits", "--set", "state.location=elsewhere"]);
    let new = Project::embedded();
    new.write("jobs/hits.sql", JOB);
    says(&new, "maintain-nothing", &["maintain", "jobs/hits.sql", "--execute"]);
}
