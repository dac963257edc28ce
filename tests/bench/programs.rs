//! The programs beside us: the broker, the Python environment, `kappa` itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::events::{HOUR, HOUR_AFTER, HOUR_BEFORE};
use crate::usage::{self, Cost};

/// The broker's heap: as small as serves ten million events.
const KAFKA_HEAP: &str = "160m";
const JOB: &str = "jobs/per_minute.sql";
const HOP_JOB: &str = "jobs/per_hour.sql";
const SESSION_JOB: &str = "jobs/per_session.sql";
/// Of the catalog; all tables are in this namespace.
const HISTORY: &str = "bench.events";
const RESULT: &str = "bench.per_minute";
const HOP_RESULT: &str = "bench.per_hour";
const SESSION_RESULT: &str = "bench.per_session";
/// Windows that each event falls in, by [`HOP_JOB`].
const HOP_WINDOWS: u64 = 60;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A broker on a folder; stopped when dropped.
pub struct Broker {
    folder: PathBuf,
    /// Bootstrap address.
    pub address: String,
}

impl Broker {
    /// Starts a broker on what `folder` holds.
    pub fn start(folder: PathBuf) -> Broker {
        let mut command = Command::new(repository().join("tests/servers/kafka/server"));
        command.arg("start").arg(&folder).env("KAPPA_TEST_KAFKA_HEAP", KAFKA_HEAP);
        let (address, _) = usage::run(&mut command);
        Broker { folder, address: address.trim().to_owned() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let stopped =
            Command::new(repository().join("tests/servers/kafka/server")).arg("stop").arg(&self.folder).status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the broker in {} was not stopped", self.folder.display());
        }
    }
}

/// The interpreter with DuckDB and pyiceberg; fetched if it isn't there.
pub fn python() -> PathBuf {
    let (interpreter, _) = usage::run(&mut Command::new(repository().join("tests/servers/python/fetch")));
    PathBuf::from(interpreter.trim())
}

/// Runs `duckdb_bench.py`: what it prints, and what it says that the work has cost.
pub fn duckdb(python: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(python);
    command.arg(repository().join("tests/bench/duckdb_bench.py")).args(arguments);
    let (document, _) = usage::run(&mut command);
    serde_json::from_str(&document).expect("the script prints JSON")
}

/// The profile of a project with everything in its folder, and so long between checkpoints.
pub fn config(address: &str, interval: &str) -> String {
    format!(
        r#"[kafka]
"bootstrap.servers" = "{address}"
[catalog]
type = "sql"
uri = "sqlite:.kappa/catalog.db"
name = "kappa"
warehouse = ".kappa/warehouse"
[state]
location = ".kappa/state"
[run]
checkpoint_interval = "{interval}"
"#
    )
}

/// A project folder with the job, on a catalog and a warehouse of its own.
pub struct Project {
    folder: PathBuf,
}

impl Project {
    /// Makes one in `folder`, anew. With `checkpoint_ms` between the checkpoints.
    pub fn create(folder: PathBuf, address: &str, topic: &str, checkpoint_ms: u64) -> Project {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("the folder is ours");
        }
        std::fs::create_dir_all(folder.join("jobs")).expect("the disk takes folders");
        let stream = format!(
            "CREATE STREAM events (
  ts TIMESTAMP NOT NULL, key TEXT NOT NULL, value BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
)
LIVE    FROM KAFKA   '{topic}' FORMAT JSON
HISTORY FROM ICEBERG '{HISTORY}';
"
        );
        let job = |result: &str, edge: &str, window: &str| {
            format!(
                "{stream}
INSERT INTO ICEBERG '{result}' PARTITIONED BY (hour({edge}))
SELECT {edge}, key, count(*) AS events, sum(value) AS total, avg(value) AS mean
FROM   {window}
GROUP  BY window_start, window_end, key;
"
            )
        };
        let minutes = job(RESULT, "window_start", "TUMBLE(events, ts, INTERVAL '1 minute')");
        let hours = job(HOP_RESULT, "window_start", "HOP(events, ts, INTERVAL '1 minute', INTERVAL '1 hour')");
        let sessions = "SESSION(events PARTITION BY key, ts, INTERVAL '10 seconds')";
        let sessions = job(SESSION_RESULT, "window_end", sessions);
        std::fs::write(folder.join("kappa.toml"), config(address, &format!("{checkpoint_ms}ms")))
            .expect("the folder takes files");
        std::fs::write(folder.join(JOB), minutes).expect("the folder takes files");
        std::fs::write(folder.join(HOP_JOB), hours).expect("the folder takes files");
        std::fs::write(folder.join(SESSION_JOB), sessions).expect("the folder takes files");
        Project { folder }
    }

    fn kappa(&self, arguments: &[&str]) -> (Value, Cost) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
        command.current_dir(&self.folder).args(arguments).args(["--json", "--quiet"]);
        let (document, cost) = usage::run(&mut command);
        (serde_json::from_str(&document).expect("kappa prints JSON"), cost)
    }

    /// The job live, from the log's beginning to its end.
    pub fn live(&self) -> (Value, Cost) {
        self.kappa(&["run", JOB, "--until", "end", "--drain"])
    }

    /// The log into history, to its end.
    pub fn archive(&self) -> (Value, Cost) {
        self.kappa(&["archive", JOB, "--until", "end"])
    }

    /// The hour again, from history.
    pub fn backfill(&self) -> (Value, Cost) {
        self.kappa(&["backfill", "run", JOB, "--from", HOUR[0], "--to", HOUR[1], "--drain"])
    }

    /// All hours that hold an event of the hour, one each minute, from history.
    pub fn hop(&self) -> (Value, Cost) {
        self.kappa(&["backfill", "run", HOP_JOB, "--from", HOUR_BEFORE, "--to", HOUR[1], "--drain"])
    }

    /// The sessions of each key that end in the hour or right behind it, from history.
    pub fn session(&self) -> (Value, Cost) {
        self.kappa(&["backfill", "run", SESSION_JOB, "--from", HOUR[0], "--to", HOUR_AFTER, "--drain"])
    }

    /// Checks that each of `count` events is in one session.
    ///
    /// # Panics
    /// If one is missing or in several.
    pub fn check_session(&self, python: &Path, count: u64) {
        let [uri, warehouse] = self.catalog();
        let found = duckdb(python, &["sum", &uri, &warehouse, SESSION_RESULT]);
        assert_eq!(found["events"].as_u64(), Some(count), "each event is in one session: {found}");
    }

    /// Checks that each of `count` events is in all of its hours.
    ///
    /// # Panics
    /// If one is missing or too many.
    pub fn check_hop(&self, python: &Path, count: u64) {
        let [uri, warehouse] = self.catalog();
        let found = duckdb(python, &["sum", &uri, &warehouse, HOP_RESULT]);
        assert_eq!(
            found["events"].as_u64(),
            Some(count * HOP_WINDOWS),
            "each event is in {HOP_WINDOWS} windows: {found}"
        );
    }

    /// Where DuckDB finds the tables.
    fn catalog(&self) -> [String; 2] {
        let folder = self.folder.join(".kappa");
        let (database, warehouse) = (folder.join("catalog.db"), folder.join("warehouse"));
        [format!("sqlite:///{}", database.display()), format!("file://{}", warehouse.display())]
    }

    /// The job over history in DuckDB, with writing.
    pub fn in_duckdb(&self, python: &Path) -> Value {
        let [uri, warehouse] = self.catalog();
        let out = self.folder.join("duckdb.parquet");
        duckdb(python, &["aggregate", &uri, &warehouse, HISTORY, &out.to_string_lossy()])
    }

    /// Compares the result with what DuckDB makes of `lines`.
    ///
    /// # Panics
    /// If a row differs.
    pub fn check(&self, python: &Path, lines: &Path) -> u64 {
        let [uri, warehouse] = self.catalog();
        let found = duckdb(python, &["compare", &uri, &warehouse, RESULT, &lines.to_string_lossy()]);
        let number = |name: &str| found[name].as_u64().expect("the script counts");
        assert!(
            number("missing") == 0 && number("extra") == 0 && number("rows") == number("expected"),
            "the rows of {RESULT} aren't DuckDB's: {found}"
        );
        number("rows")
    }
}
