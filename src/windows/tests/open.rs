//! What is told of windows that the data makes while they are open: how many there are, since when, and what they take.

use super::made::{Kind, Open, add, fed, open, shipped};
use super::*;
use crate::event::EventTime;
use crate::windows::{CountWindows, Making, Reached, Sessions, SlidingWindows};

fn at(key: u8, time: i64) -> Row {
    Row { key: Some(key), time, int: Some(1), ..blank(time) }
}

fn sums() -> [Call; 1] {
    [Call::of("sum", INT)]
}

fn reached(time: i64) -> Reached {
    Reached { over: EventTime(time), settled: EventTime(time) }
}

/// The times from which on something is held.
fn since(windows: &impl Making) -> Vec<i64> {
    let sizes: Vec<(EventTime, usize)> = windows.sizes().collect();
    assert!(sizes.iter().all(|(_, bytes)| *bytes > 0));
    sizes.iter().map(|(time, _)| time.0).collect()
}

fn sessions(rows: &[Row]) -> Sessions {
    let kind = Kind::Session { gap: 10, split_by_flag: false };
    let mut worker = open(&kind, &sums(), None);
    if !rows.is_empty() {
        add(&mut worker, &kind, &sums(), rows);
    }
    let Open::Session(sessions) = worker else { unreachable!("it is a session") };
    sessions
}

#[test]
fn a_session_is_open_from_its_first_record_on() {
    let opens_from = |sessions: &Sessions, settled| sessions.opens_from(EventTime(settled)).map(|time| time.0);
    let none = sessions(&[]);
    assert!(none.is_empty() && since(&none).is_empty());
    assert_eq!(opens_from(&none, 50), Some(50));

    // A pane of it begins at 10; it is [12, 24).
    let mut sessions = sessions(&[at(1, 12), at(1, 14)]);
    assert!(!sessions.is_empty());
    assert_eq!((opens_from(&sessions, 50), opens_from(&sessions, 5)), (Some(10), Some(5)));
    assert_eq!(since(&sessions), [10]);
    assert!(sessions.settle(reached(23)).expect("no overflow").given.is_empty());
    assert!(!sessions.is_empty());
    assert_eq!((opens_from(&sessions, 50), opens_from(&sessions, 5)), (Some(12), Some(5)));
    assert_eq!(since(&sessions), [12]);
    assert_eq!(sessions.settle(reached(24)).expect("no overflow").given.len(), 1);
    assert!(sessions.is_empty() && since(&sessions).is_empty());
    assert_eq!(opens_from(&sessions, 50), Some(50));
}

#[test]
fn a_sliding_window_needs_states_for_its_size() {
    let kind = Kind::Sliding { size: 10 };
    let mut worker = open(&kind, &sums(), None);
    add(&mut worker, &kind, &sums(), &[at(1, 12), at(1, 14)]);
    let Open::Sliding(mut windows) = worker else { unreachable!("it is sliding") };
    let given = |windows: &mut SlidingWindows, time| {
        let settled = windows.settle(reached(time)).expect("no overflow");
        settled.given.iter().map(|made| made.windows().len()).sum::<usize>()
    };
    assert_eq!((windows.is_empty(), since(&windows)), (false, vec![10]));
    // What isn't over stays in the pane.
    assert_eq!((given(&mut windows, 13), since(&windows)), (1, vec![12, 10]));
    assert_eq!((given(&mut windows, 15), since(&windows)), (1, vec![12]));
    assert_eq!((given(&mut windows, 23), windows.is_empty()), (0, false));
    assert_eq!((given(&mut windows, 24), windows.is_empty()), (0, true));
    assert_eq!(windows.opens_from(EventTime(50)), None);
}

fn counting() -> (Kind, CountWindows) {
    let kind = Kind::Counting { size: 3, timeout: 10, split_by_flag: false, complete_from: None };
    let Open::Counting(windows) = open(&kind, &sums(), None) else { unreachable!("it counts") };
    (kind, windows)
}

#[test]
fn rows_that_wait_are_open_windows_before_they_are_taken() {
    let (kind, mut windows) = counting();
    let told = |windows: &CountWindows| (windows.len(), windows.is_empty(), windows.opens_from(EventTime(50)).0);
    assert_eq!((told(&windows), windows.bytes()), ((0, true, 50), 0));
    let rows = [at(1, 5), at(2, 7), at(2, 9)];
    windows.add(shipped(&rows, &kind.keys()));
    assert_eq!(told(&windows), (1, false, 5));
    assert_eq!(windows.opens_from(EventTime(3)), EventTime(3));
    // Each of them takes its time, offset and partition at least.
    assert!((rows.len() * (8 + 8 + 4)..100_000).contains(&windows.bytes()));
    let mut settle = |time| {
        let read = |rows: &RecordBatch| Ok::<_, PaneError>(fed(rows, &kind.keys(), &sums()));
        let given = windows.settle(EventTime(time), read).expect("no overflow");
        (given.map_or(0, |made| made.windows().len()), told(&windows))
    };
    assert_eq!(settle(6), (0, (2, false, 5)));
    assert_eq!(settle(8), (0, (3, false, 5)));
    // [5, 15) has timed out, then [7, 17), although its last record is of 9.
    assert_eq!(settle(14), (0, (2, false, 5)));
    assert_eq!(settle(15), (1, (1, false, 7)));
    assert_eq!(settle(17), (1, (0, true, 50)));
}

#[test]
fn rows_are_taken_early_when_those_that_wait_have_doubled() {
    let (kind, mut windows) = counting();
    let rows: Vec<Row> = (0..1_024).map(|time| at(1, time)).collect();
    let rows = shipped(&rows, &kind.keys());
    let add_65_536 = |windows: &mut CountWindows| {
        (0..63).for_each(|_| windows.add(rows.clone()));
        windows.add(rows.slice(0, 1_023));
        let before = windows.should_settle();
        windows.add(rows.slice(1_023, 1));
        (before, windows.should_settle())
    };
    assert_eq!(add_65_536(&mut windows), (false, true));
    // None of them can be taken; as many must come again before it is worth another try.
    let read = |_: &RecordBatch| -> Result<_, PaneError> { unreachable!("no row is before 0") };
    assert!(windows.settle(EventTime(0), read).expect("no overflow").is_none());
    assert!(!windows.should_settle());
    assert_eq!(add_65_536(&mut windows), (false, true));
}
