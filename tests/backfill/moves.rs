//! Random sequences of what can happen to a job: it runs, dies, is reset, taken back to a savepoint, upgraded, its ranges are
//! backfilled, others append to its table and compact it. At any time a window is whole, of one version and there once; in
//! the end every window is what the newest version says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kappa::backfill::BackfillError;
use kappa::event::EventTime;
use kappa::job::Plan;
use kappa::live::RunError;
use kappa::ownership::NotWritable;
use kappa::reposition::{Positions, Upgrade};
use kappa::start::Start;

use super::log::{Log, Record};
use super::rig::{DRAINED, Rig, job};
use crate::replay::Random;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-01T00:00:00Z
const MIDNIGHT: i64 = 1_767_225_600_000_000;
/// Records in each of two partitions, about two a minute.
const RECORDS: usize = 500;

/// Sequences of the test, and steps of each.
const CASES: u64 = 6;
const STEPS: usize = 9;

fn plan(version: i64, publish: &str) -> Arc<Plan> {
    job(
        "hits",
        &format!(
            "CREATE STREAM events (host TEXT, n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '20 seconds')
             LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
             INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, host, count(*) AS hits, sum(n * {version}) AS n
             FROM TUMBLE(events, t, INTERVAL '7 minutes') GROUP BY window_start, window_end, host {publish};"
        ),
    )
}

/// Partitions of their own pace, with late records, and an hour without any.
fn log(random: &mut Random) -> Log {
    let mut partition = || -> Vec<Record> {
        let mut clock = MIDNIGHT;
        let mut records = Vec::with_capacity(RECORDS);
        for index in 0..RECORDS {
            clock += random.between(1, MINUTE);
            if index == RECORDS / 2 {
                clock += HOUR;
            }
            let time = if random.percent(8) { clock - random.between(0, 15 * MINUTE) } else { clock };
            let host = random.between(0, 3);
            records.push((
                clock,
                format!(r#"{{"host":"h{host}","n":{},"t":"{}"}}"#, random.between(0, 9), EventTime(time)),
            ));
        }
        records
    };
    Log::new(vec![partition(), partition()])
}

/// Lines of rows by the start of their window.
type Windows = BTreeMap<i64, BTreeSet<String>>;

async fn windows(rig: &Rig) -> Windows {
    let mut windows = Windows::new();
    for line in rig.rows("marts.hits", &[]).await {
        let start =
            line.strip_prefix("window_start=").and_then(|rest| rest.split(' ').next()).expect("the first column");
        let start = chrono::DateTime::parse_from_rfc3339(start).expect("a time").timestamp_micros();
        let is_new = windows.entry(start).or_default().insert(line.clone());
        assert!(is_new || line.contains("junk"), "twice: {line}");
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
    /// What each version says of the whole log, so far as it was asked.
    says: BTreeMap<i64, Windows>,
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
        let log = log(&mut random);
        let publish = random.pick(&["", "", "PUBLISH WHOLE PARTITIONS"]);
        let rig = Rig::new().await;
        rig.archive(&plan(1, publish), &log).await;
        Case {
            seed,
            random,
            rig,
            log,
            there: 40,
            publish,
            version: 1,
            says: BTreeMap::new(),
            junk: BTreeSet::new(),
            moved_to: i64::MIN,
            sure_from: i64::MIN,
            kept: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn plan(&self) -> Arc<Plan> {
        plan(self.version, self.publish)
    }

    fn visible(&self) -> Log {
        self.log.up_to(self.there)
    }

    async fn step(&mut self) {
        let choice = self.random.below(100);
        let name = match choice {
            0..25 => self.run().await,
            25..40 => self.die().await,
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
        self.there = (self.there + self.random.below(150)).min(RECORDS);
        self.rig
            .try_live(&self.plan(), &self.visible(), false, Start::Earliest)
            .await
            .unwrap_or_else(|error| self.fail(&error));
        format!("run to {}", self.there)
    }

    /// The log grows, and the process is gone while the job takes it.
    async fn die(&mut self) -> String {
        self.there = (self.there + self.random.below(150)).min(RECORDS);
        let (plan, log) = (self.plan(), self.visible());
        let time = Duration::from_millis(u64::try_from(self.random.between(1, 150)).expect("positive"));
        let dies = tokio::time::timeout(time, self.rig.try_live(&plan, &log, false, Start::Earliest)).await;
        if let Ok(ended) = dies {
            ended.unwrap_or_else(|error| self.fail(&error));
        }
        format!("run to {} and die after {time:?}", self.there)
    }

    /// Others append to windows that are published again afterwards.
    async fn reset(&mut self) -> String {
        let newest = windows(&self.rig).await.keys().last().copied().unwrap_or(MIDNIGHT);
        let to = (MIDNIGHT + self.random.between(-HOUR, (newest - MIDNIGHT).max(0) + 2 * HOUR)) / MINUTE * MINUTE;
        let first = to.div_euclid(7 * MINUTE) * 7 * MINUTE;
        for _ in 0..self.random.below(3) {
            let window = first + 7 * MINUTE * self.random.between(-3, 9);
            self.rig.append_junk("marts.hits", window).await;
            self.junk.insert(window);
        }
        let positions = self.positions(to);
        let done = self.rig.reset(&self.plan(), positions).await;
        // Without a checkpoint nothing below it was ever published.
        let gaps = &done.moves.inserts[0].gaps;
        assert!(gaps.iter().all(|gap| gap.end.0 <= to), "{gaps:?} reach into what is published from {}", EventTime(to));
        let gaps_end = gaps.iter().last().map_or(i64::MIN, |gap| gap.end.0);
        self.sure_from = match done.moves.checkpoint {
            Some(_) => self.sure_from.min(to).max(gaps_end),
            None => to,
        };
        self.moved_to = to;
        format!("reset to {}, gaps {gaps:?}", EventTime(to))
    }

    /// Where records of windows from `to` on begin, by the log's timestamps.
    fn positions(&self, to: i64) -> Positions {
        let from = to - HOUR;
        let visible = self.visible();
        let position = |records: &Vec<Record>| {
            let found = records.iter().position(|(stamp, _)| *stamp >= from).unwrap_or(records.len());
            kappa::event::ResumeOffset(i64::try_from(found).expect("is small"))
        };
        let places = (0..).zip(visible.partitions.iter().map(position)).collect();
        let tables = self.plan().inserts.iter().map(|insert| (insert.table.clone(), EventTime(to))).collect();
        Positions { streams: BTreeMap::from([("events".to_owned(), places)]), first_windows: tables }
    }

    async fn keep(&mut self) -> String {
        let name = format!("kept-{}", self.kept.len());
        if self.rig.keep(&self.plan(), &name).await {
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
        let done = self.rig.restore(&self.plan(), &name).await;
        self.sure_from = sure_from;
        self.moved_to = done.moves.inserts[0].from.0;
        format!("back to {name}, from {}", done.moves.inserts[0].from)
    }

    async fn upgrade(&mut self) -> String {
        self.version += 1;
        match self.rig.upgrade(&self.plan(), &self.visible()).await {
            Upgrade::Done(upgraded) => {
                self.sure_from = upgraded.done.moves.first_window.0;
                self.moved_to = self.sure_from;
                format!("upgrade to {} from {}", self.version, EventTime(self.sure_from))
            }
            Upgrade::NotBegun => "upgrade before anything ran".to_owned(),
            Upgrade::UpToDate => panic!("the version differs"),
        }
    }

    /// Of some hours; refused where the job may still write, which is as it should be.
    async fn backfill(&mut self) -> String {
        let from = MIDNIGHT + HOUR * self.random.between(-1, 4);
        let range = EventTime(from)..EventTime(from + HOUR * self.random.between(1, 4));
        match self.rig.try_backfill(&self.plan(), range.clone(), &DRAINED).await {
            Ok(_) => {
                self.junk.retain(|&window| window < range.start.0 || window >= range.end.0);
                format!("backfill of {range:?}")
            }
            Err(BackfillError::NotWritable(
                refused @ (NotWritable::AboveSealedEdge { .. }
                | NotWritable::NothingSealed { .. }
                | NotWritable::PublishedAgain { .. }),
            )) => format!("refused: {refused}"),
            Err(error) => panic!("seed {}: {error}\n{:#?}", self.seed, self.steps),
        }
    }

    /// Rows of a version, from scratch.
    async fn says(&mut self, version: i64) -> Windows {
        if !self.says.contains_key(&version) {
            let rig = Rig::new().await;
            rig.live(&plan(version, ""), &self.log, true).await;
            self.says.insert(version, windows(&rig).await);
        }
        self.says[&version].clone()
    }

    /// Every window that is there is what some version says; others' rows aside.
    async fn check_whole(&mut self) {
        let mut versions = Vec::new();
        for version in 1..=self.version {
            versions.push(self.says(version).await);
        }
        for (start, lines) in self.without_junk(windows(&self.rig).await, |_| true) {
            let whole = lines.is_empty() || versions.iter().any(|version| version.get(&start) == Some(&lines));
            assert!(whole, "seed {}, window {}: {lines:#?}\n{:#?}", self.seed, EventTime(start), self.steps);
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
        let plan = self.plan();
        self.rig.try_live(&plan, &self.log, true, Start::Earliest).await.unwrap_or_else(|error| self.fail(&error));
        let expected = self.says(self.version).await;
        let from = self.sure_from;
        let of =
            |rows: &Windows| -> Windows { rows.range(from..).map(|(start, lines)| (*start, lines.clone())).collect() };
        let moved_to = self.moved_to;
        let found = self.without_junk(windows(&self.rig).await, |start| start < moved_to);
        assert_eq!(of(&found), of(&expected), "seed {}: {:#?}", self.seed, self.steps);
        let all: Range<EventTime> = EventTime(MIDNIGHT - HOUR)..EventTime(MIDNIGHT + 12 * HOUR);
        self.rig.backfill(&plan, all.clone(), &DRAINED).await;
        assert_eq!(windows(&self.rig).await, expected, "seed {}: {:#?}", self.seed, self.steps);
        self.rig.assert_equal(&plan, all, true).await;
    }

    fn fail<T>(&self, error: &RunError) -> T {
        panic!("seed {}: {error}\n{:#?}", self.seed, self.steps)
    }
}

#[test]
fn whatever_happens_every_window_is_whole_and_in_the_end_the_newest_versions() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("KAPPA_MOVES_SEED", 0);
    for seed in first..first + number("KAPPA_MOVES_CASES", CASES) {
        runtime.block_on(async {
            let mut case = Case::new(seed).await;
            for _ in 0..STEPS {
                case.step().await;
            }
            case.finish().await;
        });
    }
}
