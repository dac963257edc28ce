//! Random logs through the engine, in epochs, with restarts, against a model that looks at each record and each window.

mod model;
mod revised;
mod run;
mod worked;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::event::{EventTime, Micros};
use crate::job::{Plan, compile};
use crate::windows::PublishRange;
use model::{Cut, model};
use run::{Options, run};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A record of the tests' stream.
#[derive(Clone, Debug)]
struct Record {
    partition: i32,
    offset: i64,
    time: i64,
    seen: Option<i64>,
    key: u8,
    number: i64,
    double: f64,
}

/// Records of one epoch, batch by batch, and the watermark that closes it.
#[derive(Clone, Debug)]
struct Step {
    batches: Vec<Vec<Record>>,
    watermark: EventTime,
}

/// A published row's window and key.
type Group = (i64, i64, u8);

/// What a row says: count, sum of `number`, its last value, and the bits of the sum of `double`.
type Values = (i64, i64, i64, u64);

/// A row of the late table: partition, offset; reason, `windows`, `windows_late`, `first_late`, `last_late`.
type Late = BTreeMap<(i32, i64), (String, i32, i32, i64, i64)>;

/// What came out.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Each with the number of the step that published it.
    rows: BTreeMap<Group, (usize, Values)>,
    late: Late,
    accepted: u64,
    late_for_all: u64,
}

fn plan(call: &str, bound: i64, allowed: i64) -> Arc<Plan> {
    let text = format!(
        "CREATE STREAM s (k INT, n BIGINT, x DOUBLE, t TIMESTAMP NOT NULL,
           WATERMARK FOR t AS t - INTERVAL '{bound}' MICROSECOND MAX FUTURE NONE)
         LIVE FROM KAFKA 's' FORMAT JSON;
         INSERT INTO ICEBERG 'a.b' PARTITIONED BY (day(window_end))
         SELECT window_start, window_end, k, count(*) AS c, sum(n) AS n, last_value(n) AS l, sum(x) AS x
         FROM {call} GROUP BY window_start, window_end, k;"
    );
    let mut plan =
        compile("job", &text).unwrap_or_else(|problems| panic!("{}", problems.render(crate::job::Colour::Plain)));
    plan.inserts[0].allowed = Micros(allowed);
    Arc::new(plan)
}

/// Window calls with the unit of time in which their records lie.
fn calls() -> Vec<(String, Cut, i64)> {
    let seconds = |seconds: i64| format!("INTERVAL '{seconds} seconds'");
    let mut calls = Vec::new();
    for (size, offset) in [(10, 0), (7, -3)] {
        let call = format!("TUMBLE(s, t, {}, {})", seconds(size), seconds(offset));
        calls.push((call, Cut::Hop { slide: size * SECOND, size: size * SECOND, offset: offset * SECOND }, SECOND));
    }
    for (slide, size, offset) in [(5, 30, 0), (7, 10, 0), (1, 12, 0), (4, 30, -9), (10, 4, 3), (3, 3, 1), (9, 10, 100)]
    {
        let call = format!("HOP(s, t, {}, {}, {})", seconds(slide), seconds(size), seconds(offset));
        let cut = Cut::Hop { slide: slide * SECOND, size: size * SECOND, offset: offset * SECOND };
        calls.push((call, cut, SECOND));
    }
    for (step, size, offset) in [(5, 30, 0), (10, 10, 0), (1, 12, -5), (6, 36, 40)] {
        let call = format!("CUMULATE(s, t, {}, {}, {})", seconds(step), seconds(size), seconds(offset));
        let cut = Cut::Cumulate { step: step * SECOND, size: size * SECOND, offset: offset * SECOND };
        calls.push((call, cut, SECOND));
    }
    let berlin = "TUMBLE(s, t, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')";
    calls.push((berlin.to_owned(), Cut::Berlin, DAY / 4));
    calls.push(("TUMBLE(s, t, INTERVAL '1 month')".to_owned(), Cut::Months, 5 * DAY));
    calls
}

struct Case {
    plan: Arc<Plan>,
    cut: Cut,
    bound: i64,
    allowed: i64,
    steps: Vec<Step>,
    publish: PublishRange,
}

/// A log in epochs. `jumps`: now and then the watermark is further than the partitions show, as when one is idle.
fn case(call: &(String, Cut, i64), random: &mut StdRng, jumps: bool) -> Case {
    let (text, cut, unit) = call;
    let bound = [0, unit / 2, 10 * unit][random.random_range(0..3)];
    // Windows that late records revise come in another shape; the tests of replay have them.
    let allowed = 0;
    // The calendar's cases lie around the last Sunday of March 2024, the others around the epoch.
    let base = if *unit > SECOND { 19_810 * DAY } else { -20 * unit };
    let partitions = random.random_range(1..4);
    let mut clocks: Vec<i64> = (0..partitions).map(|_| base + random.random_range(0..20) * unit).collect();
    let mut seen: Vec<Option<i64>> = vec![None; partitions];
    let mut offsets = vec![0; partitions];
    let mut watermark = EventTime::MIN;
    let mut steps = Vec::new();
    for _ in 0..random.random_range(1..25) {
        let mut batches = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let partition = random.random_range(0..partitions);
            let mut batch = Vec::new();
            for _ in 0..random.random_range(1..12) {
                clocks[partition] += random.random_range(0..=unit * 2);
                let back = if random.random_bool(0.3) { random.random_range(0..=40 * unit) } else { 0 };
                let mut time = clocks[partition] - back;
                if random.random_bool(0.3) {
                    // On edges, and right before them.
                    time = time.div_euclid(*unit) * unit - i64::from(random.random_bool(0.3));
                }
                batch.push(Record {
                    partition: partition as i32,
                    offset: offsets[partition],
                    time,
                    seen: seen[partition],
                    key: random.random_range(0..3),
                    number: random.random_range(-5..100),
                    double: random.random_range(-1e3..1e3) * 10f64.powi(random.random_range(-8..8)),
                });
                offsets[partition] += 1;
                seen[partition] = seen[partition].max(Some(time));
            }
            batches.push(batch);
        }
        let least = seen.iter().map(|seen| seen.map_or(i64::MIN, |seen| seen - bound)).min().unwrap_or(i64::MIN);
        let most = seen.iter().flatten().max().map_or(i64::MIN, |seen| seen - bound);
        let stated = if jumps && random.random_bool(0.2) { most } else { least };
        watermark = watermark.max(EventTime(stated));
        steps.push(Step { batches, watermark });
    }
    if random.random_bool(0.7) {
        steps.push(Step { batches: Vec::new(), watermark: EventTime::MAX });
    }
    let mut publish = PublishRange::ALL;
    if random.random_bool(0.4) {
        publish.from = EventTime(base + random.random_range(0..30) * unit);
    }
    if random.random_bool(0.2) {
        publish.to = EventTime(base + random.random_range(10..60) * unit);
    }
    Case { plan: plan(text, bound, allowed), cut: *cut, bound, allowed, steps, publish }
}

#[test]
fn each_window_holds_the_records_that_are_in_time_for_it() {
    for (index, call) in calls().iter().enumerate() {
        for round in 0..12 {
            let seed = (index * 1_000 + round) as u64;
            let mut random = StdRng::seed_from_u64(seed);
            let case = case(call, &mut random, round % 2 == 0);
            let expected = model(&case);
            let options = Options { workers: random.random_range(1..4), restarts: 0.3, frozen: 0.6 };
            let found = run(&case, &options, &mut random);
            assert_same(&expected, &found, &format!("{} with seed {seed}", call.0));
        }
    }
}

#[test]
fn batches_epochs_workers_and_restarts_show_in_no_bit() {
    for (index, call) in calls().iter().enumerate() {
        for round in 0..4 {
            let seed = (index * 1_000 + round + 500) as u64;
            let mut random = StdRng::seed_from_u64(seed);
            let case = case(call, &mut random, false);
            let one = run(&case, &Options { workers: 1, restarts: 0.0, frozen: 0.0 }, &mut random);
            let many = run(&case, &Options { workers: 3, restarts: 0.5, frozen: 0.9 }, &mut random);
            assert_eq!(one, many, "{} with seed {seed}", call.0);
            // All of it in one epoch and one batch: only when a window is published may differ.
            let records: Vec<Record> =
                case.steps.iter().flat_map(|step| step.batches.iter().flatten().cloned()).collect();
            let watermark = case.steps.last().expect("at least one").watermark;
            let at_once = Case { steps: vec![Step { batches: vec![records], watermark }], ..case };
            let at_once = run(&at_once, &Options { workers: 2, restarts: 0.0, frozen: 0.0 }, &mut random);
            let values = |outcome: &Outcome| -> BTreeMap<Group, Values> {
                outcome.rows.iter().map(|(group, (_, values))| (*group, *values)).collect()
            };
            assert_eq!(values(&one), values(&at_once), "{} with seed {seed}", call.0);
            assert_eq!(one.late, at_once.late, "{} with seed {seed}", call.0);
        }
    }
}

/// Without the sums of doubles, which the model doesn't know to the bit.
#[track_caller]
fn assert_same(expected: &Outcome, found: &Outcome, what: &str) {
    let rows = |outcome: &Outcome| -> Vec<(Group, usize, (i64, i64, i64))> {
        let row = |(group, (step, values)): (&Group, &(usize, Values))| (*group, *step, (values.0, values.1, values.2));
        outcome.rows.iter().map(row).collect()
    };
    let (expected_rows, found_rows) = (rows(expected), rows(found));
    let missing: Vec<_> = expected_rows.iter().filter(|row| !found_rows.contains(row)).collect();
    let extra: Vec<_> = found_rows.iter().filter(|row| !expected_rows.contains(row)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:#?}, not expected {extra:#?}");
    assert_eq!(expected.late, found.late, "{what}");
    assert_eq!((expected.accepted, expected.late_for_all), (found.accepted, found.late_for_all), "{what}");
}
