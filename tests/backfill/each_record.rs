//! Queries without a window: live with restarts and from history they give each record once, as a plain reading of the log says;
//! backfills beside a live job, resets, savepoints and upgrades lose none and give none twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa::backfill::BackfillError;
use kappa::diff::DiffError;
use kappa::event::{EventTime, ResumeOffset};
use kappa::job::Plan;
use kappa::live::{RunError, RunOptions};
use kappa::recompute::RangeError;
use kappa::reposition::{Destination, Positions, Upgrade};
use kappa::start::Start;

use super::conflicts::interrupted;
use super::log::Log;
use super::mortal::Death;
use super::rig::{DRAINED, How, Rig, job};
use crate::replay::Random;

const EXACT: How = How { drain: false, widen: false, include_late: false };
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-01T00:00:00Z
const MIDNIGHT: i64 = 1_767_225_600_000_000;
const PARTITIONS: i32 = 3;
/// Records of a partition.
const RECORDS: i64 = 120;
/// All hours that records are of.
const ALL: std::ops::Range<EventTime> = EventTime(MIDNIGHT - 6 * HOUR)..EventTime(MIDNIGHT + 8 * HOUR);

/// A query without a window, by itself or beside one over windows; `version` stands in its rows.
fn plan(version: i64, beside: &str) -> Arc<Plan> {
    job(
        "clean",
        &format!(
            "CREATE STREAM events (n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '20 seconds')
             LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
             INSERT INTO ICEBERG 'staging.events' PARTITIONED BY (hour(t))
             SELECT t, _partition AS p, _offset AS o, n + {version} AS n FROM events WHERE n % 10 <> 3; {beside}"
        ),
    )
}

const WINDOWS: &str = "INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
     SELECT window_start, window_end, count(*) AS hits FROM TUMBLE(events, t, INTERVAL '10 minutes')
     GROUP BY window_start, window_end;";

/// Time and value of each record, by partition: about four hours, one in eight a straggler of up to six hours. On the greatest
/// value the query fails.
fn records(random: &mut Random) -> Vec<Vec<(i64, i64)>> {
    let mut partition = || {
        let mut clock = MIDNIGHT;
        let mut record = |_| {
            clock += random.between(1, 4 * MINUTE);
            let time = if random.percent(12) { clock - random.between(0, 6 * HOUR) } else { clock };
            (time, if random.percent(3) { i64::MAX } else { random.between(0, 1_000) })
        };
        (0..RECORDS).map(&mut record).collect()
    };
    (0..PARTITIONS).map(|_| partition()).collect()
}

fn log(records: &[Vec<(i64, i64)>]) -> Log {
    let partition = |records: &Vec<(i64, i64)>| {
        let mut clock = MIDNIGHT;
        let message = |&(time, n): &(i64, i64)| {
            clock = clock.max(time);
            (clock, format!(r#"{{"n":{n},"t":"{}"}}"#, EventTime(time)))
        };
        records.iter().map(message).collect()
    };
    Log::new(records.iter().map(partition).collect())
}

/// Partition, offset.
type Place = (i32, i64);

/// Each record below an offset of its partition: its time, its value, and whether the query fails on it.
fn taken(records: &[Vec<(i64, i64)>], below: impl Fn(i32) -> i64) -> BTreeMap<Place, (i64, i64)> {
    let mut taken = BTreeMap::new();
    for (partition, records) in (0..).zip(records) {
        for (offset, &record) in (0..below(partition)).zip(records) {
            taken.insert((partition, offset), record);
        }
    }
    taken
}

fn fails(n: i64) -> bool {
    n == i64::MAX
}

/// The result's rows for records, each by a version.
fn rows<'r>(records: impl IntoIterator<Item = (Place, (i64, i64), i64)> + 'r) -> Vec<String> {
    let given = records.into_iter().filter(|(_, (_, n), _)| !fails(*n) && n % 10 != 3);
    let mut rows: Vec<String> = given
        .map(|((partition, offset), (time, n), version)| {
            format!("t={} p=Integer({partition}) o=Integer({offset}) n=Integer({})", EventTime(time), n + version)
        })
        .collect();
    rows.sort();
    rows
}

fn rows_of(records: &BTreeMap<Place, (i64, i64)>) -> Vec<String> {
    rows(records.iter().map(|(&place, &record)| (place, record, 1)))
}

/// The late rows: those that the query fails on.
fn late_of(records: &BTreeMap<Place, (i64, i64)>) -> Vec<String> {
    let failed = records.iter().filter(|(_, (_, n))| fails(*n));
    let row = |(&(partition, offset), _)| format!("_partition=Integer({partition}) _offset=Integer({offset})");
    let mut rows: Vec<String> = failed.map(row).collect();
    rows.sort();
    rows
}

async fn late(rig: &Rig) -> Vec<String> {
    let others =
        ["n", "t", "_timestamp", "_seen", "result", "reason", "windows", "windows_late", "first_late", "last_late"];
    rig.rows("staging.events_late", &others).await
}

#[track_caller]
fn assert_same(what: &str, found: &[String], expected: &[String]) {
    let first = found.iter().zip(expected).find(|(found, expected)| found != expected);
    assert!(first.is_none(), "{what}: the first difference is {first:?}");
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_in_pieces_and_backfills_give_each_record_once() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let records = records(&mut random);
        let (log, plan) = (log(&records), plan(1, random.pick(&["", WINDOWS])));
        let all = taken(&records, |_| RECORDS);
        let live = Rig::in_memory().await;
        for piece in 1..=3 {
            let options = RunOptions { workers: random.pick(&[1, 2, 3]), drain: piece == 3, ..RunOptions::default() };
            let there = log.up_to(if piece == 3 { RECORDS as usize } else { random.below(RECORDS as usize) });
            live.live_by(&plan, &there, options).await.expect("the job runs");
        }
        assert_same(&format!("seed {seed}, live"), &live.rows("staging.events", &[]).await, &rows_of(&all));
        assert_same(&format!("seed {seed}, live, late"), &late(&live).await, &late_of(&all));
        live.archive(&plan, &log).await;
        live.assert_equal(&plan, ALL, true).await;
        let history = Rig::in_memory().await;
        history.archive(&plan, &log).await;
        history.backfill(&plan, ALL, &DRAINED).await;
        assert_same(&format!("seed {seed}, backfill"), &history.rows("staging.events", &[]).await, &rows_of(&all));
        assert_same(&format!("seed {seed}, backfill, late"), &late(&history).await, &late_of(&all));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_a_time_gives_the_records_of_that_time_and_later() {
    let records = records(&mut Random::new(7));
    let (log, plan, rig) = (log(&records), plan(1, ""), Rig::in_memory().await);
    let from = MIDNIGHT + 2 * HOUR;
    rig.try_live(&plan, &log.up_to(90), false, Start::Time(EventTime(from))).await.expect("runs");
    rig.live(&plan, &log, true).await;
    let mut later = taken(&records, |_| RECORDS);
    later.retain(|_, (time, _)| *time >= from);
    assert_same("from 02:00", &rig.rows("staging.events", &[]).await, &rows_of(&later));
    // What lies before is a backfill's, stragglers of all offsets included.
    rig.archive(&plan, &log).await;
    rig.backfill(&plan, EventTime(MIDNIGHT - 6 * HOUR)..EventTime(from), &EXACT).await;
    let all = taken(&records, |_| RECORDS);
    assert_same("all", &rig.rows("staging.events", &[]).await, &rows_of(&all));
    rig.assert_equal(&plan, ALL, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_beside_a_live_job_replaces_what_was_published_and_leaves_what_comes() {
    let records = records(&mut Random::new(3));
    let (log, plan, rig) = (log(&records), plan(1, ""), Rig::in_memory().await);
    rig.live(&plan, &log.up_to(60), false).await;
    // An hour that more comes for, so that nobody rewrites its files yet.
    let newest =
        records.iter().flat_map(|records| &records[60..62]).map(|(time, _)| *time).max().expect("there are some");
    let hour = newest.div_euclid(HOUR) * HOUR;
    let range = EventTime(hour)..EventTime(hour + HOUR);
    rig.archive(&plan, &log.up_to(40)).await;
    let behind = rig.try_backfill(&plan, range.clone(), &DRAINED).await.expect_err("history lacks 40 to 60");
    assert!(matches!(behind, BackfillError::Range(RangeError::BehindLive { .. })), "{behind}");
    let behind = rig.try_diff(&plan, range.clone(), true).await.expect_err("history lacks 40 to 60");
    assert!(matches!(behind, DiffError::Range(RangeError::BehindLive { .. })), "{behind}");
    rig.archive(&plan, &log).await;
    let published = taken(&records, |_| 60);
    let report = rig.backfill(&plan, range.clone(), &EXACT).await;
    assert!(report.inserts[0].removed > 0 && report.inserts[0].removed == report.inserts[0].rows, "{report:?}");
    assert_same("history is ahead", &rig.rows("staging.events", &[]).await, &rows_of(&published));
    assert_same("history is ahead, late", &late(&rig).await, &late_of(&published));
    let on = async {
        rig.live(&plan, &log.up_to(62), false).await;
    };
    interrupted(&rig, &plan, range.clone(), on).await.expect("what is replaced is as it was");
    let more = taken(&records, |_| 62);
    assert_same("live went on meanwhile", &rig.rows("staging.events", &[]).await, &rows_of(&more));
    assert_same("live went on meanwhile, late", &late(&rig).await, &late_of(&more));
    rig.assert_equal(&plan, range.clone(), true).await;
    rig.live(&plan, &log, false).await;
    rig.backfill(&plan, range, &EXACT).await;
    let all = taken(&records, |_| RECORDS);
    assert_same("at the end", &rig.rows("staging.events", &[]).await, &rows_of(&all));
    assert_same("at the end, late", &late(&rig).await, &late_of(&all));
    rig.assert_equal(&plan, ALL, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_job_that_begins_while_a_range_is_backfilled_is_seen() {
    let records = records(&mut Random::new(5));
    let (log, plan, rig) = (log(&records), plan(1, ""), Rig::in_memory().await);
    rig.archive(&plan, &log).await;
    let begins = async {
        rig.live(&plan, &log.up_to(50), false).await;
    };
    let changed = interrupted(&rig, &plan, ALL.start..EventTime(MIDNIGHT + HOUR), begins).await;
    assert!(matches!(changed, Err(BackfillError::Changed { .. })), "{changed:?}");
    let published = taken(&records, |_| 50);
    assert_same("as live has it", &rig.rows("staging.events", &[]).await, &rows_of(&published));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_refused_with_the_way_out() {
    let records = records(&mut Random::new(5));
    let (log, plan, rig) = (log(&records), plan(1, ""), Rig::in_memory().await);
    rig.archive(&plan, &log).await;
    rig.backfill(&plan, ALL.start..EventTime(MIDNIGHT + HOUR), &EXACT).await;
    let refused = rig.try_live(&plan, &log, false, Start::History).await.expect_err("stragglers may be anywhere");
    assert!(matches!(refused, RunError::HandOver(_)), "{refused}");
    assert!(refused.to_string().contains("with --start 2026-01-01T01:00:00Z"), "{refused}");
}

/// One sequence of what can happen to a job.
struct Case {
    random: Random,
    rig: Rig,
    records: Vec<Vec<(i64, i64)>>,
    log: Log,
    beside: &'static str,
    /// How much of each partition is there.
    there: usize,
    version: i64,
    /// The version that has given each record.
    given: BTreeMap<Place, i64>,
    /// Records of this time or later are given again by the next run.
    again_from: Option<i64>,
    kept: Vec<(String, i64)>,
    steps: Vec<String>,
}

impl Case {
    async fn new(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let records = records(&mut random);
        let beside = random.pick(&["", WINDOWS]);
        let (log, rig) = (log(&records), Rig::in_memory().await);
        rig.archive(&plan(1, beside), &log).await;
        let mut case = Case {
            random,
            rig,
            records,
            log,
            beside,
            there: 10,
            version: 1,
            given: BTreeMap::new(),
            again_from: None,
            kept: Vec::new(),
            steps: Vec::new(),
        };
        let first = case.run().await;
        case.steps.push(first);
        case
    }

    fn plan(&self) -> Arc<Plan> {
        plan(self.version, self.beside)
    }

    /// Does something, often only after a process that has died while it did it.
    async fn repeated(&mut self, done: impl AsyncFn(&Rig)) -> &'static str {
        if self.random.percent(40) {
            let death = Death { call: self.random.between(1, 150).unsigned_abs(), performed: self.random.percent(50) };
            let (rig, view) = self.rig.mortal(death).await;
            if view.lives(done(&rig)).await.is_none() {
                done(&self.rig).await;
                return ", dead once";
            }
            return "";
        }
        done(&self.rig).await;
        ""
    }

    /// The version of now gives the records of these times.
    fn give(&mut self, times: impl Fn(i64) -> bool) {
        for (&(partition, offset), version) in &mut self.given {
            if times(self.records[partition as usize][offset as usize].0) {
                *version = self.version;
            }
        }
    }

    /// The log grows, and the job takes all of it.
    async fn run(&mut self) -> String {
        self.there = (self.there + self.random.below(40)).min(RECORDS as usize);
        let (plan, log) = (self.plan(), self.log.up_to(self.there));
        let how = self.repeated(async |rig| drop(rig.live(&plan, &log, false).await)).await;
        let version = self.version;
        for &place in taken(&self.records, |_| self.there as i64).keys() {
            self.given.entry(place).or_insert(version);
        }
        let again_from = self.again_from.take().unwrap_or(i64::MAX);
        self.give(|time| time >= again_from);
        format!("run to {}{how}", self.there)
    }

    /// Back to a time: the same version says the same of what it gives again.
    async fn reset(&mut self) -> String {
        let to = MIDNIGHT + self.random.between(-HOUR, 5 * HOUR);
        let first = |records: &Vec<(i64, i64)>| {
            let later = records.iter().take(self.there).position(|(time, _)| *time >= to);
            ResumeOffset(later.unwrap_or(self.there.min(records.len())) as i64)
        };
        let offsets = (0..).zip(self.records.iter().map(first)).collect();
        let plan = self.plan();
        let destination = Destination::Reset(Positions {
            streams: BTreeMap::from([("events".to_owned(), offsets)]),
            first_windows: plan.inserts.iter().map(|insert| (insert.table.clone(), EventTime(to))).collect(),
            ..Positions::default()
        });
        let how = self.repeated(async |rig| drop(rig.moved(&plan, &destination).await)).await;
        self.again_from = Some(to);
        format!("reset to {}{how}", EventTime(to))
    }

    async fn keep(&mut self) -> String {
        let name = format!("kept-{}", self.kept.len());
        if self.rig.keep(&self.plan(), &name).await {
            self.kept.push((name.clone(), self.version));
        }
        format!("keep {name}")
    }

    /// What was published since isn't published again.
    async fn restore(&mut self) -> String {
        let of_version: Vec<String> =
            self.kept.iter().filter(|kept| kept.1 == self.version).map(|kept| kept.0.clone()).collect();
        if of_version.is_empty() {
            return "nothing to restore".to_owned();
        }
        let name = self.random.pick(&of_version);
        let plan = self.plan();
        let destination = self.rig.kept(&plan, &name).await;
        let Destination::Savepoint(savepoint) = &destination else { unreachable!("it was kept") };
        if savepoint.manifest.inserts[0].republish.is_some() {
            return format!("{name} holds rows back");
        }
        let how = self.repeated(async |rig| drop(rig.moved(&plan, &destination).await)).await;
        self.again_from = None;
        format!("restore {name}{how}")
    }

    /// The new version goes on behind the last record of the old.
    async fn upgrade(&mut self) -> String {
        self.version += 1;
        let (plan, log) = (self.plan(), self.log.up_to(self.there));
        let how = self.repeated(async |rig| {
            let upgraded = rig.upgrade(&plan, &log).await;
            assert!(!matches!(upgraded, Upgrade::Done(ref done) if done.done.moves.inserts[0].republish.is_some()));
        });
        let how = how.await;
        self.again_from = None;
        format!("upgrade to {}{how}", self.version)
    }

    /// An hour of what is in the table becomes this version's.
    async fn backfill(&mut self) -> String {
        let from = MIDNIGHT + HOUR * self.random.between(-6, 4);
        let (plan, range) = (self.plan(), EventTime(from)..EventTime(from + HOUR));
        match self.rig.try_backfill(&plan, range.clone(), &DRAINED).await {
            Ok(_) => {
                self.give(|time| range.contains(&EventTime(time)));
                format!("backfill from {}", range.start)
            }
            // Another result's live windows, or what a reset has not come through yet.
            Err(BackfillError::NotWritable(error)) => format!("no backfill: {error}"),
            Err(BackfillError::Range(error @ RangeError::NotPublished { .. })) => format!("no backfill: {error}"),
            Err(error) => panic!("{error} after {:#?}", self.steps),
        }
    }

    /// Every record that the table holds is there once.
    async fn check_once(&self) {
        let rows = self.rig.rows("staging.events", &["n"]).await;
        let twice = rows.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(twice.is_none(), "{twice:?} after {:#?}", self.steps);
        let late = late(&self.rig).await;
        let twice = late.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(twice.is_none(), "late: {twice:?} after {:#?}", self.steps);
    }

    async fn check_all(&self) {
        let given = self
            .given
            .iter()
            .map(|(&place, &version)| (place, self.records[place.0 as usize][place.1 as usize], version));
        let found = self.rig.rows("staging.events", &[]).await;
        assert_same(&format!("after {:#?}", self.steps), &found, &rows(given));
        let all = taken(&self.records, |_| self.there as i64);
        assert_same(&format!("late, after {:#?}", self.steps), &late(&self.rig).await, &late_of(&all));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_job_each_record_is_given_once_and_by_the_version_that_says_so() {
    for seed in 0..24 {
        let mut case = Case::new(seed).await;
        for _ in 0..8 {
            let step = match case.random.below(100) {
                0..35 => case.run().await,
                35..55 => case.reset().await,
                55..65 => case.keep().await,
                65..75 => case.restore().await,
                75..88 => case.upgrade().await,
                _ => case.backfill().await,
            };
            case.steps.push(step);
            case.check_once().await;
        }
        let last = case.run().await;
        case.steps.push(last);
        case.check_all().await;
    }
}
