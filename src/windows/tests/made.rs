//! Windows that the data makes against slow, obvious models: whatever the batches, the settled times, the checkpoints and
//! the number of workers, each window comes once and with the bits that a pane of its records alone has.

use std::collections::BTreeMap;

use super::*;
use crate::event::{EventTime, Micros};
use crate::windows::{
    CountWindows, Counting, Fed, FrozenPart, Gone, Made, MadeWindows, Making, NUMBER, Reached, Reason, Revised,
    Session, Sessions, Settled, Sliding, SlidingWindows, Split,
};

/// A window as a model tells it: bounds, then the rows of one group.
pub(super) type Expected = (Made, Vec<Row>);

/// What a test gives to one kind of window.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Session { gap: i64, split_by_flag: bool },
    Counting { size: u64, timeout: i64, split_by_flag: bool, complete_from: Option<i64> },
    Sliding { size: i64 },
}

impl Kind {
    /// Group keys; the first one tells windows apart.
    pub(super) fn keys(&self) -> Vec<usize> {
        match self {
            Kind::Session { split_by_flag: true, .. } | Kind::Counting { split_by_flag: true, .. } => vec![KEY, FLAG],
            _ => vec![KEY],
        }
    }

    /// The windows of `rows`, one for each group.
    pub(super) fn model(&self, rows: &[Row]) -> Vec<Expected> {
        let mut of_key: BTreeMap<Option<u8>, Vec<Row>> = BTreeMap::new();
        for row in rows {
            of_key.entry(row.key).or_default().push(row.clone());
        }
        let mut windows: Vec<Expected> = Vec::new();
        for mut rows in of_key.into_values() {
            rows.sort_by_key(|row| (row.time, row.position));
            match *self {
                Kind::Session { gap, .. } => windows.extend(sessions(&rows, gap)),
                Kind::Counting { size, timeout, complete_from, .. } => {
                    windows.extend(counted(&rows, size, timeout, complete_from));
                }
                Kind::Sliding { size } => windows.extend(sliding(&rows, size)),
            }
        }
        if self.keys().len() == 1 {
            return windows;
        }
        let mut split = Vec::new();
        for (made, rows) in windows {
            for flag in [None, Some(false), Some(true)] {
                let own: Vec<Row> = rows.iter().filter(|row| row.flag == flag).cloned().collect();
                if !own.is_empty() {
                    split.push((made, own));
                }
            }
        }
        split
    }
}

fn sessions(rows: &[Row], gap: i64) -> Vec<Expected> {
    let mut found: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match found.last_mut() {
            Some(session) if row.time - session.last().expect("not empty").time < gap => session.push(row.clone()),
            _ => found.push(vec![row.clone()]),
        }
    }
    let bounds =
        |rows: &[Row]| Made { start: rows[0].time, end: rows[rows.len() - 1].time + gap, reason: None, whole: true };
    found.into_iter().map(|rows| (bounds(&rows), rows)).collect()
}

/// With `complete_from`, a window counts only if at or before its first record, and at or after that time, there was a
/// silence as long as the timeout: from then on it is known where windows begin.
fn counted(rows: &[Row], size: u64, timeout: i64, complete_from: Option<i64>) -> Vec<Expected> {
    let (mut found, mut open): (Vec<Expected>, Vec<Row>) = (Vec::new(), Vec::new());
    let mut known = complete_from.is_none();
    let mut is_known = Vec::new();
    let mut before = complete_from;
    for row in rows {
        if open.first().is_some_and(|first| row.time >= first.time + timeout) {
            let first = open[0].time;
            found.push((
                Made { start: first, end: first + timeout, reason: Some(Reason::Timeout), whole: true },
                open.split_off(0),
            ));
        }
        known |= open.is_empty() && before.is_some_and(|before| row.time >= before + timeout);
        if open.is_empty() {
            is_known.push(known);
        }
        before = before.map(|before| before.max(row.time));
        open.push(row.clone());
        if open.len() as u64 == size {
            let bounds = Made { start: open[0].time, end: row.time + 1, reason: Some(Reason::Full), whole: true };
            found.push((bounds, open.split_off(0)));
        }
    }
    if let Some(first) = open.first().map(|row| row.time) {
        found.push((Made { start: first, end: first + timeout, reason: Some(Reason::Timeout), whole: true }, open));
    }
    found.into_iter().zip(is_known).filter(|(_, known)| *known).map(|(window, _)| window).collect()
}

fn sliding(rows: &[Row], size: i64) -> Vec<Expected> {
    let mut times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    times.dedup();
    let window = |end: i64| {
        let inside = rows.iter().filter(|row| row.time > end - size && row.time <= end).cloned().collect();
        (Made { start: end - size + 1, end: end + 1, reason: None, whole: true }, inside)
    };
    times.into_iter().map(window).collect()
}

/// One worker's windows.
pub(super) enum Open {
    Session(Sessions),
    Counting(CountWindows),
    Sliding(SlidingWindows),
}

/// Workers with their open windows, and what they gave a checkpoint.
pub(super) struct Workers {
    kind: Kind,
    calls: Vec<Call>,
    workers: Vec<Open>,
    stored: BTreeMap<(usize, i64), Vec<(u64, Deferred)>>,
    given: Vec<MadeWindows>,
    /// Rows that checkpoints have written.
    pub(super) written: usize,
    /// What is shown, where windows are given early: those that were given and not replaced since.
    shown: Shown,
    revised: Option<Revised>,
}

/// Lines by the window and the key that tell them.
type Shown = BTreeMap<(Made, String), Vec<Vec<ScalarValue>>>;

impl Workers {
    pub(super) fn new(kind: &Kind, calls: &[Call], workers: usize) -> Workers {
        Workers::settling(kind, calls, workers, None)
    }

    /// Late records may change windows that are over for so long.
    pub(super) fn revising(kind: &Kind, calls: &[Call], workers: usize, allowed: Micros) -> Workers {
        let revised = Revised { allowed, published_below: EventTime::MAX };
        Workers::settling(kind, calls, workers, Some(revised))
    }

    fn settling(kind: &Kind, calls: &[Call], workers: usize, revised: Option<Revised>) -> Workers {
        Workers {
            kind: kind.clone(),
            calls: calls.to_vec(),
            workers: (0..workers).map(|worker| open(kind, calls, revised, worker)).collect(),
            stored: BTreeMap::new(),
            given: Vec::new(),
            written: 0,
            shown: Shown::new(),
            revised,
        }
    }

    pub(super) fn add(&mut self, rows: &[Row]) {
        let count = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let own: Vec<Row> = rows.iter().filter(|row| worker_of(row.key, count) == index).cloned().collect();
            if !own.is_empty() {
                add(worker, &self.kind, &self.calls, &own);
            }
        }
    }

    pub(super) fn settle(&mut self, time: i64) {
        let over = EventTime(time);
        let at = Reached { over, settled: over.minus(self.revised.map_or(Micros(0), |revised| revised.allowed)) };
        for worker in &mut self.workers {
            let settled = match worker {
                Open::Session(sessions) => sessions.settle(at).expect("no overflow"),
                Open::Counting(windows) => {
                    let (keys, calls) = (self.kind.keys(), &self.calls);
                    let read = |rows: &RecordBatch| Ok::<Fed, PaneError>(fed(rows, &keys, calls));
                    let given = windows.settle(over, read).expect("no overflow").into_iter().collect();
                    Settled { given, replaced: None }
                }
                Open::Sliding(windows) => windows.settle(at).expect("no overflow"),
            };
            show(&mut self.shown, &settled);
            self.given.extend(settled.given);
        }
    }

    /// What is shown now, a line for each row of a window.
    pub(super) fn shown(&self) -> Vec<(Made, Vec<ScalarValue>)> {
        let lines = self.shown.iter().flat_map(|((made, _), rows)| rows.iter().map(|row| (*made, row.clone())));
        let mut lines: Vec<_> = lines.collect();
        sort(&mut lines);
        lines
    }

    pub(super) fn freeze(&mut self) {
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let frozen = match worker {
                Open::Session(sessions) => sessions.freeze().expect("a state"),
                Open::Counting(windows) => windows.freeze(),
                Open::Sliding(windows) => windows.freeze().expect("a state"),
            };
            for FrozenPart { pane, states, covers } in frozen {
                let stored = self.stored.entry((index, pane)).or_default();
                stored.retain(|(first, _)| states.is_some() && *first < covers.start);
                self.written += states.as_ref().map_or(0, Deferred::rows);
                stored.extend(states.map(|states| (covers.start, states)));
            }
        }
    }

    /// Rows that the checkpoint holds.
    pub(super) fn stored_rows(&self) -> usize {
        self.stored.values().flatten().map(|(_, states)| states.rows()).sum()
    }

    /// Makes what the checkpoint holds what programs wrote that gave rows no numbers.
    pub(super) fn forget_numbers(&mut self) {
        for (_, states) in self.stored.values_mut().flatten() {
            let rows = states.get().expect("a state");
            let others: Vec<usize> =
                (0..rows.num_columns()).filter(|&column| rows.schema().field(column).name() != NUMBER).collect();
            *states = Deferred::of(rows.project(&others).expect("its own columns"));
        }
    }

    /// What the checkpoint holds goes to another number of workers.
    pub(super) fn restart(&mut self, workers: usize) {
        self.freeze();
        self.workers = (0..workers).map(|worker| open(&self.kind, &self.calls, self.revised, worker)).collect();
        let mut gone = Gone::default();
        self.stored.values().flatten().for_each(|(_, states)| gone.note(0, &states.get().expect("a state")));
        for ((_, pane), batches) in std::mem::take(&mut self.stored) {
            for (index, worker) in self.workers.iter_mut().enumerate() {
                for (_, states) in &batches {
                    let rows = gone.without(0, states.get().expect("a state"));
                    let keys = rows.column(0).as_string::<i32>();
                    let own = keys.iter().map(|key| worker_of(key.map(number), workers) == index);
                    let own = BooleanArray::from_iter(own.map(Some));
                    let rows = arrow::compute::filter_record_batch(&rows, &own).expect("as long as the rows");
                    if rows.num_rows() == 0 {
                        continue;
                    }
                    let restored = match worker {
                        Open::Session(sessions) => sessions.restore(pane, &rows),
                        Open::Counting(windows) => windows.restore(pane, &rows),
                        Open::Sliding(windows) => windows.restore(pane, &rows),
                    };
                    restored.expect("the same layout");
                }
            }
        }
    }

    /// What was given, a line for each row of a window: bounds, keys, results.
    pub(super) fn lines(&self) -> Vec<(Made, Vec<ScalarValue>)> {
        let mut lines = Vec::new();
        for made in &self.given {
            for (row, window) in made.windows().iter().enumerate().filter(|(_, window)| window.whole) {
                lines.push((*window, values(made.rows(), row)));
            }
        }
        sort(&mut lines);
        lines
    }

    /// Whether anything is still held.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.iter().all(|worker| match worker {
            Open::Session(sessions) => sessions.is_empty(),
            Open::Counting(windows) => windows.is_empty(),
            Open::Sliding(windows) => windows.is_empty(),
        })
    }
}

/// Takes what is replaced out of what is shown, and puts in what is given: as a table would.
fn show(shown: &mut Shown, settled: &Settled) {
    for (row, window) in settled.replaced.iter().flat_map(|gone| gone.windows().iter().enumerate()) {
        let key = key_of(settled.replaced.as_ref().expect("it has rows").rows(), row);
        assert!(shown.remove(&(*window, key.clone())).is_some(), "{window:?} of {key} isn't shown");
    }
    for made in &settled.given {
        let mut fresh = Shown::new();
        for (row, window) in made.windows().iter().enumerate() {
            fresh.entry((*window, key_of(made.rows(), row))).or_default().push(values(made.rows(), row));
        }
        for (told, rows) in fresh {
            assert!(shown.insert(told.clone(), rows).is_none(), "{told:?} is shown already");
        }
    }
}

/// The first column: the key that has windows of its own.
fn key_of(rows: &RecordBatch, row: usize) -> String {
    ScalarValue::try_from_array(rows.column(0), row).expect("inside").to_string()
}

/// What should have been given.
pub(super) fn expected(kind: &Kind, calls: &[Call], rows: &[Row]) -> Vec<(Made, Vec<ScalarValue>)> {
    lines_of(kind, calls, kind.model(rows))
}

/// The lines of windows that hold these rows.
pub(super) fn lines_of(kind: &Kind, calls: &[Call], windows: Vec<Expected>) -> Vec<(Made, Vec<ScalarValue>)> {
    let (keys, aggregation) = (kind.keys(), aggregation(&kind.keys(), calls));
    let mut lines: Vec<(Made, Vec<ScalarValue>)> = Vec::new();
    for (made, rows) in windows {
        let mut pane = Pane::new(&aggregation).expect("known functions");
        update(&mut pane, &keys, calls, &rows).expect("rows of the schema");
        let closed = pane.close().expect("no overflow");
        lines.extend((0..closed.num_rows()).map(|row| (made, values(&closed, row))));
    }
    sort(&mut lines);
    lines
}

fn sort(lines: &mut [(Made, Vec<ScalarValue>)]) {
    lines.sort_by_cached_key(|(made, values)| (*made, format!("{values:?}")));
}

fn values(batch: &RecordBatch, row: usize) -> Vec<ScalarValue> {
    batch.columns().iter().map(|column| ScalarValue::try_from_array(column, row).expect("inside")).collect()
}

fn number(key: &str) -> u8 {
    key[1..].parse().expect("k and a number")
}

fn worker_of(key: Option<u8>, workers: usize) -> usize {
    key.map_or(0, |key| usize::from(key) % workers)
}

pub(super) fn open(kind: &Kind, calls: &[Call], revised: Option<Revised>, worker: usize) -> Open {
    let keys = Arc::new(schema().project(&kind.keys()).expect("columns of the schema"));
    let functions: Vec<_> = calls.iter().map(Call::expression).collect();
    match *kind {
        Kind::Session { gap, .. } => {
            let window = Session { gap: Micros(gap), partition_keys: 1 };
            Open::Session(Sessions::new(window, keys, functions, revised, worker).expect("states with a layout"))
        }
        Kind::Counting { size, timeout, complete_from, .. } => {
            let window = Counting { size, timeout: Micros(timeout), partition_keys: 1 };
            let from = complete_from.map_or(EventTime::MIN, EventTime);
            let aggregation = aggregation(&kind.keys(), calls);
            Open::Counting(CountWindows::new(window, &aggregation, &shipped_schema(&kind.keys()), from, worker))
        }
        Kind::Sliding { size } => {
            let window = Sliding { size: Micros(size) };
            Open::Sliding(SlidingWindows::new(window, keys, functions, revised, worker).expect("states with a layout"))
        }
    }
}

/// Rows that wait: time, partition, offset, keys, then all columns.
fn shipped_schema(keys: &[usize]) -> SchemaRef {
    let mut fields = vec![
        Field::new("t", DataType::Int64, false),
        Field::new("p", DataType::Int32, true),
        Field::new("o", DataType::Int64, true),
    ];
    fields.extend(keys.iter().map(|&key| schema().field(key).clone()));
    fields.extend(schema().fields().iter().map(|field| field.as_ref().clone()));
    Arc::new(Schema::new(fields))
}

pub(super) fn shipped(rows: &[Row], keys: &[usize]) -> RecordBatch {
    let all = batch(rows);
    let partitions = arrow::array::Int32Array::from_value(0, rows.len());
    let mut columns: Vec<ArrayRef> =
        vec![Arc::clone(all.column(TIME)), Arc::new(partitions), Arc::clone(all.column(POSITION))];
    columns.extend(keys.iter().map(|&key| Arc::clone(all.column(key))));
    columns.extend(all.columns().iter().cloned());
    RecordBatch::try_new(shipped_schema(keys), columns).expect("columns fit the schema")
}

pub(super) fn fed(rows: &RecordBatch, keys: &[usize], calls: &[Call]) -> Fed {
    let from = 3 + keys.len();
    let own: Vec<usize> = (from..rows.num_columns()).collect();
    let (arguments, filters) = inputs(calls, &rows.project(&own).expect("columns of its own"));
    Fed { keys: rows.columns()[3..from].to_vec(), arguments, filters }
}

type Inputs = (Vec<Vec<ArrayRef>>, Vec<Option<BooleanArray>>);

/// Arguments and filters out of rows of the tests' schema.
fn inputs(calls: &[Call], rows: &RecordBatch) -> Inputs {
    let filters = calls.iter().map(|call| call.filtered.then(|| rows.column(WANTED).as_boolean().clone()));
    (calls.iter().map(|call| call.columns(rows)).collect(), filters.collect())
}

pub(super) fn add(worker: &mut Open, kind: &Kind, calls: &[Call], rows: &[Row]) {
    let times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    let split = match worker {
        Open::Counting(windows) => return windows.add(shipped(rows, &kind.keys())),
        Open::Session(sessions) => sessions.split(&times),
        Open::Sliding(windows) => windows.split(&times),
    };
    let parts = match split {
        Split::One(start) => vec![(start, rows.to_vec())],
        Split::Several(parts) => parts
            .into_iter()
            .map(|(start, indices)| (start, indices.values().iter().map(|&row| rows[row as usize].clone()).collect()))
            .collect(),
    };
    for (start, rows) in parts {
        let all = batch(&rows);
        let keys: Vec<ArrayRef> = kind.keys().iter().map(|&key| Arc::clone(all.column(key))).collect();
        let (arguments, filters) = inputs(calls, &all);
        let times = all.column(TIME).as_primitive::<Int64Type>();
        let fed = Fed { keys, arguments, filters };
        match worker {
            Open::Session(sessions) => sessions.add(start, times, fed),
            Open::Sliding(windows) => windows.add(start, times, fed),
            Open::Counting(_) => unreachable!("it has no panes"),
        }
        .expect("rows of the schema");
    }
}

/// What happens between two settled times.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Freeze,
    Restart(usize),
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![3 => Just(Then::Nothing), 2 => Just(Then::Freeze), 2 => (1usize..4).prop_map(Then::Restart)]
}

fn kind() -> impl Strategy<Value = Kind> {
    let session = (1i64..15, any::<bool>()).prop_map(|(gap, split_by_flag)| Kind::Session { gap, split_by_flag });
    let from = prop::option::weighted(0.4, -30i64..40);
    let counting =
        (1u64..6, 1i64..25, any::<bool>(), from).prop_map(|(size, timeout, split_by_flag, complete_from)| {
            Kind::Counting { size, timeout, split_by_flag, complete_from }
        });
    prop_oneof![session, counting, (1i64..25).prop_map(|size| Kind::Sliding { size })]
}

/// Rows with times, and with a number that says when each comes.
fn timed(most: usize) -> impl Strategy<Value = Vec<(Row, usize)>> {
    (rows(most), prop::collection::vec((-30i64..60, any::<usize>()), most)).prop_map(|(rows, times)| {
        let timed = |(mut row, (time, when)): (Row, (i64, usize))| {
            row.time = time;
            (row, when)
        };
        rows.into_iter().zip(times).map(timed).collect()
    })
}

/// Rows come in any order, but none behind a settled time.
fn run(kind: &Kind, calls: &[Call], rows: &[(Row, usize)], steps: &[(i64, Then, usize)]) -> Workers {
    let mut workers = Workers::new(kind, calls, 2);
    let mut settled: Vec<i64> = steps.iter().map(|(time, _, _)| *time).collect();
    settled.sort_unstable();
    let mut of_step: Vec<Vec<Row>> = vec![Vec::new(); settled.len() + 1];
    for (row, when) in rows {
        let latest = settled.iter().position(|&time| row.time < time).unwrap_or(settled.len());
        of_step[when % (latest + 1)].push(row.clone());
    }
    for (index, rows) in of_step.iter().enumerate() {
        let (_, then, chunk) = steps.get(index).copied().unwrap_or((0, Then::Nothing, 7));
        rows.chunks(chunk).for_each(|rows| workers.add(rows));
        workers.settle(settled.get(index).copied().unwrap_or(i64::MAX));
        match then {
            Then::Nothing => {}
            Then::Freeze => workers.freeze(),
            Then::Restart(count) => workers.restart(count),
        }
    }
    workers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_that_the_data_makes_are_those_of_the_model(
        kind in kind(),
        rows in timed(60),
        steps in prop::collection::vec((-30i64..70, then(), 1usize..20), 0..8),
    ) {
        let calls = [
            Call::of("count", POSITION),
            Call::of("sum", INT).filtered(),
            Call::of("sum", DOUBLE),
            Call::of("count", TEXT).distinct(),
            Call::of("last_value", TEXT).ordered(TIME, false),
            Call::of("max", TIME),
        ];
        let plain: Vec<Row> = rows.iter().map(|(row, _)| row.clone()).collect();
        // With a start in mid-log, records before it may be there or not.
        let workers = run(&kind, &calls, &rows, &steps);
        prop_assert_eq!(workers.lines(), expected(&kind, &calls, &plain));
        prop_assert!(workers.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_aggregate_survives_merging(kind in kind(), rows in timed(40), steps in
        prop::collection::vec((-30i64..70, then(), 1usize..20), 0..5)) {
        let calls = calls();
        let plain: Vec<Row> = rows.iter().map(|(row, _)| row.clone()).collect();
        let workers = run(&kind, &calls, &rows, &steps);
        prop_assert_eq!(workers.lines(), expected(&kind, &calls, &plain));
    }

    /// What a run that begins in mid-log gives is given by one that reads everything, whatever it has read before that.
    #[test]
    fn windows_behind_a_start_in_mid_log_are_whole(
        (size, timeout) in (1u64..5, 1i64..12),
        from in -20i64..40,
        rows in timed(60),
    ) {
        let calls = [Call::of("count", POSITION), Call::of("sum", INT)];
        let whole = Kind::Counting { size, timeout, split_by_flag: false, complete_from: None };
        let begun = Kind::Counting { size, timeout, split_by_flag: false, complete_from: Some(from) };
        let all: Vec<Row> = rows.iter().map(|(row, _)| row.clone()).collect();
        let complete = expected(&whole, &calls, &all);
        for keep in [0, 1, 2] {
            // Of the records before the start, some are read.
            let read: Vec<(Row, usize)> =
                rows.iter().filter(|(row, when)| row.time >= from || when % 2 < keep).cloned().collect();
            let workers = run(&begun, &calls, &read, &[(10, Then::Restart(3), 5), (20, Then::Freeze, 5)]);
            for line in workers.lines() {
                prop_assert!(complete.contains(&line), "{line:?} isn't whole");
            }
        }
    }
}
