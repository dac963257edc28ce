//! Nexmark's queries as jobs: what they publish, live with restarts and as a backfill, is what DuckDB says of all events at once.

mod faces;
mod generator;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kappa::job::{Plan, compile_with};

use crate::model::Value;
use crate::replay::{Random, runtime};
use crate::support::python;
use generator::{Events, STREAMS};

/// Three minutes and twenty seconds, midnight in their middle.
const COUNT: i64 = 20_000;

/// The job and the batch query of this name give the same rows.
#[track_caller]
fn check(query: &str) {
    let mut random = Random::new(query.bytes().fold(0, |seed, byte| seed * 31 + u64::from(byte)));
    let events = Events::generate(random.bits(), COUNT);
    let expected = by_duckdb(query, &events);
    assert!(expected.len() > 10 || matches!(query, "q15"), "{query}: {} rows say little", expected.len());
    let plan = planned(query);
    let runtime = runtime();
    for (face, observed) in [
        ("live", runtime.block_on(faces::live(&plan, &events, &mut random))),
        ("backfill", runtime.block_on(faces::backfill(&plan, &events, &mut random))),
    ] {
        assert_eq!(observed.late, 0, "{query}, {face}: events come out of order within the bound");
        compare(&format!("{query}, {face}"), &expected, observed.rows);
    }
}

#[track_caller]
fn compare(what: &str, expected: &[Vec<Value>], mut rows: Vec<Vec<Value>>) {
    rows.sort();
    let first = expected.iter().zip(&rows).find(|(expected, row)| expected != row);
    assert!(first.is_none(), "{what}: the first difference is {first:?}");
    assert_eq!(rows.len(), expected.len(), "{what}");
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "nexmark"].iter().collect()
}

fn planned(query: &str) -> Arc<Plan> {
    let read = |path: &Path| std::fs::read_to_string(path);
    let text = read(&folder().join(format!("{query}.sql"))).expect("the job is there");
    let include = |path: &str| read(&folder().join(path));
    Arc::new(compile_with(query, &text, &include).unwrap_or_else(|errors| panic!("{query}: {errors}")))
}

/// The rows of the batch query, sorted.
fn by_duckdb(query: &str, events: &Events) -> Vec<Vec<Value>> {
    let data = tempfile::tempdir().expect("temporary folder");
    for (stream, _) in STREAMS {
        std::fs::write(data.path().join(format!("{stream}.jsonl")), events.lines(stream)).expect("folder takes files");
    }
    let batch = folder().join("batch").join(format!("{query}.sql"));
    let arguments = [data.path(), &batch].map(|path| path.to_str().expect("paths of tests are plain"));
    let mut rows = python::script_rows("tests/nexmark/duckdb_batch.py", &arguments);
    rows.sort();
    rows
}

#[test]
fn events_are_the_same_every_time_and_have_nexmarks_shares() {
    let (one, two, other) = (Events::generate(1, 5_000), Events::generate(1, 5_000), Events::generate(2, 5_000));
    for (stream, share) in [("person", 100), ("auction", 300), ("bid", 4_600)] {
        assert_eq!(one.lines(stream), two.lines(stream));
        assert_ne!(one.lines(stream), other.lines(stream));
        assert_eq!(one.lines(stream).iter().filter(|byte| **byte == b'\n').count(), share);
    }
}

#[test]
fn q0_pass_through() {
    check("q0");
}

#[test]
fn q1_currency_conversion() {
    check("q1");
}

#[test]
fn q2_bids_on_some_auctions() {
    check("q2");
}

#[test]
fn q5_hot_items() {
    check("q5");
}

#[test]
fn q7_highest_bid() {
    check("q7");
}

#[test]
fn q8_new_users_who_sell() {
    check("q8");
}

#[test]
fn q11_sessions_of_bidders() {
    check("q11");
}

#[test]
fn q12_bids_of_each_bidder() {
    check("q12");
}

#[test]
fn q15_bids_of_a_day() {
    check("q15");
}

#[test]
fn q16_channels_of_a_day() {
    check("q16");
}

#[test]
fn q17_auctions_of_a_day() {
    check("q17");
}

#[test]
fn q22_folders_of_addresses() {
    check("q22");
}
