//! Tables are looked after while a job and its archive write them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{INSERT, LIMIT, STREAM};
use crate::support::Value;
use crate::support::catalog::{data_files, row_count};
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::{duckdb, sound_tables};

/// 2026-01-01T00:00:00Z in milliseconds.
const MIDNIGHT_MS: i64 = 1_767_225_600_000;
const JOB: &str = "jobs/hits.sql";
/// Each brings this many minutes, three clicks a minute, and one message that nobody can read.
const ROUNDS: i64 = 8;
const MINUTES: i64 = 20;
const CLICKS: i64 = MINUTES * 3;
const RUN: &str = "checkpoint_interval = \"100ms\"";
/// Two of the hours, which history knows all about.
const HOURS: [&str; 4] = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T02:00:00Z"];

fn click(number: i64) -> Message {
    let time_ms = MIDNIGHT_MS + number * 20_000;
    let value = format!(r#"{{"host":"h{}","bytes":{number},"t":{time_ms}}}"#, number % 2);
    Message { partition: 0, value: Some(value.into_bytes()), timestamp_ms: Some(time_ms), ..Message::default() }
}

fn broken() -> Message {
    Message { partition: 0, value: Some(b"broken".to_vec()), timestamp_ms: Some(MIDNIGHT_MS), ..Message::default() }
}

/// Hits and bytes by minute and host, sorted.
fn expected() -> Vec<Vec<Value>> {
    let mut groups: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for number in 0..ROUNDS * CLICKS {
        let group = groups.entry((number / 3, number % 2)).or_default();
        *group = (group.0 + 1, group.1 + number);
    }
    let minute = |number: i64| Value::Timestamp((MIDNIGHT_MS + number * 60_000) * 1_000);
    let row = |((at, host), (hits, bytes)): ((i64, i64), (i64, i64))| {
        vec![minute(at), minute(at + 1), format!("h{host}").as_str().into(), hits.into(), bytes.into()]
    };
    let mut rows: Vec<Vec<Value>> = groups.into_iter().map(row).collect();
    rows.sort();
    rows
}

/// Makes files three days old. Not those that are written but not committed: nobody waits for days with them.
fn age(files: &[PathBuf]) {
    #[expect(clippy::disallowed_methods, reason = "how old a file is, the file system judges by its own clock")]
    let old = SystemTime::now() - Duration::from_secs(3 * 86_400);
    for file in files {
        let file = File::options().write(true).open(file).expect("nothing else removes it");
        file.set_modified(old).expect("it takes a time");
    }
}

#[test]
fn a_job_and_its_archive_go_on_while_their_tables_are_looked_after() {
    let topic = kafka::create_topic("maintain", 1);
    let project = Project::on_kafka(Catalog::Sql, RUN);
    let namespace = project.namespace().to_owned();
    let [hits, history, rejects] = ["hits", "clicks", "clicks_rejects"].map(|table| format!("{namespace}.{table}"));
    project.write(
        JOB,
        format!(
            "{STREAM}LIVE FROM KAFKA '{topic}' FORMAT JSON HISTORY FROM ICEBERG '{history}';\n\
             INSERT INTO ICEBERG '{hits}' PARTITIONED BY (hour(window_start)){INSERT}"
        ),
    );
    let needed = || [&hits, &history, &rejects].map(|table| data_files(&project, table)).concat();
    let mut run = project.start(&["run", JOB]);
    let mut archive = project.start(&["archive", JOB]);
    let mut planted: Vec<PathBuf> = Vec::new();
    for round in 0..ROUNDS {
        let clicks = (round * CLICKS..(round + 1) * CLICKS).map(click).chain([broken()]);
        kafka::produce(&topic, &clicks.collect::<Vec<_>>());
        let taken = u64::try_from((round + 1) * CLICKS).expect("is small");
        archive.wait_until("the round is archived", LIMIT, || row_count(&project, &history) == taken);
        // All but the last minute is closed, and in the table.
        let closed = u64::try_from(((round + 1) * MINUTES - 1) * 2).expect("is small");
        run.wait_until("the round is published", LIMIT, || row_count(&project, &hits) >= closed);
        let left = planted.len();
        for table in ["hits", "clicks", "clicks_rejects"] {
            // The last as a put leaves it behind that was cut off.
            let files = [
                format!("data/{round}.parquet"),
                format!("metadata/{round}-m0.avro"),
                format!("data/cut-off-{round}.parquet#1"),
            ];
            for file in files {
                planted.push(project.write(&format!(".kappa/warehouse/{namespace}/{table}/{file}"), "left behind"));
            }
        }
        // What is needed looks as old as what isn't.
        age(&needed());
        age(&planted[left..]);
        planted.push(project.write(&format!(".kappa/warehouse/{namespace}/hits/data/young.parquet"), "young"));
        let done = project.kappa(&["maintain", JOB, "--older-than", "0s", "--execute", "--json"]).ok();
        let young = planted.pop().expect("it was just planted");
        assert!(young.exists() && planted.iter().all(|path| !path.exists()), "{}", done.stdout);
        std::fs::remove_file(young).expect("it is there");
    }
    for process in [&run, &archive] {
        process.terminate();
    }
    run.wait(LIMIT).ok();
    archive.wait(LIMIT).ok();
    // What it finds is what it left, and nothing is rolled back.
    project.kappa(&["run", JOB, "--until", "end", "--drain"]).ok();
    project.kappa(&["archive", JOB, "--until", "end"]).ok();
    let [live, raw, rejected] = sound_tables(&project, [&hits, &history, &rejects]);
    assert_eq!(live.rows(), expected());
    let clicks = usize::try_from(ROUNDS * CLICKS).expect("is small");
    assert_eq!((raw.rows().len(), rejected.rows().len()), (clicks, usize::try_from(ROUNDS).expect("is small")));
    assert!(rejected.files.len() <= 2, "a round's file joins the others': {:?}", rejected.files);
    assert!(live.snapshots.len() < 20, "old ones have expired: {}", live.snapshots.len());
    let counted = duckdb(&project, &format!("SELECT CAST(sum(hits) AS BIGINT), count(*) FROM {{{hits}}}"));
    let rows = i64::try_from(expected().len()).expect("is small");
    assert_eq!(counted, [[ROUNDS * CLICKS, rows].map(Value::from)]);

    project.kappa(&[&["diff", JOB], &HOURS[..]].concat()).ok();
    project.kappa(&[&["backfill", "run", JOB], &HOURS[..]].concat()).ok();
    for table in ["hits", "clicks"] {
        let marks = project.path().join(format!(".kappa/warehouse/{namespace}/{table}/metadata/in-use"));
        let left = std::fs::read_dir(marks).expect("the backfill has marked what it used").count();
        assert_eq!(left, 0, "and takes its marks away");
    }
    age(&needed());
    project.kappa(&["maintain", JOB, "--older-than", "0s", "--execute"]).ok();
    project.kappa(&[&["diff", JOB], &HOURS[..]].concat()).ok();
    let [replaced] = sound_tables(&project, [&hits]);
    assert_eq!(replaced.rows(), expected());
}
