//! A running process as its metrics, its health and its report show it.

use std::time::Duration;

use super::{INSERT, LIMIT, STREAM, address, scrape_until};
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::{http, unique};

/// 2026-01-01T00:00:00Z in milliseconds.
const MIDNIGHT_MS: i64 = 1_767_225_600_000;
const JOB: &str = "jobs/hits.sql";
const RUN: &str = "listen = \"127.0.0.1:0\"\ncheckpoint_interval = \"200ms\"";

/// A message of `second` after midnight.
fn click(partition: i32, second: i64) -> Message {
    let time_ms = MIDNIGHT_MS + second * 1_000;
    let value = format!(r#"{{"host":"h{}","bytes":{second},"t":{time_ms}}}"#, second % 3);
    Message { partition, value: Some(value.into_bytes()), timestamp_ms: Some(time_ms), ..Message::default() }
}

fn broken(partition: i32) -> Message {
    Message { partition, value: Some(b"broken".to_vec()), timestamp_ms: Some(MIDNIGHT_MS), ..Message::default() }
}

/// 600 clicks on each of two partitions, a late one, and three that nobody can read.
fn fill(topic: &str) -> usize {
    let mut messages: Vec<Message> = (0..600).flat_map(|second| [click(0, second), click(1, second)]).collect();
    messages.push(click(1, 3));
    messages.extend([broken(0), broken(0), broken(1)]);
    kafka::produce(topic, &messages);
    messages.len()
}

fn deploy(project: &Project, topic: &str) {
    let (namespace, from) = (project.namespace(), format!("LIVE FROM KAFKA '{topic}' FORMAT JSON"));
    let history = format!("HISTORY FROM ICEBERG '{namespace}.clicks';");
    let insert = format!("INSERT INTO ICEBERG '{namespace}.hits' PARTITIONED BY (hour(window_start)){INSERT}");
    project.write(JOB, format!("{STREAM}{from}\n{history}\n{insert}"));
}

#[test]
fn the_metrics_of_a_run_are_the_numbers_of_its_report() {
    let topic = kafka::create_topic("metrics", 2);
    let produced = fill(&topic) as f64;
    let project = Project::on_kafka(Catalog::Sql, RUN);
    deploy(&project, &topic);
    let mut run = project.start(&["run", JOB, "--json"]);
    let address = address(&mut run);
    // Of what was taken, all that became something is published or counted.
    let scrape = scrape_until(&mut run, &address, "everything is in a checkpoint", |scrape| {
        let counted = scrape.sum("kappa_records_accepted_total") + scrape.sum("kappa_records_late_total");
        counted + scrape.sum("kappa_records_rejected_total") == produced
            && scrape.sum("kappa_rows_published_total") > 0.0
    });
    let ready = http::get(&address, "/readyz").expect("it listens");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let health = http::get(&address, "/healthz").expect("it listens");
    assert_eq!((health.status, health.body.as_str()), (200, "alive\n"));
    assert_eq!(http::get(&address, "/").expect("it listens").status, 404);
    run.terminate();
    let finished = run.wait(LIMIT).ok();
    assert!(http::get(&address, "/healthz").is_none(), "the port is closed with the process");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("a report");
    let table = format!("{}.hits", project.namespace());
    let of = |what: &str, of: &str| report[what][of].as_f64().expect("a number");
    assert_eq!(scrape.sum("kappa_records_taken_total"), produced);
    assert_eq!(scrape.sum("kappa_records_taken_total"), of("taken", "clicks"));
    assert_eq!(scrape.sum("kappa_records_rejected_total"), of("rejected", "clicks"));
    assert_eq!(scrape.one("kappa_records_rejected_total", &[("partition", "0")]), 2.0);
    assert_eq!(scrape.one("kappa_rows_published_total", &[("table", &table)]), of("rows", &table));
    assert_eq!(scrape.one("kappa_records_late_total", &[("table", &table)]), of("late", &table));
    assert_eq!((of("rejected", "clicks"), of("late", &table)), (3.0, 1.0));
    // 599 s and 5 s behind: the ninth minute is closed, the tenth is open.
    let watermark = scrape.one("kappa_watermark_timestamp_seconds", &[("owner", "hits")]);
    assert_eq!(watermark, (MIDNIGHT_MS / 1_000) as f64 + 594.0);
    assert_eq!(scrape.one("kappa_open_windows", &[("table", &table)]), 1.0);
    assert!(scrape.one("kappa_state_bytes", &[("table", &table)]) > 0.0);
    assert_eq!(scrape.one("kappa_watermark_holder", &[("stream", "clicks")]), 1.0);
    assert!(scrape.one("kappa_memory_used_bytes", &[]) < scrape.one("kappa_memory_limit_bytes", &[]));
    assert!(scrape.one("kappa_checkpoints_total", &[]) >= 1.0 && scrape.one("kappa_commits_total", &[]) >= 1.0);
    assert_eq!((scrape.one("kappa_ready", &[]), scrape.one("kappa_generation", &[])), (1.0, 1.0));
    assert_eq!(scrape.sum("kappa_outage_seconds"), 0.0);
}

#[test]
fn an_archive_shows_how_far_retention_is_from_what_it_lacks() {
    let topic = kafka::create_topic_with("headroom", 1, &[("retention.ms", "3600000000000")]);
    kafka::produce(&topic, &(0..100).map(|second| click(0, second)).collect::<Vec<_>>());
    kafka::trim(&topic, 0, 40);
    let project = Project::on_kafka(Catalog::Sql, RUN);
    deploy(&project, &topic);
    let mut archive = project.start(&["archive", JOB]);
    let address = address(&mut archive);
    let owner = format!("archive-{}.clicks", project.namespace());
    let of = |scrape: &super::Scrape, name: &str| scrape.all(name, &[("owner", &owner)]);
    let scrape = scrape_until(&mut archive, &address, "the log has told its ends, and all is archived", |scrape| {
        of(scrape, "kappa_rows_published_total") == [60.0] && of(scrape, "kappa_lag_records") == [0.0]
    });
    assert_eq!(of(&scrape, "kappa_log_headroom_records"), [60.0]);
    assert_eq!(of(&scrape, "kappa_log_headroom_ratio"), [1.0], "nothing is missing");
    assert_eq!(of(&scrape, "kappa_log_retention_seconds"), [3_600_000_000.0]);
    assert_eq!(of(&scrape, "kappa_log_headroom_seconds"), [3_600_000_000.0]);
    archive.terminate();
    archive.wait(LIMIT).ok();
}

#[test]
fn a_port_that_is_taken_or_nobodys_is_told_before_anything_is_claimed() {
    let project = Project::on_kafka(Catalog::Sql, "");
    deploy(&project, &unique("nowhere"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("an address").to_string();
    let with = |listen: &str| {
        project.path().join("kappa.toml").to_str().map(|path| {
            let config = std::fs::read_to_string(path).expect("it is there");
            let lines = config.lines().filter(|line| !line.starts_with("listen"));
            let lines = lines
                .map(|line| if line == "[run]" { format!("[run]\nlisten = \"{listen}\"") } else { line.to_owned() });
            project.write("kappa.toml", lines.collect::<Vec<_>>().join("\n"));
        })
    };
    with(&listen);
    let busy = project.start(&["run", JOB]).wait(Duration::from_secs(60)).exits(1);
    assert_eq!(
        busy.stderr,
        format!(
            "error: [run] listen: {listen} is taken by another process; give each its own port, or 0 for any that is free, or \
             leave the line out\n"
        )
    );
    with("192.0.2.1:8090");
    let foreign = project.start(&["run", JOB]).wait(Duration::from_secs(60)).exits(3);
    assert!(foreign.stderr.contains("192.0.2.1:8090 can't be opened: Cannot assign"), "{}", foreign.stderr);
    assert!(!project.path().join(".kappa/state").join("hits").exists(), "nothing was claimed");
}
