//! What is told of windows that the data makes while they are open: how many there are, since when, and what they take.

use super::made::{Kind, Open, add, fed, open, shipped};
use super::*;
use crate::event::{EventTime, Micros};
use crate::windows::counting::WAITING;
use crate::windows::{CountWindows, Made, Making, Reached, Revised, Sessions, Settled, SlidingWindows};

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
    let mut worker = open(&kind, &sums(), None, 0);
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
    let mut worker = open(&kind, &sums(), None, 0);
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
    let Open::Counting(windows) = open(&kind, &sums(), None, 0) else { unreachable!("it counts") };
    (kind, windows)
}

#[test]
fn rows_that_wait_are_open_windows_before_they_are_taken() {
    let (kind, mut windows) = counting();
    let told = |windows: &CountWindows| (windows.len(), windows.is_empty(), windows.opens_from(EventTime(50)).0);
    assert_eq!((told(&windows), windows.bytes()), ((0, true, 50), 0));
    windows.add(shipped(&[], &kind.keys()));
    assert!(windows.is_empty() && windows.freeze().is_empty());
    let rows = [at(1, 5), at(2, 7), at(2, 9)];
    windows.add(shipped(&rows, &kind.keys()));
    assert_eq!(told(&windows), (1, false, 5));
    assert_eq!(windows.opens_from(EventTime(3)), EventTime(3));
    // Each of them takes its time, offset and partition at least.
    assert!((rows.len() * (8 + 8 + 4)..100_000).contains(&windows.bytes()));
    let read = |rows: &RecordBatch| Ok::<_, PaneError>(fed(rows, &kind.keys(), &sums()));
    let mut settle = |time| {
        let given = windows.settle(EventTime(time), read).expect("no overflow");
        (given.map_or(0, |made| made.windows().len()), told(&windows))
    };
    assert_eq!(settle(6), (0, (2, false, 5)));
    assert_eq!(settle(8), (0, (3, false, 5)));
    // [5, 15) has timed out, then [7, 17), although its last record is of 9.
    assert_eq!(settle(14), (0, (2, false, 5)));
    assert_eq!(settle(15), (1, (1, false, 7)));
    assert_eq!(settle(17), (1, (0, true, 50)));
    // A checkpoint hears that nothing waits any more, and leaves nothing behind; of what was open it never heard.
    assert_eq!(
        windows.freeze().iter().map(|part| (part.pane, part.states.is_none())).collect::<Vec<_>>(),
        [(WAITING, true)]
    );
    assert_eq!((windows.settle(EventTime(18), read).expect("no overflow").is_none(), windows.bytes()), (true, 0));
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

#[test]
fn rows_without_a_position_come_last_and_by_their_values() {
    let places = |offset: Option<i64>| -> [ArrayRef; 2] {
        let partition = offset.map(|_| 0);
        [Arc::new(arrow::array::Int32Array::from(vec![partition])), Arc::new(Int64Array::from(vec![offset]))]
    };
    // All are of one time; the one with an offset is first, then 1, 2 and 4.
    let rows = [(4, None), (1, None), (8, Some(77)), (2, None)];
    for first in 0..rows.len() {
        let (kind, mut windows) = counting();
        for index in 0..rows.len() {
            let (int, offset) = rows[(first + index) % rows.len()];
            let mut columns = shipped(&[Row { int: Some(int), ..at(1, 5) }], &kind.keys()).columns().to_vec();
            columns.splice(1..3, places(offset));
            // The offset is a column of the tests' rows too.
            let position = columns.len() - 1;
            columns[position] = Arc::new(Int64Array::from(vec![0]));
            let schema = shipped(&[], &kind.keys()).schema();
            windows.add(RecordBatch::try_new(schema, columns).expect("columns of the schema"));
        }
        let read = |rows: &RecordBatch| Ok::<_, PaneError>(fed(rows, &kind.keys(), &sums()));
        let given = windows.settle(EventTime(15), read).expect("no overflow").expect("they are over");
        let mut found: Vec<i64> = given.rows().column(1).as_primitive::<Int64Type>().values().to_vec();
        found.sort_unstable();
        // Of three records, 8, 1 and 2, and of what is left.
        assert_eq!(found, [4, 11], "from {first}");
    }
}

const SECOND: i64 = 1_000_000;

/// One key's windows of 10 seconds, which late records may change for 1,000 seconds, and that ended at `published_below` or
/// before it when they were restored.
fn revised(kind: &Kind, published_below: i64) -> Open {
    let revised = Revised { allowed: Micros(1_000 * SECOND), published_below: EventTime(published_below * SECOND) };
    open(kind, &sums(), Some(revised), 0)
}

/// The ends of windows that are given at a watermark, in seconds.
fn given(worker: &mut Open, watermark: i64) -> Vec<i64> {
    let over = EventTime(watermark * SECOND);
    let at = Reached { over, settled: over.minus(Micros(1_000 * SECOND)) };
    let settled: Settled = match worker {
        Open::Session(sessions) => sessions.settle(at),
        Open::Sliding(windows) => windows.settle(at),
        Open::Counting(_) => unreachable!("these aren't revised"),
    }
    .expect("no overflow");
    assert!(settled.replaced.is_none(), "nothing late has come");
    let end = |window: &Made| window.end / SECOND;
    settled.given.iter().flat_map(|made| made.windows().iter().map(end)).collect()
}

fn freeze(worker: &mut Open) -> Vec<(i64, RecordBatch)> {
    let frozen = match worker {
        Open::Session(sessions) => sessions.freeze().expect("a state"),
        Open::Sliding(windows) => windows.freeze().expect("a state"),
        Open::Counting(windows) => windows.freeze(),
    };
    let held = frozen.into_iter().filter_map(|part| Some((part.pane, part.states?.get().expect("a state"))));
    held.collect()
}

fn revisable() -> [Kind; 2] {
    [Kind::Session { gap: 10 * SECOND, split_by_flag: false }, Kind::Sliding { size: 10 * SECOND }]
}

#[test]
fn windows_that_no_snapshot_shows_are_given_as_if_they_never_were() {
    // Sessions [12, 22) and [35, 45), given at 30 and 50; sliding windows that end just behind 12 and 35.
    let [session, sliding] = revisable();
    for (kind, ends, published_below) in [(session, [22, 45], 30), (sliding, [12, 35], 13)] {
        let mut worker = revised(&kind, i64::MAX / SECOND);
        add(&mut worker, &kind, &sums(), &[at(1, 12 * SECOND), at(1, 35 * SECOND)]);
        assert_eq!(given(&mut worker, 30), ends[..1]);
        assert_eq!(given(&mut worker, 50), ends[1..]);
        let mut again = revised(&kind, published_below);
        for (pane, rows) in freeze(&mut worker) {
            match &mut again {
                Open::Session(sessions) => sessions.restore(pane, &rows),
                Open::Sliding(windows) => windows.restore(pane, &rows),
                Open::Counting(_) => unreachable!("these aren't revised"),
            }
            .expect("the same layout");
        }
        assert_eq!(given(&mut again, 60), ends[1..]);
    }
}

#[test]
fn what_has_not_changed_is_neither_given_nor_written_again() {
    for (kind, ends) in revisable().into_iter().zip([[22, 90], [12, 80]]) {
        let mut worker = revised(&kind, i64::MAX / SECOND);
        add(&mut worker, &kind, &sums(), &[at(1, 12 * SECOND)]);
        assert_eq!(given(&mut worker, 30), ends[..1]);
        assert!(!freeze(&mut worker).is_empty());
        assert!(given(&mut worker, 35).is_empty() && freeze(&mut worker).is_empty());
        // More than a minute later another key has a window.
        add(&mut worker, &kind, &sums(), &[at(2, 80 * SECOND)]);
        assert_eq!(given(&mut worker, 120), ends[1..]);
    }
}
