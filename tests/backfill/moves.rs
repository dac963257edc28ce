//! Random sequences of what can happen to a job: it runs, dies, is reset, taken back to a savepoint, upgraded, its ranges are
//! backfilled, others append to its table and compact it; and whatever is done may die at any call to the store, and is then
//! done again. At any time a window is whole, of one version and there once; in the end every window is what the newest
//! version says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kappa::backfill::BackfillError;
use kappa::event::{EventTime, ResumeOffset};
use kappa::job::Plan;
use kappa::ownership::NotWritable;
use kappa::reposition::{Destination, Positions, Repositioned, Upgrade};
use kappa::start::Start;

use super::log::{Log, Record};
use super::mortal::Death;
use super::rig::{DRAINED, Rig, files, job, line, lines_of};
use crate::model::{self, Aggregate, Body, Function, HOUR, SECOND, Value};
use crate::replay::Random;

const MINUTE: i64 = 60 * SECOND;
/// 2026-01-01T00:00:00Z
const MIDNIGHT: i64 = 1_767_225_600_000_000;
/// Records in each of two partitions, about two in five minutes, with an hour of none.
const RECORDS: usize = 100;
const BOUND: i64 = 20 * SECOND;
const WINDOW: i64 = 14 * MINUTE;

/// Sequences of the test, and steps of each.
const CASES: u64 = 200;
const STEPS: usize = 9;
/// What is done to the log dies at one of so many calls to the store, if it makes as many.
const DEADLY_CALLS: i64 = 150;

fn plan(version: i64, publish: &str) -> Arc<Plan> {
    job(
        "hits",
        &format!(
            "CREATE STREAM events (host TEXT, n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '20 seconds')
             LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
             INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, host, count(*) AS hits, sum(n * {version}) AS n
             FROM TUMBLE(events, t, INTERVAL '14 minutes') GROUP BY window_start, window_end, host {publish};"
        ),
    )
}

/// Partitions of their own pace, with late records, and an hour without any.
fn records(random: &mut Random) -> model::Log {
    let mut partition = || {
        let mut clock = MIDNIGHT;
        let mut record = |index: usize| {
            clock += random.between(1, 5 * MINUTE);
            if index == RECORDS / 2 {
                clock += HOUR;
            }
            let time = if random.percent(8) { clock - random.between(0, 30 * MINUTE) } else { clock };
            let host = format!("h{}", random.between(0, 3));
            let fields = [
                ("host".to_owned(), Value::Text(host)),
                ("n".to_owned(), Value::Integer(random.between(0, 9))),
                ("t".to_owned(), Value::Timestamp(time)),
            ];
            let offset = i64::try_from(index).expect("is small");
            model::Record { offset, timestamp: Some(clock), body: Body::Fields(fields.into()) }
        };
        (0..RECORDS).map(&mut record).collect()
    };
    (0..2).map(|number| (number, partition())).collect()
}

fn message(record: &model::Record) -> Record {
    let Body::Fields(fields) = &record.body else { panic!("every record is readable") };
    let text = |(name, value): (&String, &Value)| match value {
        Value::Text(text) => format!(r#""{name}":"{text}""#),
        Value::Integer(number) => format!(r#""{name}":{number}"#),
        Value::Timestamp(time) => format!(r#""{name}":"{}""#, EventTime(*time)),
        other => panic!("{other:?} is in no record"),
    };
    let fields: Vec<String> = fields.iter().map(text).collect();
    (record.timestamp.expect("every record has one"), format!("{{{}}}", fields.join(",")))
}

/// Lines of rows by the start of their window.
type Windows = BTreeMap<i64, BTreeSet<String>>;

/// What version 1 says of a log: all of it, with all windows closed.
fn said_by_model(log: &model::Log) -> Vec<Vec<Value>> {
    let stream = model::Stream {
        event_time: "t".into(),
        required: vec!["t".into()],
        bound: BOUND,
        when: None,
        max_future: Some(HOUR),
    };
    let aggregate = |function| Aggregate { function, filter: None };
    let query = model::Query {
        filter: None,
        cut: model::Cut::Tumble,
        size: WINDOW,
        offset: 0,
        allowed: 0,
        partition_by: Vec::new(),
        keys: vec!["host".into()],
        aggregates: vec![aggregate(Function::CountAll), aggregate(Function::Sum("n".into()))],
    };
    let rows = model::results(&model::judge(log, &stream, &query), &stream, &query, i64::MAX);
    rows.into_iter().map(|row| row.into_iter().map(|cell| cell.value).collect()).collect()
}

/// What another version says, if version 1 says this.
fn says(said: &[Vec<Value>], version: i64) -> Windows {
    let names = ["window_start", "window_end", "host", "hits", "n"].map(str::to_owned);
    let mut windows = Windows::new();
    for row in said {
        let [Value::Timestamp(start), end, host, hits, Value::Integer(n)] = row.as_slice() else {
            panic!("{row:?} isn't the query's")
        };
        let row = [Value::Timestamp(*start), end.clone(), host.clone(), hits.clone(), Value::Integer(n * version)];
        windows.entry(*start).or_default().insert(line(&names, &row));
    }
    windows
}

/// One sequence.
struct Case {
    seed: u64,
    random: Random,
    rig: Rig,
    log: Log,
    /// How much of each partition is there.
    there: usize,
    publish: &'static str,
    version: i64,
    /// The job of that version.
    plan: Arc<Plan>,
    /// Rows of version 1.
    said: Vec<Vec<Value>>,
    /// What each version so far says of the whole log.
    says: BTreeMap<i64, Windows>,
    /// Rows of files that were read: files never change.
    read: HashMap<String, Vec<String>>,
    /// Windows in which somebody else has put rows, and those that the newest move publishes again.
    junk: BTreeSet<i64>,
    moved_to: i64,
    /// Every window from here on is the newest version's, once all of the log is read.
    sure_from: i64,
    /// Savepoints with their version and `sure_from`.
    kept: Vec<(String, i64, i64)>,
    steps: Vec<String>,
}

impl Case {
    async fn new(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let records = records(&mut random);
        let log = Log::new(records.values().map(|partition| partition.iter().map(message).collect()).collect());
        let publish = random.pick(&["", "", "PUBLISH WHOLE PARTITIONS"]);
        let (rig, plan) = (Rig::in_memory().await, plan(1, publish));
        rig.archive(&plan, &log).await;
        let said = said_by_model(&records);
        Case {
            seed,
            random,
            rig,
            log,
            there: RECORDS / 12,
            publish,
            version: 1,
            plan,
            says: BTreeMap::from([(1, says(&said, 1))]),
            said,
            read: HashMap::new(),
            junk: BTreeSet::new(),
            moved_to: i64::MIN,
            sure_from: i64::MIN,
            kept: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn visible(&self) -> Log {
        self.log.up_to(self.there)
    }

    async fn step(&mut self) {
        let choice = self.random.below(100);
        let name = match choice {
            0..20 => self.run().await,
            20..40 => self.die().await,
            40..60 => self.reset().await,
            60..68 => self.keep().await,
            68..76 => self.restore().await,
            76..84 => self.upgrade().await,
            84..92 => self.backfill().await,
            _ => self.rig.compact("marts.hits").await,
        };
        self.steps.push(name);
        self.check_whole().await;
    }

    /// The log grows, and the job takes all of it.
    async fn run(&mut self) -> String {
        self.grow();
        self.run_by(&self.rig, false).await;
        format!("run to {}", self.there)
    }

    /// The log grows, and the process is gone while the job takes it.
    async fn die(&mut self) -> String {
        self.grow();
        let death = self.death();
        let (rig, view) = self.rig.mortal(death).await;
        let died = view.lives(self.run_by(&rig, false)).await.is_none();
        format!("run to {} {}", self.there, told(death, died))
    }

    fn grow(&mut self) {
        self.there = (self.there + self.random.below(RECORDS / 3)).min(RECORDS);
    }

    async fn run_by(&self, rig: &Rig, drain: bool) {
        let done = rig.try_live(&self.plan, &self.visible(), drain, Start::Earliest).await;
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    fn death(&mut self) -> Death {
        Death { call: self.random.between(1, DEADLY_CALLS).unsigned_abs(), performed: self.random.percent(50) }
    }

    /// Does something, often only after a process that has died while it did it; how that went.
    async fn repeated<T>(&mut self, done: impl AsyncFn(&Rig) -> T) -> (T, String) {
        if !self.random.percent(40) {
            return (done(&self.rig).await, String::new());
        }
        let death = self.death();
        let (rig, view) = self.rig.mortal(death).await;
        match view.lives(done(&rig)).await {
            Some(given) => (given, String::new()),
            None => (done(&self.rig).await, format!(", {}", told(death, true))),
        }
    }

    /// Others append to windows that are published again afterwards.
    async fn reset(&mut self) -> String {
        let newest = self.windows().await.keys().last().copied().unwrap_or(MIDNIGHT);
        let to = (MIDNIGHT + self.random.between(-HOUR, (newest - MIDNIGHT).max(0) + 2 * HOUR)) / MINUTE * MINUTE;
        let first = to.div_euclid(WINDOW) * WINDOW;
        for _ in 0..self.random.below(3) {
            let window = first + WINDOW * self.random.between(-3, 9);
            self.rig.append_junk("marts.hits", window).await;
            self.junk.insert(window);
        }
        let (plan, destination) = (self.plan.clone(), Destination::Reset(self.positions(to)));
        // Of one that is repeated, only the first knows where the job stood.
        let expected = self.rig.would_move(&plan, &destination).await;
        let (done, how) = self.moved(&destination).await;
        let gaps = &expected.inserts[0].gaps;
        assert!(gaps.iter().all(|gap| gap.end.0 <= to), "{gaps:?} reach into what is published from {}", EventTime(to));
        let gaps_end = gaps.iter().last().map_or(i64::MIN, |gap| gap.end.0);
        // Without a checkpoint nothing below it was ever published.
        self.sure_from = match expected.checkpoint {
            Some(_) => self.sure_from.min(to).max(gaps_end),
            None => to,
        };
        self.moved_to = to;
        format!("reset to {}, gaps {gaps:?}{how} as {}", EventTime(to), done.checkpoint)
    }

    async fn moved(&mut self, destination: &Destination) -> (Repositioned, String) {
        let plan = self.plan.clone();
        self.repeated(async |rig: &Rig| rig.moved(&plan, destination).await).await
    }

    /// Where records of windows from `to` on begin, by the log's timestamps.
    fn positions(&self, to: i64) -> Positions {
        let from = to - HOUR;
        let visible = self.visible();
        let position = |records: &Vec<Record>| {
            let found = records.iter().position(|(stamp, _)| *stamp >= from).unwrap_or(records.len());
            ResumeOffset(i64::try_from(found).expect("is small"))
        };
        let places = (0..).zip(visible.partitions.iter().map(position)).collect();
        let tables = self.plan.inserts.iter().map(|insert| (insert.table.clone(), EventTime(to))).collect();
        let streams = BTreeMap::from([("events".to_owned(), places)]);
        Positions { streams, first_windows: tables, ..Positions::default() }
    }

    async fn keep(&mut self) -> String {
        let name = format!("kept-{}", self.kept.len());
        if self.rig.keep(&self.plan, &name).await {
            self.kept.push((name.clone(), self.version, self.sure_from));
        }
        format!("savepoint {name}")
    }

    async fn restore(&mut self) -> String {
        let usable: Vec<_> = self.kept.iter().filter(|(_, version, _)| *version == self.version).cloned().collect();
        if usable.is_empty() {
            return "no savepoint of this version".to_owned();
        }
        let (name, _, sure_from) = self.random.pick(&usable);
        let destination = self.rig.kept(&self.plan, &name).await;
        let (done, how) = self.moved(&destination).await;
        self.sure_from = sure_from;
        self.moved_to = done.moves.inserts[0].from.0;
        format!("back to {name}, from {}{how}", done.moves.inserts[0].from)
    }

    async fn upgrade(&mut self) -> String {
        self.version += 1;
        self.plan = plan(self.version, self.publish);
        self.says.insert(self.version, says(&self.said, self.version));
        let (plan, log) = (self.plan.clone(), self.visible());
        let (upgraded, how) = self.repeated(async |rig: &Rig| rig.upgrade(&plan, &log).await).await;
        let first = match upgraded {
            Upgrade::Done(upgraded) => upgraded.done.moves.first_window,
            Upgrade::UpToDate if !how.is_empty() => {
                self.rig.manifest(&plan).await.expect("the dead one has put it").inserts[0].first_window
            }
            Upgrade::UpToDate => panic!("the version differs"),
            Upgrade::NotBegun => return "upgrade before anything ran".to_owned(),
        };
        (self.sure_from, self.moved_to) = (first.0, first.0);
        format!("upgrade to {} from {first}{how}", self.version)
    }

    /// Of some hours; refused where the job may still write, which is as it should be.
    async fn backfill(&mut self) -> String {
        if self.rig.manifest(&self.plan).await.is_none() {
            // The run would refuse to publish the same windows.
            return "no backfill before anything ran".to_owned();
        }
        let from = MIDNIGHT + HOUR * self.random.between(-1, 5);
        let range = EventTime(from)..EventTime(from + HOUR * self.random.between(1, 4));
        let plan = self.plan.clone();
        let (done, how) = self.repeated(async |rig: &Rig| rig.try_backfill(&plan, range.clone(), &DRAINED).await).await;
        match done {
            Ok(_) => {
                self.junk.retain(|&window| window < range.start.0 || window >= range.end.0);
                format!("backfill from {} to {}{how}", range.start, range.end)
            }
            Err(BackfillError::NotWritable(
                refused @ (NotWritable::AboveSealedEdge { .. }
                | NotWritable::NothingSealed { .. }
                | NotWritable::PublishedAgain { .. }),
            )) => format!("refused: {refused}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// What is published now.
    async fn windows(&mut self) -> Windows {
        let mut windows = Windows::new();
        let Some(table) = self.rig.table("marts.hits").await else { return windows };
        for file in files(&table).await {
            if !self.read.contains_key(&file.path) {
                self.read.insert(file.path.clone(), lines_of(&table, &file, &[]).await);
            }
            for line in &self.read[&file.path] {
                let start = line.strip_prefix("window_start=").and_then(|rest| rest.split(' ').next());
                let start = chrono::DateTime::parse_from_rfc3339(start.expect("the first column")).expect("a time");
                let is_new = windows.entry(start.timestamp_micros()).or_default().insert(line.clone());
                assert!(is_new || line.contains("junk"), "twice: {line}");
            }
        }
        windows
    }

    /// Every window that is there is what some version says; others' rows aside.
    async fn check_whole(&mut self) {
        let found = self.windows().await;
        for (start, lines) in self.without_junk(found, |_| true) {
            let whole = lines.is_empty() || self.says.values().any(|version| version.get(&start) == Some(&lines));
            assert!(whole, "no version says {lines:#?}");
        }
    }

    fn without_junk(&self, mut found: Windows, may_be: impl Fn(i64) -> bool) -> Windows {
        for (&start, lines) in &mut found {
            if may_be(start) && self.junk.contains(&start) {
                lines.retain(|line| !line.contains("junk"));
            }
        }
        found.retain(|_, lines| !lines.is_empty());
        found
    }

    /// All of the log is read, and then the windows below the newest move are backfilled.
    async fn finish(mut self) {
        self.there = RECORDS;
        let plan = self.plan.clone();
        self.run_by(&self.rig, true).await;
        let expected = self.says[&self.version].clone();
        let from = self.sure_from;
        let of =
            |rows: &Windows| -> Windows { rows.range(from..).map(|(start, lines)| (*start, lines.clone())).collect() };
        let moved_to = self.moved_to;
        let found = self.windows().await;
        let found = self.without_junk(found, |start| start < moved_to);
        assert_eq!(of(&found), of(&expected), "after all was read");
        let all: Range<EventTime> = EventTime(MIDNIGHT - 3 * HOUR)..EventTime(MIDNIGHT + 14 * HOUR);
        self.rig.backfill(&plan, all.clone(), &DRAINED).await;
        assert_eq!(self.windows().await, expected, "after all was backfilled");
        // What was just compared once more, by the program itself.
        if self.seed.is_multiple_of(4) {
            self.rig.assert_equal(&plan, all, true).await;
        }
    }
}

impl Drop for Case {
    /// A case that fails says how to have it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "KAPPA_MOVES_SEED={} KAPPA_MOVES_CASES=1 failed behind these steps: {:#?}",
                self.seed, self.steps
            );
        }
    }
}

fn told(death: Death, died: bool) -> String {
    let Death { call, performed } = death;
    match (died, performed) {
        (false, _) => format!("and outlive call {call}"),
        (true, true) => format!("and die behind call {call}"),
        (true, false) => format!("and die before call {call}"),
    }
}

async fn case(seed: u64) {
    let mut case = Case::new(seed).await;
    for _ in 0..STEPS {
        case.step().await;
    }
    case.finish().await;
}

#[test]
fn whatever_happens_every_window_is_whole_and_in_the_end_the_newest_versions() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("KAPPA_MOVES_SEED", 0);
    let end = first + number("KAPPA_MOVES_CASES", CASES);
    let next = AtomicU64::new(first);
    let some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end {
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(case(seed));
        }
    };
    // Cases have nothing in common.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(some);
        }
    });
}
