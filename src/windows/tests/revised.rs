//! Windows that the data makes where late records revise them: at every look the table shows what a plain reading of the
//! rules says, of the records that have come by then.

use std::collections::BTreeSet;

use super::made::{Kind, Workers, lines_of};
use super::*;
use crate::event::Micros;
use crate::windows::{Made, REVISION_INTERVAL};

const SECOND: i64 = 1_000_000;

/// A row of key `key` at `second`; `int` tells it from others.
fn at(key: u8, second: i64, int: i64) -> Row {
    Row { key: Some(key), time: second * SECOND, int: Some(int), ..blank(int) }
}

/// Workers that sum up, with so many seconds allowed.
fn workers(kind: &Kind, allowed: i64) -> Workers {
    Workers::revising(kind, &[Call::of("sum", INT)], 2, Micros(allowed * SECOND))
}

/// `(key, start, end, sum)` of what is shown at a watermark, in seconds.
fn shown(workers: &mut Workers, watermark: i64) -> Vec<(String, i64, i64, i64)> {
    workers.settle(if watermark == i64::MAX { watermark } else { watermark * SECOND });
    let lines = workers.shown().into_iter().map(|(made, values)| {
        let [ScalarValue::Utf8(Some(key)), ScalarValue::Int64(Some(sum))] = values.as_slice() else {
            panic!("{values:?} is no key and sum")
        };
        (key.clone(), made.start / SECOND, made.end / SECOND, *sum)
    });
    lines.collect()
}

#[test]
fn a_late_record_joins_two_sessions_that_are_shown_to_one() {
    // gap 30, 300 allowed
    let mut workers = workers(&Kind::Session { gap: 30 * SECOND, split_by_flag: false }, 300);
    workers.add(&[at(1, 0, 1), at(1, 40, 2), at(2, 0, 4)]);
    let two = [("k1".into(), 0, 30, 1), ("k2".into(), 0, 30, 4), ("k1".into(), 40, 70, 2)];
    assert_eq!(shown(&mut workers, 70), two);
    // 20 is less than 30 from both. It shows a minute behind the later one of the two.
    workers.add(&[at(1, 20, 8)]);
    assert_eq!(shown(&mut workers, 129), two);
    workers.restart(3);
    assert_eq!(shown(&mut workers, 130), [("k2".into(), 0, 30, 4), ("k1".into(), 0, 70, 11)]);
    // Its lateness ends at 370: 69 may still come at 369, and makes a session to 99 that is shown at once.
    workers.add(&[at(1, 69, 16)]);
    assert_eq!(shown(&mut workers, 369), [("k2".into(), 0, 30, 4), ("k1".into(), 0, 99, 27)]);
    assert_eq!(shown(&mut workers, i64::MAX), [("k2".into(), 0, 30, 4), ("k1".into(), 0, 99, 27)]);
    assert!(workers.is_empty());
}

#[test]
fn a_session_that_goes_on_is_taken_back_until_it_is_over() {
    let mut workers = workers(&Kind::Session { gap: 100 * SECOND, split_by_flag: false }, 200);
    workers.add(&[at(1, 0, 1)]);
    assert_eq!(shown(&mut workers, 100), [("k1".into(), 0, 100, 1)]);
    // With 99 and 150 it lasts to 250: it isn't over, and what is shown of it is wrong for a minute.
    workers.add(&[at(1, 99, 2), at(1, 150, 4)]);
    assert_eq!(shown(&mut workers, 151), [("k1".into(), 0, 100, 1)]);
    workers.restart(1);
    assert_eq!(shown(&mut workers, 160), []);
    assert_eq!(shown(&mut workers, 249), []);
    assert_eq!(shown(&mut workers, 250), [("k1".into(), 0, 250, 7)]);
}

#[test]
fn a_late_record_adds_a_sliding_window_and_changes_those_behind_it() {
    // size 10, 100 allowed
    let mut workers = workers(&Kind::Sliding { size: 10 * SECOND }, 100);
    workers.add(&[at(1, 1, 1), at(1, 5, 2), at(1, 12, 4), at(2, 5, 8)]);
    let ends = |rows: Vec<(String, i64, i64, i64)>| -> Vec<(String, i64, i64)> {
        rows.into_iter().map(|(key, _, end, sum)| (key, end, sum)).collect()
    };
    let before = [("k1".into(), 1, 1), ("k1".into(), 5, 3), ("k2".into(), 5, 8), ("k1".into(), 12, 6)];
    assert_eq!(ends(shown(&mut workers, 13)), before);
    // Its own window is new, and there at once.
    workers.add(&[at(1, 4, 16)]);
    let between =
        [("k1".into(), 1, 1), ("k1".into(), 4, 17), ("k1".into(), 5, 3), ("k2".into(), 5, 8), ("k1".into(), 12, 6)];
    assert_eq!(ends(shown(&mut workers, 20)), between);
    workers.restart(1);
    assert_eq!(ends(shown(&mut workers, 72)), between);
    let after =
        [("k1".into(), 1, 1), ("k1".into(), 4, 17), ("k1".into(), 5, 19), ("k2".into(), 5, 8), ("k1".into(), 12, 22)];
    assert_eq!(ends(shown(&mut workers, 73)), after);
    // Another of 5 comes when its window is shown: it counts when the lateness of each window behind it ends.
    workers.add(&[at(1, 5, 32)]);
    let sums = |rows: Vec<(String, i64, i64, i64)>| -> Vec<i64> { rows.into_iter().map(|row| row.3).collect() };
    assert_eq!(sums(shown(&mut workers, 105)), [1, 17, 19, 8, 22]);
    assert_eq!(sums(shown(&mut workers, 106)), [1, 17, 51, 8, 22]);
    assert_eq!(sums(shown(&mut workers, 113)), [1, 17, 51, 8, 54]);
}

/// A window that the model shows.
#[derive(Clone)]
struct Showing {
    made: Made,
    key: Option<u8>,
    rows: Vec<Row>,
    given: i64,
}

/// The rules, read plainly: the windows of all records that have come, and which of them show.
struct Model {
    kind: Kind,
    allowed: i64,
    rows: Vec<Row>,
    showing: Vec<Showing>,
}

impl Model {
    fn look(&mut self, watermark: i64) {
        // One for each group: those of one window and key together.
        let mut windows: Vec<(Made, Option<u8>, Vec<Row>)> = Vec::new();
        for (made, rows) in self.kind.model(&self.rows) {
            match windows.iter_mut().find(|(other, key, _)| (*other, *key) == (made, rows[0].key)) {
                Some((_, _, all)) => all.extend(rows),
                None => windows.push((made, rows[0].key, rows)),
            }
        }
        for (made, key, rows) in windows {
            let is_session = matches!(self.kind, Kind::Session { .. });
            let of_window = |shown: &Showing| {
                let inside = made.start <= shown.made.start && shown.made.end <= made.end;
                shown.key == key && (shown.made == made || (is_session && inside))
            };
            let before: Vec<&Showing> = self.showing.iter().filter(|shown| of_window(shown)).collect();
            let positions = |rows: &[Row]| -> BTreeSet<i64> { rows.iter().map(|row| row.position).collect() };
            let same = |shown: &&Showing| shown.made == made && positions(&shown.rows) == positions(&rows);
            let given = before.iter().map(|shown| shown.given).max();
            let is_due = match given {
                None => true,
                Some(_) if before.len() == 1 && before.iter().all(same) => false,
                Some(given) => given + REVISION_INTERVAL.0 <= watermark || made.end + self.allowed <= watermark,
            };
            if !is_due {
                continue;
            }
            self.showing.retain(|shown| !of_window(shown));
            if made.end <= watermark {
                self.showing.push(Showing { made, key, rows, given: watermark });
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Freeze,
    Restart(usize),
}

fn kind() -> impl Strategy<Value = Kind> {
    let unit = 10 * SECOND;
    let session = (1i64..15, any::<bool>())
        .prop_map(move |(gap, split_by_flag)| Kind::Session { gap: gap * unit, split_by_flag });
    prop_oneof![session, (1i64..15).prop_map(move |size| Kind::Sliding { size: size * unit })]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn at_every_look_the_table_shows_what_is_right_for_what_has_come(
        kind in kind(),
        rows in rows(50),
        times in prop::collection::vec((-30i64..60, any::<usize>()), 50),
        allowed in 1i64..25,
        steps in prop::collection::vec(
            (
                -30i64..70,
                prop_oneof![Just(Then::Nothing), Just(Then::Freeze), (1usize..4).prop_map(Then::Restart)],
            ),
            1..10,
        ),
    ) {
        let unit = 10 * SECOND;
        let allowed = allowed * unit;
        let calls = [Call::of("count", POSITION), Call::of("sum", DOUBLE), Call::of("last_value", TEXT).ordered(TIME, false)];
        let mut looks: Vec<(i64, Then)> = steps.into_iter().map(|(time, then)| (time * unit, then)).collect();
        looks.sort_by_key(|(time, _)| *time);
        let mut of_look: Vec<Vec<Row>> = vec![Vec::new(); looks.len() + 1];
        for (mut row, (time, when)) in rows.into_iter().zip(times) {
            row.time = time * unit;
            // Before the first look that settles its time.
            let latest = looks.iter().position(|(look, _)| row.time < look - allowed).unwrap_or(looks.len());
            of_look[when % (latest + 1)].push(row);
        }
        looks.push((1_000 * unit, Then::Nothing));
        let mut workers = Workers::revising(&kind, &calls, 2, Micros(allowed));
        let mut model = Model { kind: kind.clone(), allowed, rows: Vec::new(), showing: Vec::new() };
        for (rows, (watermark, then)) in of_look.into_iter().zip(looks) {
            workers.add(&rows);
            model.rows.extend(rows);
            workers.settle(watermark);
            model.look(watermark);
            let expected = model.showing.iter().map(|shown| (shown.made, shown.rows.clone())).collect();
            prop_assert_eq!(workers.shown(), lines_of(&kind, &calls, expected), "at {}", watermark / unit);
            match then {
                Then::Nothing => {}
                Then::Freeze => workers.freeze(),
                Then::Restart(count) => workers.restart(count),
            }
        }
        let all = model.rows;
        prop_assert_eq!(workers.shown(), super::made::expected(&kind, &calls, &all));
        prop_assert!(workers.is_empty());
    }
}
