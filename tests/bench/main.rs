//! How far the program is from what its parts can do: the same events through bare Kafka, bare decoding, bare grouping and
//! DuckDB, then live, archived and from history. All figures are of one run on one machine, so only their ratios count.
//!
//! `cargo bench --bench limits`; what the environment sets stands in tests/README.md.

mod aggregate;
mod consume;
mod decode;
mod events;
mod held;
mod programs;
mod topic;
mod usage;
mod wide;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};

use crate::held::Checkpoints;
use crate::programs::{Broker, Project, duckdb};
use crate::usage::Cost;
use crate::wide::Wide;

const EVENTS: u64 = 10_000_000;
/// Each work is done this often, and the cheapest time counts: what else the machine does only ever adds.
const REPEATS: u64 = 2;
/// Between checkpoints: several in a run of some seconds.
const CHECKPOINT_MS: u64 = 500;
const CHECKPOINTS_LEAST: u64 = 3;

/// Live, of L4.
const LIVE_LEAST: f64 = 0.40;
/// From history, of L5.
const BACKFILL_LEAST: f64 = 0.30;
/// A hop of an hour each minute from history, of a tumbling minute: each event is in 60 windows.
const HOP_LEAST: f64 = 0.60;
/// Sessions of each key from history, of a tumbling minute.
const SESSION_LEAST: f64 = 0.40;
/// State of a key in an open window, beside the key.
const STATE_BYTES_MAX: f64 = 100.0;
/// How long a checkpoint of a million keys keeps records waiting, in milliseconds: the 99th percentile.
const PAUSE_MS_MAX: f64 = 10.0;
/// Keys that a checkpoint writes, of all, when one in a hundred has changed.
const WRITTEN_MAX: f64 = 0.03;
/// What a checkpoint of a million keys, all of them changed, takes of the processor time of ten seconds.
const LOSS_MAX: f64 = 0.05;
/// From the start behind a kill until a run with a million open keys has published, in seconds.
const RESTART_MAX: f64 = 3.0;
const PEAK_BYTES_MAX: u64 = 300_000_000;

/// A work and its cheapest run.
struct Figure {
    name: &'static str,
    cost: Cost,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|text| *text != "--bench").collect();
    match arguments[..] {
        [] => bench(),
        ["consume", address, topic, count] => tell(consume::measure(address, topic, whole(count))),
        ["decode", lines, count] => tell(decode::measure(Path::new(lines), whole(count))),
        ["aggregate", count] => tell(aggregate::measure(whole(count))),
        ["held", keys] => {
            println!("{}", json!({ "bytes": held::measure(whole(keys)) }));
            ExitCode::SUCCESS
        }
        ["checkpoints"] => {
            let Checkpoints { pause, written } = held::checkpoints();
            println!("{}", json!({ "pause": pause, "written": written }));
            ExitCode::SUCCESS
        }
        ["wide"] => {
            let folder = Folder::open();
            let broker = Broker::start(folder.path.join("kafka"));
            let Wide { loss, restart } = wide::measure(&broker, folder.path.join("wide"), "wide");
            println!("{}", json!({ "loss": loss, "restart": restart }));
            ExitCode::SUCCESS
        }
        ["fill", address, topic, lines, count] => {
            topic::fill(address, topic, Path::new(lines), whole(count));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: cargo bench --bench limits; settings are in the environment, see tests/README.md");
            ExitCode::from(2)
        }
    }
}

fn bench() -> ExitCode {
    let count = setting("KAPPA_BENCH_EVENTS", EVENTS);
    let repeats = setting("KAPPA_BENCH_REPEATS", REPEATS).max(1);
    let checkpoint_ms = setting("KAPPA_BENCH_CHECKPOINT_MS", CHECKPOINT_MS);
    let folder = Folder::open();
    let python = programs::python();
    let broker = Broker::start(folder.path.join("kafka"));
    let topic = format!("events-{count}");
    let lines = folder.path.join(format!("{topic}.jsonl"));
    if !lines.exists() {
        step(&format!("filling {topic}"));
        let unfinished = lines.with_extension("unfinished");
        part(&["fill", &broker.address, &topic, &unfinished.to_string_lossy(), &count.to_string()]);
        std::fs::rename(&unfinished, &lines).expect("the file was just written");
    }
    let run =
        Run { count, repeats, checkpoint_ms, folder: &folder.path, python: &python, broker: &broker, topic, lines };
    let (limits, works) = (run.limits(), run.works());
    step("state of a key, and its checkpoints");
    let state = State::measure();
    step("a million keys in runs");
    // Named by the process, as the broker may keep what an earlier one has sent.
    let wide = wide::measure(&broker, folder.path.join("wide"), &format!("wide-{}", std::process::id()));
    report(count, &limits, &works, &state, &wide)
}

/// What keys of an open window cost.
struct State {
    /// Bytes that one takes beside its text, with count, sum and avg of a BIGINT.
    bytes: f64,
    checkpoints: Checkpoints,
}

impl State {
    fn measure() -> State {
        let [few, many] =
            held::KEYS.map(|keys| part(&["held", &keys.to_string()])["bytes"].as_u64().expect("a number"));
        let each = (many.saturating_sub(few)) as f64 / (held::KEYS[1] - held::KEYS[0]) as f64;
        let told = part(&["checkpoints"]);
        let [pause, written] = ["pause", "written"].map(|name| told[name].as_f64().expect("a number"));
        State { bytes: each - held::KEY_BYTES as f64, checkpoints: Checkpoints { pause, written } }
    }
}

/// What all measurements share.
struct Run<'a> {
    count: u64,
    repeats: u64,
    checkpoint_ms: u64,
    folder: &'a Path,
    python: &'a Path,
    broker: &'a Broker,
    topic: String,
    lines: PathBuf,
}

impl Run<'_> {
    /// L1, L2 twice, L3.
    fn limits(&self) -> Vec<Figure> {
        let count = self.count.to_string();
        let lines = self.lines.to_string_lossy();
        vec![
            self.best("L1 bare rdkafka batch consume", || {
                cost(&part(&["consume", &self.broker.address, &self.topic, &count]))
            }),
            self.best("L2 arrow-json decoder", || cost(&part(&["decode", &lines, &count]))),
            self.best("L2 DuckDB read_json", || cost(&duckdb(self.python, &["decode", &lines]))),
            self.best("L3 DataFusion groups by minute", || cost(&part(&["aggregate", &count]))),
        ]
    }

    /// Live, archive, backfill, hop, session, L5; the rows are checked after each that writes them.
    fn works(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = Vec::new();
        for repeat in 0..self.repeats {
            let project =
                Project::create(self.folder.join("project"), &self.broker.address, &self.topic, self.checkpoint_ms);
            step("kappa run");
            let (document, live) = project.live();
            self.check_live(&document);
            step(&format!("{} rows as DuckDB has them", project.check(self.python, &self.lines)));
            step("kappa archive");
            let (_, archive) = project.archive();
            step("kappa backfill run");
            let (_, backfill) = project.backfill();
            step(&format!("{} rows as DuckDB has them", project.check(self.python, &self.lines)));
            step("kappa backfill run, hopping");
            let (_, hop) = project.hop();
            project.check_hop(self.python, self.count);
            step("kappa backfill run, sessions");
            let (_, session) = project.session();
            project.check_session(self.python, self.count);
            step("DuckDB over history");
            let duckdb = cost(&project.in_duckdb(self.python));
            let names = [
                "live",
                "archive",
                "backfill",
                "backfill, an hour each minute",
                "backfill, sessions of each key",
                "L5 DuckDB over history, with writing",
            ];
            for (index, (name, cost)) in
                names.into_iter().zip([live, archive, backfill, hop, session, duckdb]).enumerate()
            {
                step(&line(name, self.count, &cost, None));
                if repeat == 0 {
                    figures.push(Figure { name, cost });
                } else {
                    figures[index].cost = cheaper(figures[index].cost, cost);
                }
            }
        }
        figures
    }

    fn best(&self, name: &'static str, measure: impl Fn() -> Cost) -> Figure {
        step(name);
        let mut best = measure();
        for _ in 1..self.repeats {
            best = cheaper(best, measure());
        }
        step(&line(name, self.count, &best, None));
        Figure { name, cost: best }
    }

    fn check_live(&self, document: &Value) {
        let taken = document["taken"]["events"].as_u64();
        assert_eq!(taken, Some(self.count), "all records were taken: {document}");
        let checkpoints = document["checkpoints"].as_u64().unwrap_or(0);
        step(&format!("{checkpoints} checkpoints"));
        // The last one is at the end.
        if self.count >= EVENTS {
            assert!(checkpoints > CHECKPOINTS_LEAST, "only {checkpoints} checkpoints: {document}");
        }
    }
}

/// The cheaper of two runs of one work, with the greater memory.
fn cheaper(one: Cost, other: Cost) -> Cost {
    let peak_bytes = one.peak_bytes.max(other.peak_bytes);
    Cost { peak_bytes, ..if other.cpu < one.cpu { other } else { one } }
}

/// Prints the table; fails below a limit.
fn report(count: u64, limits: &[Figure], works: &[Figure], state: &State, wide: &Wide) -> ExitCode {
    let [consume, arrow, read_json, groups] = limits else { unreachable!("there are four limits") };
    let [live, archive, backfill, hop, session, duckdb] = works else { unreachable!("there are six works") };
    let rate = |figure: &Figure| count as f64 / figure.cost.cpu.as_secs_f64();
    let decode = rate(arrow).max(rate(read_json));
    let all = 1.0 / (1.0 / rate(consume) + 1.0 / decode + 1.0 / rate(groups));
    println!("{count} events; M/s = millions of events");
    println!("{:<40} {:>10} {:>10} {:>10} {:>9}", "", "M/CPU-s", "M/s wall", "peak MB", "of limit");
    for figure in limits {
        println!("{}", line(figure.name, count, &figure.cost, None));
    }
    println!("{:<40} {:>10.2}", "L4 = 1/(1/L1 + 1/L2 + 1/L3)", all / 1e6);
    println!("{}", line(live.name, count, &live.cost, Some(rate(live) / all)));
    println!("{}", line(archive.name, count, &archive.cost, None));
    println!("{}", line(duckdb.name, count, &duckdb.cost, None));
    println!("{}", line(backfill.name, count, &backfill.cost, Some(rate(backfill) / rate(duckdb))));
    println!("{}", line(hop.name, count, &hop.cost, Some(rate(hop) / rate(backfill))));
    println!("{}", line(session.name, count, &session.cost, Some(rate(session) / rate(backfill))));
    let State { bytes, checkpoints: Checkpoints { pause, written } } = state;
    println!("{:<40} {bytes:>10.0} bytes", "state of a key in an open window");
    println!("{:<40} {:>10.2} ms", "a checkpoint of 1 M keys, 1 % changed", pause * 1e3);
    println!("{:<40} {:>10.1} %", "keys that it writes", written * 100.0);
    let Wide { loss, restart } = wide;
    println!("{:<40} {:>10.1} %", "such checkpoints take, one each 10 s", loss * 100.0);
    println!("{:<40} {restart:>10.2} s", "from a kill to rows, 1 M keys");
    let mut missed = Vec::new();
    let held = [
        (live, "L4", all, LIVE_LEAST),
        (backfill, "L5", rate(duckdb), BACKFILL_LEAST),
        (hop, "the tumbling backfill", rate(backfill), HOP_LEAST),
        (session, "the tumbling backfill", rate(backfill), SESSION_LEAST),
    ];
    for (figure, of, limit, least) in held {
        if rate(figure) < least * limit {
            missed.push(format!("{}: less than {:.0} % of {of}", figure.name, least * 100.0));
        }
    }
    for figure in [live, archive, backfill] {
        if figure.cost.peak_bytes > PEAK_BYTES_MAX {
            missed.push(format!("{}: more than {} MB", figure.name, PEAK_BYTES_MAX / 1_000_000));
        }
    }
    if pause * 1e3 > PAUSE_MS_MAX {
        missed.push(format!("a checkpoint of a million keys keeps records waiting for more than {PAUSE_MS_MAX} ms"));
    }
    if *written > WRITTEN_MAX {
        missed.push(format!("it writes more than {:.0} % of them when 1 % have changed", WRITTEN_MAX * 100.0));
    }
    if *loss > LOSS_MAX {
        missed.push(format!("checkpoints each ten seconds take more than {:.0} % of the rate", LOSS_MAX * 100.0));
    }
    if *restart > RESTART_MAX {
        missed.push(format!("a run with a million keys publishes later than {RESTART_MAX} s after a kill"));
    }
    if *bytes > STATE_BYTES_MAX {
        missed.push(format!("a key in an open window takes more than {STATE_BYTES_MAX} bytes beside its text"));
    }
    for missed in &missed {
        println!("MISSED {missed}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(name: &str, count: u64, cost: &Cost, of_limit: Option<f64>) -> String {
    let rate = |time: Duration| count as f64 / time.as_secs_f64() / 1e6;
    let peak = if cost.peak_bytes == 0 { String::new() } else { (cost.peak_bytes / 1_000_000).to_string() };
    let of_limit = of_limit.map_or(String::new(), |share| format!("{:.0} %", share * 100.0));
    format!("{name:<40} {:>10.2} {:>10.2} {peak:>10} {of_limit:>9}", rate(cost.cpu), rate(cost.wall))
}

/// Where everything lies: `KAPPA_BENCH_FOLDER`, which is kept with its filled topics, or a folder of the system's
/// temporary ones, which is not.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn open() -> Folder {
        let given = std::env::var_os("KAPPA_BENCH_FOLDER").map(PathBuf::from);
        let kept = given.is_some();
        let path = given.unwrap_or_else(|| std::env::temp_dir().join(format!("kappa-bench-{}", std::process::id())));
        std::fs::create_dir_all(&path).expect("the disk takes folders");
        Folder { path: path.canonicalize().expect("the folder is there"), kept }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept && std::fs::remove_dir_all(&self.path).is_err() {
            eprintln!("{} was not removed", self.path.display());
        }
    }
}

/// Runs a part of the benchmark in a process of its own; answers what it tells.
fn part(arguments: &[&str]) -> Value {
    let program = std::env::current_exe().expect("a program knows its file");
    let (document, _) = usage::run(Command::new(program).args(arguments));
    if document.is_empty() { Value::Null } else { serde_json::from_str(&document).expect("parts print JSON") }
}

fn tell(cost: Cost) -> ExitCode {
    println!("{}", json!({ "cpu": cost.cpu.as_secs_f64(), "wall": cost.wall.as_secs_f64() }));
    ExitCode::SUCCESS
}

fn cost(document: &Value) -> Cost {
    let seconds = |name: &str| Duration::from_secs_f64(document[name].as_f64().expect("a part tells its cost"));
    Cost { cpu: seconds("cpu"), wall: seconds("wall"), peak_bytes: 0 }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| whole(&text))
}

fn whole(text: &str) -> u64 {
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("{text:?} is no whole number"))
}

fn step(text: &str) {
    eprintln!("bench: {text}");
}
