//! What catalogs hand out while a job runs - tokens, and keys for table files - is shown nowhere, however loud the job is.
//! Nobody set it, so nobody can take it out of texts by its value: it must never get there.

use crate::support::process::Finished;
use crate::support::project::{Catalog, Project, REST_CREDENTIAL, S3_KEY, S3_SECRET};

const JOB: &str = "jobs/hits.sql";
/// What every token and session token of the guarded catalog begins with.
const ISSUED: &str = "kappa-issued-";
const DAY: [&str; 4] = ["--from", "2026-01-01", "--to", "2026-01-02"];

/// A project whose catalog hands everything out: nothing of it stands in `kappa.toml` but the client's secret.
fn project() -> Project {
    let project = Project::with_kafka(Catalog::GuardedOnS3, &[], "checkpoint_interval = \"100ms\"");
    let namespace = project.namespace().to_owned();
    project.write(
        JOB,
        format!(
            "CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
             LIVE FROM FILE 'clicks.jsonl' HISTORY FROM ICEBERG '{namespace}.raw';
             INSERT INTO ICEBERG '{namespace}.hits' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(clicks, t, INTERVAL '1 minute')
             GROUP BY window_start, window_end, host;"
        ),
    );
    let clicks: String =
        (0..60).map(|minute| format!("{{\"host\":\"a\",\"t\":\"2026-01-01T00:{minute:02}:01Z\"}}\n")).collect();
    project.write("clicks.jsonl", clicks);
    project
}

#[track_caller]
fn silent(command: &[&str], finished: &Finished) {
    let (_, client_secret) = REST_CREDENTIAL.split_once(':').expect("an id and a secret");
    for secret in [ISSUED, S3_SECRET, client_secret] {
        for output in [&finished.stdout, &finished.stderr] {
            let line = output.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "kappa {} (exit {:?})", command.join(" "), finished.code);
        }
    }
}

#[test]
fn tokens_and_vended_keys_are_in_no_output() {
    let commands: [&[&str]; 9] = [
        &["validate", JOB, "--connect", "--json"],
        &["run", JOB],
        &["archive", JOB, "--until", "end"],
        &[&["backfill", "plan", JOB][..], &DAY, &["--drain"]].concat(),
        &[&["backfill", "run", JOB][..], &DAY, &["--drain"]].concat(),
        &[&["diff", JOB][..], &DAY, &["--drain"]].concat(),
        &["validate", JOB, "--connect"],
        &["status", JOB],
        &["config", "--json"],
    ];
    for log in ["run.log=text", "run.log=json"] {
        let project = project();
        for command in commands {
            let loud = [command, &["-vv", "--set", log]].concat();
            let finished = project.kappa(&loud).ok();
            silent(&loud, &finished);
        }
    }
}

#[test]
fn what_is_refused_is_told_without_them() {
    let project = project();
    project.kappa(&["run", JOB]).ok();
    // A store that holds every request against the one who asks, and repeats it.
    let (echo, seen) = super::connect::refusing_bucket();
    let endpoint = format!("store.aws_endpoint={echo}");
    for command in [&["run", JOB][..], &["validate", JOB, "--connect"], &["status", JOB]] {
        let loud = [command, &["-vv", "--set", &endpoint]].concat();
        let finished = project.kappa(&loud);
        assert_ne!(finished.code, Some(0), "{command:?}: {}", finished.stderr);
        silent(&loud, &finished);
    }
    let asked = seen.lock().expect("no panic").concat();
    assert!(asked.contains(&format!("Credential={S3_KEY}/")), "the store was asked with the key: {asked}");
}
