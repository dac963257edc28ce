//! ALLOW LATENESS: a window is shown when the watermark has passed its end, and replaced when an accepted late record changes
//! it; at every stop it is in the table once.

use std::sync::Arc;
use std::time::Duration;

use kappa::checkpoints::CheckpointStore;
use kappa::event::TableName;
use kappa::iceberg::Catalog;
use kappa::job::{Plan, compile};
use kappa::live::{RunOptions, Setup, Until, run};
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::case::Message;
use super::faces::{catalog, runtime, table_rows};
use super::memory::MemoryLogs;
use crate::model::{Body, SECOND, Value};

/// 2026-01-01T00:00:00Z, from which on seconds are counted.
pub(super) const START: i64 = 1_767_225_600;

fn plan(query: &str) -> Arc<Plan> {
    plan_of(&format!("INSERT INTO ICEBERG 'ns.result' PARTITIONED BY (day(window_start)) {query}"))
}

/// A job over the tests' stream.
pub(super) fn plan_of(insert: &str) -> Arc<Plan> {
    let sql = format!(
        "CREATE STREAM s (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '0 seconds')
         LIVE FROM KAFKA 'topic' FORMAT JSON HISTORY FROM ICEBERG 'ns.history';
         {insert};"
    );
    Arc::new(compile("revised", &sql).unwrap_or_else(|errors| panic!("{errors:?}")))
}

const COUNTS: &str = "SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(s, t, INTERVAL '1 minute')
                      GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '5 minutes'";

/// The records of one partition: host and second of the event time.
pub(super) fn log(records: &[(&str, i64)]) -> Vec<Message> {
    let message = |&(host, second): &(&str, i64)| {
        let second = START + second;
        let raw = format!(r#"{{"host":"{host}","t":{second}}}"#).into_bytes();
        // What the model would make of it isn't asked for.
        Message { timestamp_ms: second * 1_000, raw: Some(raw), body: Body::Broken }
    };
    records.iter().map(message).collect()
}

/// A job that is stopped now and then, with what its table holds at each stop.
pub(super) struct Job {
    pub(super) folder: tempfile::TempDir,
    pub(super) plan: Arc<Plan>,
    pub(super) catalog: Catalog,
    checkpoints: CheckpointStore,
}

impl Job {
    pub(super) async fn new(plan: Arc<Plan>) -> Job {
        let folder = tempfile::tempdir().expect("temporary folder");
        let catalog = catalog(folder.path()).await;
        let checkpoints = CheckpointStore::open("state", folder.path(), "revised").expect("folder takes files");
        Job { folder, plan, catalog, checkpoints }
    }

    /// Reads one partition to its end as it is there, by so many workers.
    async fn run(&self, records: &[Message], workers: usize, drain: bool) -> Vec<String> {
        let partitions = Arc::new(vec![records.to_vec()]);
        self.read(MemoryLogs { partitions, ends: vec![records.len()], batch_rows: 1, seed: 7 }, workers, drain).await
    }

    /// Reads a log to its end as it is there, by so many workers.
    pub(super) async fn read(&self, logs: MemoryLogs, workers: usize, drain: bool) -> Vec<String> {
        let setup = Setup {
            catalog: self.catalog.clone(),
            checkpoints: self.checkpoints.clone(),
            logs: Arc::new(logs),
            clock: Arc::new(SystemClock::start()),
        };
        let options = RunOptions {
            workers,
            checkpoint_interval: Duration::from_secs(3_600),
            until: Until::End,
            drain,
            epoch_rows: 1,
            ..RunOptions::default()
        };
        run(&self.plan, &setup, &options, &CancellationToken::new(), &|_| {}).await.expect("the run ends");
        self.rows().await
    }

    /// `second of the window's start, then the other columns`, sorted.
    pub(super) async fn rows(&self) -> Vec<String> {
        let name = TableName::parse("ns.result").expect("two parts");
        let columns: Vec<String> = self.plan.inserts[0].columns.iter().map(|column| column.name.clone()).collect();
        let show = |value: Value| match value {
            Value::Timestamp(time) => (time.div_euclid(SECOND) - START).to_string(),
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let rows = table_rows(&self.catalog, &name, &columns).await;
        let mut rows: Vec<String> =
            rows.into_iter().map(|row| row.into_iter().map(show).collect::<Vec<_>>().join(" ")).collect();
        rows.sort();
        rows
    }

    /// `kappa.revised` of the newest snapshot that says it.
    async fn revised(&self) -> String {
        let name = TableName::parse("ns.result").expect("two parts");
        let table = self.catalog.load(&name).await.expect("catalog answers").expect("the table is there");
        let newest_first = table.ancestors();
        newest_first
            .iter()
            .find_map(|snapshot| table.summary(*snapshot)?.get("kappa.revised").cloned())
            .expect("it is said")
    }
}

#[test]
fn a_late_record_that_is_allowed_replaces_its_window() {
    runtime().block_on(async {
        let job = Job::new(plan(COUNTS)).await;
        // By 2:00 the first window is over: it is shown, though records may still come for it.
        let mut records = log(&[("a", 10), ("b", 20), ("a", 120)]);
        assert_eq!(job.run(&records, 2, false).await, ["0 60 a 1", "0 60 b 1"]);
        // One comes, and a new host with it; a minute of event time later they show, once.
        records.extend(log(&[("a", 30), ("c", 31), ("a", 125)]));
        assert_eq!(job.run(&records, 1, false).await, ["0 60 a 1", "0 60 b 1"], "not yet: once a minute at most");
        records.extend(log(&[("a", 240)]));
        assert_eq!(job.run(&records, 3, false).await, ["0 60 a 2", "0 60 b 1", "0 60 c 1", "120 180 a 2"]);
        // Beyond the lateness nothing changes any more: it ends when a partition has shown 6:00.
        records.extend(log(&[("b", 40), ("a", 360), ("a", 41)]));
        let after = job.run(&records, 2, false).await;
        assert_eq!(after[..3], ["0 60 a 2", "0 60 b 2", "0 60 c 1"]);
        let drained = job.run(&records, 2, true).await;
        let expected = ["0 60 a 2", "0 60 b 2", "0 60 c 1", "120 180 a 2", "240 300 a 1", "360 420 a 1"];
        assert_eq!(drained, expected);
    });
}

#[test]
fn a_snapshot_says_how_many_windows_it_revised() {
    runtime().block_on(async {
        let job = Job::new(plan(COUNTS)).await;
        let mut records = log(&[("a", 10), ("a", 120)]);
        job.run(&records, 1, false).await;
        assert_eq!(job.revised().await, "0");
        records.extend(log(&[("a", 30), ("a", 300)]));
        job.run(&records, 1, false).await;
        assert_eq!(job.revised().await, "1");
    });
}

#[test]
fn a_window_that_having_leaves_empty_after_a_revision_goes() {
    runtime().block_on(async {
        let query = COUNTS.replace("ALLOW", "HAVING count(*) < 2 ALLOW");
        let job = Job::new(plan(&query)).await;
        let mut records = log(&[("a", 10), ("a", 120)]);
        assert_eq!(job.run(&records, 1, false).await, ["0 60 a 1"]);
        records.extend(log(&[("a", 30), ("a", 300)]));
        assert_eq!(job.run(&records, 1, false).await, ["120 180 a 1"]);
    });
}

#[test]
fn the_first_rows_of_a_window_are_chosen_anew() {
    runtime().block_on(async {
        let (groups, lateness) = COUNTS.split_once(" ALLOW").expect("it allows lateness");
        let job = Job::new(plan(&format!("SELECT * FROM ({groups}) ORDER BY n DESC LIMIT 1 ALLOW{lateness}"))).await;
        let mut records = log(&[("a", 10), ("a", 11), ("b", 12), ("a", 120)]);
        assert_eq!(job.run(&records, 2, false).await, ["0 60 a 2"]);
        records.extend(log(&[("b", 13), ("b", 14), ("a", 300)]));
        assert_eq!(job.run(&records, 2, false).await, ["0 60 b 3", "120 180 a 1"]);
    });
}

#[test]
fn a_late_record_of_a_hop_replaces_the_windows_that_it_is_in_time_for() {
    runtime().block_on(async {
        let hop = "HOP(s, t, INTERVAL '1 minute', INTERVAL '2 minutes')";
        let job = Job::new(plan(&COUNTS.replace("TUMBLE(s, t, INTERVAL '1 minute')", hop))).await;
        // [-60, 60) and [0, 120) are over.
        let mut records = log(&[("a", 10), ("b", 100), ("a", 200)]);
        assert_eq!(job.run(&records, 2, false).await, ["-60 60 a 1", "0 120 a 1", "0 120 b 1", "60 180 b 1"]);
        // At 360 the lateness of [-60, 60) ends, so that 20 is late for it and in time for [0, 120).
        records.extend(log(&[("c", 360), ("c", 20), ("a", 421)]));
        let rows = job.run(&records, 3, false).await;
        let of_first = rows.iter().filter(|row| row.starts_with("-60 ") || row.starts_with("0 "));
        assert_eq!(of_first.collect::<Vec<_>>(), ["-60 60 a 1", "0 120 a 1", "0 120 b 1", "0 120 c 1"]);
    });
}

#[test]
fn a_late_record_of_a_cumulating_window_replaces_the_longer_ones() {
    runtime().block_on(async {
        let cumulate = "CUMULATE(s, t, INTERVAL '1 minute', INTERVAL '3 minutes')";
        let query = COUNTS.replace("TUMBLE(s, t, INTERVAL '1 minute')", cumulate);
        let insert = "INSERT INTO ICEBERG 'ns.result' PARTITIONED BY (day(window_end))";
        let job = Job::new(plan_of(&format!("{insert} {}", query.replace("5 minutes", "90 seconds")))).await;
        let mut records = log(&[("a", 10), ("b", 130)]);
        assert_eq!(job.run(&records, 2, false).await, ["0 120 a 1", "0 60 a 1"]);
        // Seen is 160: the window to 60 takes records until 150, those to 120 and 180 take this one.
        records.extend(log(&[("b", 160), ("a", 20), ("b", 190)]));
        assert_eq!(job.run(&records, 1, false).await, ["0 120 a 2", "0 180 a 2", "0 180 b 2", "0 60 a 1"]);
        records.extend(log(&[("a", 50), ("b", 300)]));
        let rows = job.run(&records, 2, false).await;
        assert_eq!(rows[..4], ["0 120 a 3", "0 180 a 3", "0 180 b 2", "0 60 a 1"]);
    });
}

const VISITS: &str = "SELECT window_start, window_end, host, count(*) AS n
                      FROM SESSION(s PARTITION BY host, t, INTERVAL '30 seconds')
                      GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '5 minutes'";

#[test]
fn a_late_record_joins_two_published_sessions_and_the_others_stay() {
    runtime().block_on(async {
        let job = Job::new(plan(VISITS)).await;
        // The sessions of b begin and end as those of a do.
        let mut records = log(&[("a", 0), ("b", 0), ("a", 40), ("b", 40), ("z", 80)]);
        let two = ["0 30 a 1", "0 30 b 1", "40 70 a 1", "40 70 b 1"];
        assert_eq!(job.run(&records, 2, false).await, two);
        records.extend(log(&[("a", 20), ("z", 110)]));
        assert_eq!(job.run(&records, 3, false).await, [&two[..], &["80 110 z 1"]].concat(), "not yet: once a minute");
        records.extend(log(&[("z", 200)]));
        let joined = ["0 30 b 1", "0 70 a 3", "110 140 z 1", "40 70 b 1", "80 110 z 1"];
        assert_eq!(job.run(&records, 1, false).await, joined);
        assert_eq!(job.revised().await, "2");
        let drained = job.run(&records, 2, true).await;
        assert_eq!(drained, ["0 30 b 1", "0 70 a 3", "110 140 z 1", "200 230 z 1", "40 70 b 1", "80 110 z 1"]);
    });
}

#[test]
fn a_published_session_that_goes_on_is_gone_until_it_is_over() {
    runtime().block_on(async {
        let job = Job::new(plan(VISITS)).await;
        let mut records = log(&[("a", 0), ("z", 31)]);
        assert_eq!(job.run(&records, 1, false).await, ["0 30 a 1"]);
        records.extend(log(&[("a", 29), ("a", 55), ("a", 80), ("a", 105)]));
        assert_eq!(job.run(&records, 2, false).await, ["31 61 z 1"], "[0, 135) is open");
        records.extend(log(&[("z", 135)]));
        assert_eq!(job.run(&records, 2, false).await, ["0 135 a 5", "31 61 z 1"]);
    });
}

#[test]
fn a_late_record_changes_the_sliding_windows_behind_it() {
    runtime().block_on(async {
        let visits = VISITS.replace("SESSION", "SLIDING");
        let job = Job::new(plan(&visits)).await;
        let mut records = log(&[("a", 10), ("a", 25), ("a", 50), ("z", 60)]);
        assert_eq!(job.run(&records, 2, false).await, ["-20 10 a 1", "-5 25 a 2", "20 50 a 2"]);
        records.extend(log(&[("a", 22), ("z", 61)]));
        let between = ["-20 10 a 1", "-5 25 a 2", "-8 22 a 2", "20 50 a 2", "30 60 z 1"];
        assert_eq!(job.run(&records, 1, false).await, between, "its own window is new");
        records.extend(log(&[("z", 130)]));
        let after = ["-20 10 a 1", "-5 25 a 3", "-8 22 a 2", "20 50 a 3", "30 60 z 1"];
        assert_eq!(job.run(&records, 3, false).await[..5], after);
    });
}
