//! Hand-worked tables of windows that the data makes, in minutes or microseconds as it reads best.

use super::made::{Kind, Workers};
use super::*;

const MINUTE: i64 = 60_000_000;

/// A row of key `key` at `time`; `int` tells it from others.
fn at(key: u8, time: i64, int: i64) -> Row {
    Row { key: Some(key), time, int: Some(int), ..blank(int) }
}

/// `(key, start, end, reason, sum)` of what was given, in order.
fn told(workers: &Workers, unit: i64) -> Vec<(String, i64, i64, &'static str, i64)> {
    let lines = workers.lines().into_iter().map(|(made, values)| {
        let [ScalarValue::Utf8(Some(key)), ScalarValue::Int64(Some(sum))] = values.as_slice() else {
            panic!("{values:?} is no key and sum")
        };
        let reason = made.reason.map_or("", crate::windows::Reason::as_str);
        (key.clone(), made.start / unit, made.end / unit, reason, *sum)
    });
    lines.collect()
}

fn workers(kind: &Kind) -> Workers {
    Workers::new(kind, &[Call::of("sum", INT)], 1)
}

/// The example of Flink's page "Window TVF": bids on A at 8:06, 8:07, 8:08, on B at 8:09 and 8:17, a gap of 5 minutes.
#[test]
fn flinks_documented_sessions() {
    let clock = |minute: i64| (8 * 60 + minute) * MINUTE;
    let mut workers = workers(&Kind::Session { gap: 5 * MINUTE, split_by_flag: false });
    let bids = [(1, 7, 4), (1, 6, 2), (2, 9, 5), (1, 8, 3), (2, 17, 1)];
    workers.add(&bids.map(|(item, minute, price)| at(item, clock(minute), price)));
    workers.settle(i64::MAX);
    let minute = |clock: i64| 8 * 60 + clock;
    assert_eq!(
        told(&workers, MINUTE),
        [
            ("k1".into(), minute(6), minute(13), "", 9),
            ("k2".into(), minute(9), minute(14), "", 5),
            ("k2".into(), minute(17), minute(22), "", 1),
        ]
    );
}

#[test]
fn a_record_that_comes_late_joins_two_sessions() {
    let mut workers = workers(&Kind::Session { gap: 10, split_by_flag: false });
    // 1 to 9 and 23 to 25 are two sessions, until 14 comes: less than 10 from both.
    workers.add(&[at(1, 1, 1), at(1, 9, 2), at(1, 23, 4), at(1, 25, 8)]);
    workers.settle(14);
    workers.restart(2);
    workers.add(&[at(1, 14, 16)]);
    workers.settle(34);
    assert_eq!(told(&workers, 1), []);
    workers.settle(35);
    assert_eq!(told(&workers, 1), [("k1".into(), 1, 35, "", 31)]);
}

#[test]
fn records_exactly_a_gap_apart_are_of_two_sessions() {
    let mut workers = workers(&Kind::Session { gap: 10, split_by_flag: false });
    workers.add(&[at(1, 0, 1), at(1, 10, 2), at(2, 0, 4), at(2, 9, 8)]);
    workers.settle(10);
    assert_eq!(told(&workers, 1), [("k1".into(), 0, 10, "", 1)]);
    workers.settle(20);
    let both = [("k1".into(), 0, 10, "", 1), ("k2".into(), 0, 19, "", 12), ("k1".into(), 10, 20, "", 2)];
    assert_eq!(told(&workers, 1), both);
}

#[test]
fn a_session_without_end_stays_small() {
    let mut workers = workers(&Kind::Session { gap: 10, split_by_flag: false });
    for time in 0..500 {
        workers.add(&[at(1, time * 7, 1)]);
        workers.settle(time * 7);
        workers.freeze();
        // What is set aside is one piece; beside it there are the panes at the end of time that is over.
        assert!(workers.stored_rows() <= 3, "{} rows", workers.stored_rows());
    }
    assert_eq!(told(&workers, 1), []);
    workers.settle(i64::MAX);
    assert_eq!(told(&workers, 1), [("k1".into(), 0, 499 * 7 + 10, "", 500)]);
}

fn count(size: u64, timeout: i64) -> Kind {
    Kind::Counting { size, timeout, split_by_flag: false, complete_from: None }
}

#[test]
fn full_goes_before_timeout_when_both_come_at_once() {
    // The third record stands a microsecond before the deadline: 10 is the end either way.
    let mut one = workers(&count(3, 10));
    one.add(&[at(1, 0, 1), at(1, 5, 2), at(1, 9, 4)]);
    one.settle(9);
    assert_eq!(told(&one, 1), [], "the third record may have company at its own time");
    one.settle(10);
    assert_eq!(told(&one, 1), [("k1".into(), 0, 10, "full", 7)]);
    // One at the deadline never joins.
    let mut other = workers(&count(3, 10));
    other.add(&[at(1, 0, 1), at(1, 5, 2), at(1, 10, 4)]);
    other.settle(i64::MAX);
    assert_eq!(told(&other, 1), [("k1".into(), 0, 10, "timeout", 3), ("k1".into(), 10, 20, "timeout", 4)]);
}

#[test]
fn a_count_window_does_not_show_how_far_time_jumped() {
    let hour = 60 * MINUTE;
    for steps in [vec![3 * hour], vec![hour, 2 * hour, 2 * hour + 1, 3 * hour]] {
        let mut workers = workers(&count(7, 2 * hour));
        workers.add(&[at(1, 0, 1), at(1, 150 * MINUTE, 2)]);
        steps.iter().for_each(|&time| workers.settle(time));
        workers.settle(i64::MAX);
        assert_eq!(
            told(&workers, MINUTE),
            [("k1".into(), 0, 120, "timeout", 1), ("k1".into(), 150, 270, "timeout", 2)]
        );
    }
}

#[test]
fn records_of_one_time_fill_windows_in_the_order_of_their_offsets() {
    let mut workers = workers(&count(2, 10));
    // The second argument is the offset too.
    workers.add(&[at(1, 5, 3), at(1, 5, 1)]);
    workers.add(&[at(1, 5, 2), at(1, 4, 9)]);
    workers.settle(6);
    assert_eq!(told(&workers, 1), [("k1".into(), 4, 6, "full", 10), ("k1".into(), 5, 6, "full", 5)]);
}

#[test]
fn a_sliding_window_ends_with_each_record() {
    let mut workers = workers(&Kind::Sliding { size: 10 });
    workers.add(&[at(1, 1, 1), at(1, 5, 2), at(1, 12, 4), at(1, 15, 8), at(2, 12, 16)]);
    workers.settle(12);
    assert_eq!(told(&workers, 1), [("k1".into(), -8, 2, "", 1), ("k1".into(), -4, 6, "", 3)]);
    workers.restart(2);
    workers.settle(16);
    // 5 is in (12 - 10, 12], but not in (15 - 10, 15].
    let rest = [("k1".into(), 3, 13, "", 6), ("k2".into(), 3, 13, "", 16), ("k1".into(), 6, 16, "", 12)];
    assert_eq!(told(&workers, 1)[2..], rest);
}

#[test]
fn behind_a_start_in_mid_log_a_key_is_known_after_a_silence() {
    let kind = Kind::Counting { size: 2, timeout: 10, split_by_flag: false, complete_from: Some(0) };
    let mut workers = workers(&kind);
    // A record before 0 may be in a window with 5, so that 6 begins another.
    workers.add(&[at(1, 5, 1), at(1, 6, 2)]);
    workers.settle(8);
    workers.restart(1);
    // 12 is a timeout behind the start, but not behind 6; 23 is one behind 13.
    workers.add(&[at(1, 12, 4), at(1, 13, 8)]);
    workers.settle(15);
    assert_eq!(told(&workers, 1), []);
    workers.add(&[at(1, 23, 16), at(1, 24, 32)]);
    workers.settle(25);
    assert_eq!(told(&workers, 1), [("k1".into(), 23, 25, "full", 48)]);
}
