//! What checkpoints of windows that the data makes write: what changed, and not what is held.

use super::made::{Kind, Workers, expected};
use super::*;

const KEYS: u8 = 200;
const ROUNDS: i64 = 100;

fn sums() -> [Call; 1] {
    [Call::of("sum", INT)]
}

fn at(key: i64, time: i64) -> Row {
    Row { key: u8::try_from(key).ok(), time, int: Some(1), ..blank(time) }
}

/// Rows that are written while 1 % of the keys change between two checkpoints: first `begin`, then the rows of each round,
/// up to its time. What was written restores, on other workers, to what was held.
fn written(kind: &Kind, begin: Vec<Row>, settled: i64, round: impl Fn(i64) -> (Vec<Row>, i64)) -> usize {
    let mut workers = Workers::new(kind, &sums(), 2);
    let mut rows = begin;
    workers.add(&rows);
    workers.settle(settled);
    workers.freeze();
    workers.written = 0;
    for number in 0..ROUNDS {
        let (come, settled) = round(number);
        workers.add(&come);
        rows.extend(come);
        workers.settle(settled);
        workers.freeze();
    }
    let written = workers.written;
    workers.restart(3);
    workers.settle(i64::MAX);
    assert_eq!(workers.lines(), expected(kind, &sums(), &rows));
    written
}

#[test]
fn count_windows_that_change() {
    let kind = Kind::Counting { size: 1_000, timeout: 1_000_000, split_by_flag: false, complete_from: None };
    let keys = i64::from(KEYS);
    let begin = (0..keys).map(|key| at(key, key % 2)).collect();
    let round = |number: i64| {
        let time = 10 + number;
        (vec![at(2 * number % keys, time), at((2 * number + 1) % keys, time)], time + 1)
    };
    let written = written(&kind, begin, 5, round);
    // Two have come and two are gone each time; and in between all of them at times.
    assert!((2 * 2 * 100..=2 * 2 * 2 * 100).contains(&written), "{written} of {}", 100 * KEYS as usize);
}

#[test]
fn sessions_that_are_over() {
    let kind = Kind::Session { gap: 1_000, split_by_flag: false };
    let begin = (0..i64::from(KEYS)).map(|key| at(key, 5 * key)).collect();
    let written = written(&kind, begin, 1_000, |number| (vec![], 1_010 + 10 * number));
    // Each is gone once; and the others are told again when as many are gone as are left.
    assert!((100..=2 * usize::from(KEYS)).contains(&written), "{written}");
}

#[test]
fn states_that_no_window_needs_any_more() {
    let kind = Kind::Sliding { size: 1_000 };
    let begin = (0..i64::from(KEYS)).map(|key| at(key, 5 * key)).collect();
    let round = |number: i64| {
        let time = 1_000 + 10 * number;
        (vec![at(2 * number, time), at(2 * number + 1, time + 5)], time + 10)
    };
    let written = written(&kind, begin, 1_000, round);
    assert!((2 * 2 * 100..=2 * 2 * 2 * 100).contains(&written), "{written}");
}

#[test]
fn what_programs_wrote_that_gave_no_numbers_is_gone_on_with() {
    for kind in [
        Kind::Session { gap: 1_000, split_by_flag: true },
        Kind::Sliding { size: 1_000 },
        Kind::Counting { size: 3, timeout: 5_000, split_by_flag: true, complete_from: None },
    ] {
        let rows: Vec<Row> = (0..i64::from(KEYS)).map(|number| at(number % 40, 50 * number)).collect();
        let mut workers = Workers::new(&kind, &sums(), 2);
        workers.add(&rows[..100]);
        workers.settle(4_000);
        workers.freeze();
        workers.forget_numbers();
        workers.restart(3);
        workers.add(&rows[100..]);
        workers.settle(i64::MAX);
        assert_eq!(workers.lines(), expected(&kind, &sums(), &rows), "{kind:?}");
    }
}
