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

fn plan(query: &str) -> Arc<Plan> {
    let sql = format!(
        "CREATE STREAM s (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '0 seconds')
         LIVE FROM KAFKA 'topic' FORMAT JSON;
         INSERT INTO ICEBERG 'ns.result' PARTITIONED BY (day(window_start)) {query};"
    );
    Arc::new(compile("revised", &sql).unwrap_or_else(|errors| panic!("{errors:?}")))
}

const COUNTS: &str = "SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(s, t, INTERVAL '1 minute')
                      GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '5 minutes'";

/// The records of one partition: host and second of the event time.
fn log(records: &[(&str, i64)]) -> Vec<Message> {
    let message = |&(host, second): &(&str, i64)| {
        let second = 1_767_225_600 + second;
        let raw = format!(r#"{{"host":"{host}","t":{second}}}"#).into_bytes();
        // What the model would make of it isn't asked for.
        Message { timestamp_ms: second * 1_000, raw: Some(raw), body: Body::Broken }
    };
    records.iter().map(message).collect()
}

/// A job that is stopped now and then, with what its table holds at each stop.
struct Job {
    _folder: tempfile::TempDir,
    plan: Arc<Plan>,
    catalog: Catalog,
    checkpoints: CheckpointStore,
}

impl Job {
    async fn new(plan: Arc<Plan>) -> Job {
        let folder = tempfile::tempdir().expect("temporary folder");
        let catalog = catalog(folder.path()).await;
        let checkpoints = CheckpointStore::open("state", folder.path(), "revised").expect("folder takes files");
        Job { _folder: folder, plan, catalog, checkpoints }
    }

    /// Reads the log to its end as it is there, by so many workers.
    async fn run(&self, records: &[Message], workers: usize, drain: bool) -> Vec<String> {
        let logs = MemoryLogs {
            partitions: Arc::new(vec![records.to_vec()]),
            ends: vec![records.len()],
            batch_rows: 1,
            seed: 7,
        };
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
    async fn rows(&self) -> Vec<String> {
        let name = TableName::parse("ns.result").expect("two parts");
        let columns: Vec<String> = self.plan.inserts[0].columns.iter().map(|column| column.name.clone()).collect();
        let show = |value: Value| match value {
            Value::Timestamp(time) => (time / SECOND - 1_767_225_600).to_string(),
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
