//! Windows that share panes against a pane of each window's rows alone: whatever was evaluated, merged, frozen and restored
//! before.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::event::Micros;
use crate::windows::shared::{Bounds, Merging, RunningPrefix, SharedPane, SharesPanes, TwoStacks};
use crate::windows::{Cumulating, Hopping};

/// A row, how many windows are over when it comes, and for how many of those that aren't it is late.
type Arrival = (Row, usize, i64);

/// What happens before a window is evaluated.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Freeze,
    Restart,
}

fn of_keys() -> (Arc<Aggregation>, Vec<Call>) {
    let calls = vec![Call::of("sum", INT), Call::of("max", TIME)];
    (aggregation(&[KEY], &calls), calls)
}

/// Panes as a checkpoint and a worker have them.
struct Panes {
    open: BTreeMap<i64, SharedPane>,
    stored: BTreeMap<i64, Vec<(u64, RecordBatch)>>,
}

impl Panes {
    fn freeze(&mut self) {
        for (&start, pane) in &mut self.open {
            let Some(Frozen { states, covers }) = pane.freeze().expect("a state") else { continue };
            let stored = self.stored.entry(start).or_default();
            stored.retain(|(first, _)| *first < covers.start);
            stored.push((covers.start, states.get().expect("a state")));
            assert!(pane.freeze().expect("nothing new").is_none());
        }
    }

    fn restart(&mut self, aggregation: &Arc<Aggregation>) {
        self.freeze();
        self.open.clear();
        for (start, parts) in std::mem::take(&mut self.stored) {
            let mut pane = SharedPane::new(aggregation).expect("known functions");
            parts.iter().try_for_each(|(_, rows)| pane.merge(rows)).expect("the same layout");
            self.open.insert(start, pane);
        }
    }

    fn drop_through<W: SharesPanes>(&mut self, window: W, end: i64) {
        self.open.retain(|&start, _| window.windows_of(start).last_end > end);
        self.stored.retain(|&start, _| window.windows_of(start).last_end > end);
    }
}

fn check<W: SharesPanes>(window: W, arrivals: &[Arrival], then: &[Then]) {
    let (aggregation, calls) = of_keys();
    let ends: BTreeSet<i64> = (0..100)
        .map(|time| window.windows_of(window.pane(time).0))
        .flat_map(|run| (0..run.count()).map(move |before| run.end(before)))
        .collect();
    let mut panes = Panes { open: BTreeMap::new(), stored: BTreeMap::new() };
    let mut merged = W::Merged::default();
    // Each row with the first and the last window that takes it.
    let mut taken: Vec<(i64, i64, Row)> = Vec::new();
    let mut over = i64::MIN;
    for (index, &end) in ends.iter().enumerate() {
        for (row, _, late_for) in arrivals.iter().filter(|(_, before, _)| *before == index) {
            let start = window.pane(row.time).0;
            let run = window.windows_of(start);
            let Some(open) = run.first_after(over) else { continue };
            let first = open + late_for * run.spacing;
            if first > run.last_end {
                continue;
            }
            let from = (first > run.first_end).then_some(first);
            let new = || SharedPane::new(&aggregation).expect("known functions");
            let pane = panes.open.entry(start).or_insert_with(new).part(from).expect("known functions");
            update(pane, &[KEY], &calls, std::slice::from_ref(row)).expect("rows of the schema");
            taken.push((first, run.last_end, row.clone()));
        }
        match then.get(index).copied().unwrap_or(Then::Nothing) {
            Then::Nothing => {}
            Then::Freeze => panes.freeze(),
            Then::Restart => {
                panes.restart(&aggregation);
                merged = W::Merged::default();
            }
        }
        let bounds = Bounds { start: window.start_of(end), end };
        let found = merged.evaluate(&aggregation, &mut panes.open, bounds).expect("no overflow");
        let mut alone = Pane::new(&aggregation).expect("known functions");
        for (_, _, row) in taken.iter().filter(|(first, last, _)| (*first..=*last).contains(&end)) {
            update(&mut alone, &[KEY], &calls, std::slice::from_ref(row)).expect("rows of the schema");
        }
        assert_eq!(sorted(&found), sorted(&alone.close().expect("no overflow")), "{bounds:?}");
        over = end;
        panes.drop_through(window, end);
    }
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = (0u8..3, 0i64..100, 0usize..12, prop_oneof![2 => Just(0i64), 1 => 0i64..4]);
    prop::collection::vec(arrival, 0..40).prop_map(|arrivals| {
        let arrivals = arrivals.into_iter().zip(0..);
        let row = |key, time, int| Row { key: Some(key), time, int: Some(1_i64 << int), ..blank(int) };
        arrivals.map(|((key, time, before, late_for), int)| (row(key, time, int), before, late_for)).collect()
    })
}

fn then() -> impl Strategy<Value = Vec<Then>> {
    let one = prop_oneof![3 => Just(Then::Nothing), 2 => Just(Then::Freeze), 1 => Just(Then::Restart)];
    prop::collection::vec(one, 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn hops_are_made_of_their_rows(
        (slide, offset) in (3i64..30).prop_flat_map(|slide| (Just(slide), 0..slide)),
        size in 1i64..80,
        arrivals in arrivals(),
        then in then(),
    ) {
        let [slide, size, offset] = [slide, size, offset].map(Micros);
        check(Hopping { slide, size, offset }, &arrivals, &then);
    }

    #[test]
    fn cumulating_windows_are_made_of_their_rows(
        step in 3i64..20,
        (steps, shift) in (1i64..6).prop_flat_map(|steps| (Just(steps), 0..steps)),
        arrivals in arrivals(),
        then in then(),
    ) {
        let [step, size, offset] = [step, step * steps, step * shift].map(Micros);
        check(Cumulating { step, size, offset }, &arrivals, &then);
    }
}

fn row(time: i64, int: i64) -> Row {
    Row { key: Some(1), time, int: Some(int), ..blank(time) }
}

#[test]
fn deltas_of_a_pane_with_side_sets_are_put_together_before_they_are_many() {
    let (aggregation, calls) = of_keys();
    let mut pane = SharedPane::new(&aggregation).expect("known functions");
    assert!(pane.freeze().expect("nothing").is_none());
    let mut merged = Vec::new();
    for time in 0..36 {
        let part = pane.part((time % 3 == 0).then_some(50)).expect("known functions");
        update(part, &[KEY], &calls, &[row(time, 1)]).expect("rows of the schema");
        let Frozen { states, covers } = pane.freeze().expect("a state").expect("a row came");
        let rows = states.get().expect("a state").num_rows();
        if covers.end - covers.start > 1 {
            assert_eq!(rows, 2, "of all windows, and of those from 50 on");
            merged.push(covers);
        } else {
            assert_eq!(rows, 1);
        }
    }
    assert_eq!(merged, [0..16, 16..32]);
}

#[test]
fn many_keys_in_a_side_set_are_not_held_again_and_again() {
    let (aggregation, calls) = (aggregation(&[INT], &[Call::of("count", TIME)]), [Call::of("count", TIME)]);
    let mut pane = SharedPane::new(&aggregation).expect("known functions");
    let rows: Vec<Row> = (0..5_000).map(|int| row(int, int)).collect();
    let mut covers = Vec::new();
    for _ in 0..4 {
        update(pane.part(Some(50)).expect("known functions"), &[INT], &calls, &rows).expect("rows of the schema");
        let frozen = pane.freeze().expect("a state").expect("rows came");
        assert_eq!(frozen.states.get().expect("counts").num_rows(), 5_000);
        covers.push(frozen.covers);
    }
    // A third delta would be more than twice the largest.
    assert_eq!(covers, [0..1, 1..2, 0..3, 3..4]);
}

#[test]
fn frozen_rows_without_side_sets_are_of_another_layout() {
    let (aggregation, calls) = of_keys();
    let mut alone = Pane::new(&aggregation).expect("known functions");
    update(&mut alone, &[KEY], &calls, &[row(1, 1)]).expect("rows of the schema");
    let rows = alone.freeze().expect("a state").expect("a row came").states.get().expect("a state");
    let mut pane = SharedPane::new(&aggregation).expect("known functions");
    let error = pane.merge(&rows).expect_err("the first column is missing").to_string();
    assert!(
        error.starts_with("state of another layout: expected _from Timestamp(µs, \"+00:00\"), k0 Utf8, "),
        "{error}"
    );
    let first = Arc::new(rows.schema().field(0).clone().with_name("_from"));
    let fields: Vec<_> = std::iter::once(first).chain(rows.schema().fields()[1..].iter().cloned()).collect();
    let renamed = RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec()).expect("a new name");
    pane.merge(&renamed).expect_err("the first column is of another type");
}

/// A row, with the end of the first window that takes it where that isn't the first of its pane.
type Late = (Option<i64>, Row);

/// The sums of windows that begin with pane 0, evaluated one after the other, of rows that come before each.
fn sums<M: Merging>(windows: &[(Bounds, &[Late])]) -> Vec<i64> {
    let (aggregation, calls) = of_keys();
    let new = || SharedPane::new(&aggregation).expect("known functions");
    let (mut merged, mut panes) = (M::default(), BTreeMap::new());
    let mut sums = Vec::new();
    for (window, rows) in windows {
        for (from, row) in *rows {
            let pane = panes.entry(row.time / 10 * 10).or_insert_with(new).part(*from).expect("known functions");
            update(pane, &[KEY], &calls, std::slice::from_ref(row)).expect("rows of the schema");
        }
        let result = merged.evaluate(&aggregation, &mut panes, *window).expect("no overflow");
        sums.push(result.column(1).as_primitive::<Int64Type>().value(0));
    }
    sums
}

#[test]
fn a_side_set_joins_the_windows_from_its_own_on_once() {
    let window = |end| Bounds { start: 0, end };
    let windows: [(Bounds, &[Late]); 5] = [
        // One row for all windows, one for those that end at 20 or later, one for those from 40 on.
        (window(20), &[(None, row(1, 1)), (Some(20), row(2, 2)), (Some(40), row(3, 4))]),
        (window(30), &[(None, row(21, 8))]),
        // Nothing but the side set is new, then nothing at all, then a row for a pane that is merged.
        (window(40), &[]),
        (window(50), &[]),
        (window(60), &[(Some(60), row(22, 16))]),
    ];
    assert_eq!(sums::<RunningPrefix>(&windows), [3, 11, 15, 15, 31]);
    assert_eq!(sums::<TwoStacks>(&windows), [3, 11, 15, 15, 31]);
}

/// Memory with `keys` keys in a window of 10, evaluated once.
fn bytes_merged<M: Merging>(keys: u8) -> usize {
    let (aggregation, calls) = of_keys();
    let mut pane = SharedPane::new(&aggregation).expect("known functions");
    let rows: Vec<Row> = (0..keys).map(|key| Row { key: Some(key), ..row(1, 1) }).collect();
    if !rows.is_empty() {
        update(pane.part(None).expect("known functions"), &[KEY], &calls, &rows).expect("rows of the schema");
    }
    let mut merged = M::default();
    assert_eq!(merged.bytes(), 0, "nothing is held before a window is evaluated");
    merged.evaluate(&aggregation, &mut BTreeMap::from([(0, pane)]), Bounds { start: 0, end: 10 }).expect("no overflow");
    merged.bytes()
}

#[test]
fn what_is_merged_is_counted() {
    for bytes_of in [bytes_merged::<TwoStacks>, bytes_merged::<RunningPrefix>] {
        // A key is held with its text, its sum and its time.
        assert!(bytes_of(200) - bytes_of(100) >= 100 * (2 + 8 + 8));
        assert!(bytes_of(200) < 100_000);
    }
}

#[test]
fn memory_of_a_shared_pane_is_that_of_its_parts() {
    let (aggregation, calls) = of_keys();
    let mut pane = SharedPane::new(&aggregation).expect("known functions");
    let rows: Vec<Row> = (0..200).map(|key| Row { key: Some(key), ..row(1, 1) }).collect();
    let mut sizes = vec![pane.bytes()];
    for from in [None, Some(50), Some(60)] {
        update(pane.part(from).expect("known functions"), &[KEY], &calls, &rows).expect("rows of the schema");
        sizes.push(pane.bytes());
    }
    assert!(sizes.windows(2).all(|pair| pair[1] - pair[0] >= 200 * (2 + 8 + 8)), "{sizes:?}");
    assert!(sizes[3] < 1_000_000);
}
