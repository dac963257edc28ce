//! A million keys in one open window: what a checkpoint each ten seconds takes of the rate, and how soon a run that was killed
//! publishes again.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::events::{HOUR_START_MS, PARTITIONS};
use crate::programs::{Broker, config};
use crate::topic;
use crate::usage::{self, Cost, Stopwatch};

/// Keys of the window; events come to them in turn.
pub const KEYS: u64 = 1_000_000;
/// Each key comes so often.
const ROUNDS: u64 = 8;
/// Events that come behind a kill, minutes after the others.
const LATER: u64 = 100;
/// Milliseconds of event time that all events but the later ones take.
const SPAN_MS: u64 = 30 * 60_000;
const LATER_MS: u64 = 40 * 60_000;
/// Between two checkpoints, of a run that has many and of one that has only the last.
const INTERVALS: [&str; 2] = ["500ms", "1h"];
/// The interval that the loss is told for.
const TOLD: Duration = Duration::from_secs(10);
/// How often to look whether a run has begun.
const LOOK: Duration = Duration::from_millis(5);
const JOB: &str = "jobs/wide.sql";

/// What a million open keys cost.
pub struct Wide {
    /// Processor time that a checkpoint takes of what a run uses in ten seconds.
    pub loss: f64,
    /// Seconds from the start behind a kill until the run has published and ended.
    pub restart: f64,
}

/// Fills a topic and measures.
///
/// # Panics
/// If a run fails, has too few checkpoints to tell, or publishes nothing behind a kill.
pub fn measure(broker: &Broker, folder: PathBuf, name: &str) -> Wide {
    let count = KEYS * ROUNDS;
    topic::create(&broker.address, name);
    topic::produce(&broker.address, name, 0..count, |number, text| {
        write(text, number % KEYS, number * SPAN_MS / count)
    });
    let [many, one] = INTERVALS.map(|interval| {
        let project = Project::create(&folder.join(interval), broker, name, interval);
        let (document, cost) = project.run();
        assert_eq!(document["taken"]["events"].as_u64(), Some(count), "all records were taken: {document}");
        (project, document["checkpoints"].as_u64().expect("a number"), cost)
    });
    let more = many.1.checked_sub(one.1).filter(|more| *more > 1).expect("a run of several checkpoints");
    let cores = one.2.cpu.as_secs_f64() / one.2.wall.as_secs_f64();
    let each = (many.2.cpu.as_secs_f64() - one.2.cpu.as_secs_f64()) / more as f64;
    let restart = many.0.restart(broker, name, count..count + LATER);
    Wide { loss: each / (cores * TOLD.as_secs_f64()), restart }
}

/// Writes an event; answers partition and time.
fn write(text: &mut Vec<u8>, key: u64, instant: u64) -> (i32, i64) {
    let ts = HOUR_START_MS + instant as i64;
    text.clear();
    write!(text, r#"{{"ts":{ts},"key":"key-{key:07}","value":{}}}"#, key % 1_000).expect("memory takes every byte");
    ((key % PARTITIONS) as i32, ts)
}

struct Project {
    folder: PathBuf,
}

impl Project {
    fn create(folder: &std::path::Path, broker: &Broker, topic: &str, interval: &str) -> Project {
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("the folder is ours");
        }
        std::fs::create_dir_all(folder.join("jobs")).expect("the disk takes folders");
        let job = format!(
            "CREATE STREAM events (ts TIMESTAMP NOT NULL, key TEXT NOT NULL, value BIGINT, WATERMARK FOR ts)
LIVE FROM KAFKA '{topic}' FORMAT JSON;
INSERT INTO ICEBERG 'bench.wide' PARTITIONED BY (hour(window_start))
SELECT window_start, key, count(*) AS events, sum(value) AS total, avg(value) AS mean
FROM   TUMBLE(events, ts, INTERVAL '1 hour') GROUP BY window_start, window_end, key;
INSERT INTO ICEBERG 'bench.pace' PARTITIONED BY (hour(window_start))
SELECT window_start, count(*) AS events
FROM   TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
"
        );
        std::fs::write(folder.join("kappa.toml"), config(&broker.address, interval)).expect("the folder takes files");
        std::fs::write(folder.join(JOB), job).expect("the folder takes files");
        Project { folder: folder.to_owned() }
    }

    fn kappa(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
        command.current_dir(&self.folder).arg("run").arg(JOB).args(arguments).arg("--quiet");
        command
    }

    /// To the end of the log; the hour stays open.
    fn run(&self) -> (Value, Cost) {
        let (document, cost) = usage::run(&mut self.kappa(&["--until", "end", "--json"]));
        (serde_json::from_str(&document).expect("kappa prints JSON"), cost)
    }

    /// Kills a run that holds all keys, sends events of later minutes, and runs again; answers how long that took.
    fn restart(&self, broker: &Broker, topic: &str, later: Range<u64>) -> f64 {
        let generations = || std::fs::read_dir(self.folder.join(".kappa/state/wide")).expect("it has state").count();
        let before = generations();
        let mut running = self.kappa(&[]).stdin(Stdio::null()).spawn().expect("starts");
        while generations() == before {
            std::thread::sleep(LOOK);
        }
        running.kill().and_then(|()| running.wait()).expect("it runs");
        topic::produce(&broker.address, topic, later, |number, text| write(text, number % KEYS, LATER_MS + number % 7));
        let stopwatch = Stopwatch::start();
        let (document, _) = self.run();
        let took = stopwatch.stop().wall.as_secs_f64();
        let rows = document["rows"]["bench.pace"].as_u64();
        assert!(rows.is_some_and(|rows| rows > 0), "the last minute was published: {document}");
        took
    }
}
