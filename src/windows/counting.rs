//! Count windows: `n` records of a key in canonical order, or fewer when the time is over.
//!
//! ```text
//! n = 3, TIMEOUT 10     t:  1  2  5   6            16 17        a window begins with a record that no open one takes
//!                           [------)                            full:    [1, 6), the third record's time + 1 µs
//!                                     [------------)            timeout: [6, 16): 16 comes too late for it
//!                                                  [---------)
//! ```
//!
//! Rows wait until no earlier one can come, and are then taken in the order (time, partition, offset). A record with
//! `t >= first + timeout` never joins, so it doesn't matter how far the settled time moved at once. **Full goes before
//! timeout**: a record at `first + timeout - 1 µs` that is the n-th makes the window `full`, and its end is
//! `first + timeout` either way.
//!
//! Invariants: a row is taken once, in that order, whenever the caller settles; what is open is a function of the rows
//! taken. Where a window of a key begins depends on all earlier windows of that key, so behind a start in mid-log a key's
//! windows are *whole* only once it was silent for the timeout: then any window that it had was over. Others say so.

mod layout;
mod order;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_expr::EmitTo;

use self::layout::{BOOKKEEPING, COUNT, FIRST, LAST, WHOLE, describe, open_schema, same_layout, state_schema};
use self::order::in_canonical_order;
use super::identities::Identities;
use super::made::{Made, MadeWindows, Reason};
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};
use crate::event::{EventTime, Micros};

/// Pane number, in checkpoints, of the open windows.
pub const OPEN: i64 = i64::MIN;
/// Pane number, in checkpoints, of the rows that wait.
pub const WAITING: i64 = i64::MIN + 1;

/// Columns of waiting rows that the windows go by: time in microseconds, partition, offset. The others follow.
pub const POSITION_COLUMNS: usize = 3;

/// Rows that wait before it is worth taking those that can be taken without a checkpoint asking for it.
const WAITING_ROWS_MIN: usize = 65_536;

/// `COUNT_WINDOW`: n records, or a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Records of a full window; at least 1.
    pub size: u64,
    /// How long after its first record a window takes more; positive.
    pub timeout: Micros,
    /// How many of the group keys, from the first, have windows of their own; the others split the rows of one.
    pub partition_keys: usize,
}

impl Counting {
    fn deadline(&self, first: i64) -> i64 {
        first.saturating_add(self.timeout.0)
    }
}

/// Rows as a set of groups takes them.
pub struct Fed {
    /// Key columns.
    pub keys: Vec<ArrayRef>,
    /// For each aggregate its arguments.
    pub arguments: Vec<Vec<ArrayRef>>,
    /// For each aggregate its FILTER.
    pub filters: Vec<Option<BooleanArray>>,
}

/// The open count windows of one INSERT, and the rows that wait to be taken.
#[derive(Debug)]
pub struct CountWindows {
    window: Counting,
    aggregation: Arc<Aggregation>,
    partition: SchemaRef,
    /// Records at or after this time were all read.
    complete_from: EventTime,
    /// Layout of waiting rows: [`POSITION_COLUMNS`], keys, then the other columns that travel.
    shipped: SchemaRef,
    /// Layout of state, see [`CountWindows::state_schema`].
    state: SchemaRef,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    /// Rows that waited when rows were last taken.
    left: usize,
    /// Keys, states, then first, last, count, whole; a count of zero is a key that has no window, but isn't known to be
    /// whole.
    open: Option<RecordBatch>,
    waiting_changed: bool,
    open_changed: bool,
}

/// A window on its way.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: i64,
    last: i64,
    count: u64,
    whole: bool,
    reason: Option<Reason>,
    /// Whether the key has had another since.
    is_past: bool,
}

impl CountWindows {
    /// No windows yet. `shipped` are the columns of the rows that will be added.
    pub fn new(
        window: Counting,
        aggregation: &Arc<Aggregation>,
        shipped: &SchemaRef,
        complete_from: EventTime,
    ) -> CountWindows {
        let partition: Vec<usize> = (0..window.partition_keys).collect();
        let partition = aggregation.keys.project(&partition).expect("keys that have windows are group keys");
        CountWindows {
            window,
            aggregation: Arc::clone(aggregation),
            partition: Arc::new(partition),
            complete_from,
            shipped: Arc::clone(shipped),
            state: state_schema(aggregation, shipped),
            waiting: Vec::new(),
            waiting_rows: 0,
            left: 0,
            open: None,
            waiting_changed: false,
            open_changed: false,
        }
    }

    /// Adds rows, laid out as the columns that travel.
    pub fn add(&mut self, rows: RecordBatch) {
        self.waiting_rows += rows.num_rows();
        self.waiting_changed |= rows.num_rows() > 0;
        self.waiting.push(rows);
    }

    /// Whether so many rows wait that taking what can be taken pays without a checkpoint.
    pub fn should_settle(&self) -> bool {
        self.waiting_rows >= WAITING_ROWS_MIN.max(2 * self.left)
    }

    /// Takes all rows before `settled`, as none of them can come any more, and gives the windows that closed. `read` says
    /// what the aggregates take of rows.
    pub fn settle<E: From<PaneError>>(
        &mut self,
        settled: EventTime,
        read: impl FnOnce(&RecordBatch) -> Result<Fed, E>,
    ) -> Result<Option<MadeWindows>, E> {
        let ready = self.take_ready(settled).map_err(|source| E::from(failed(source)))?;
        if ready.num_rows() == 0 && !self.may_time_out(settled) {
            return Ok(None);
        }
        let fed = read(&ready)?;
        Ok(self.advance(settled, &ready, &fed)?)
    }

    /// Where the earliest open window begins, or could begin on a row that comes.
    pub fn opens_from(&self, settled: EventTime) -> EventTime {
        let open = self.open.iter().flat_map(|open| self.bookkeeping(open, FIRST).values().iter().copied());
        let waiting = self.waiting.iter().flat_map(|rows| times(rows).values().iter().copied());
        open.chain(waiting).map(EventTime).chain([settled]).min().expect("there is one")
    }

    /// Open windows, and the set of rows that wait.
    pub fn len(&self) -> usize {
        self.open.as_ref().map_or(0, RecordBatch::num_rows) + usize::from(self.waiting_rows > 0)
    }

    /// Whether nothing is open and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.open.iter().chain(&self.waiting).map(RecordBatch::get_array_memory_size).sum()
    }

    /// Layout of what [`CountWindows::freeze`] gives: keys, partial states, then `_first`, `_last`, `_count` and `_whole`;
    /// and, null there, the columns of rows that wait. Those have null in the others.
    pub fn state_schema(&self) -> SchemaRef {
        Arc::clone(&self.state)
    }

    /// What changed since the last call: [`OPEN`] or [`WAITING`], and all rows of it; none: forget it.
    pub fn freeze(&mut self) -> Vec<(i64, RecordBatch)> {
        let mut frozen = Vec::new();
        if std::mem::take(&mut self.open_changed) {
            let columns = self.open.as_ref().map(|open| (open.columns().to_vec(), open.num_rows()));
            frozen.push((OPEN, self.in_state(columns, 0)));
        }
        if std::mem::take(&mut self.waiting_changed) {
            let rows = concat_batches(&self.shipped, &self.waiting).expect("they have one layout");
            frozen.push((WAITING, self.waiting_in_state(&rows)));
            self.waiting = vec![rows];
        }
        frozen
    }

    /// Takes rows that [`CountWindows::freeze`] gave. Fails with [`PaneError::Layout`] if they are of another layout.
    pub fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        let found = rows.schema();
        if !same_layout(&self.state, &found) {
            return Err(PaneError::Layout { expected: describe(&self.state), found: describe(&found) });
        }
        let keys = self.aggregation.keys.fields().len();
        let of_open = self.aggregation.state_schema().fields().len() + BOOKKEEPING;
        if pane == OPEN {
            let open = RecordBatch::try_new(open_schema(&self.aggregation), rows.columns()[..of_open].to_vec());
            let open = open.expect("the layout was checked");
            let parts: Vec<RecordBatch> = self.open.take().into_iter().chain([open]).collect();
            self.open = Some(concat_batches(&open_schema(&self.aggregation), &parts).expect("they have one layout"));
            self.open_changed = true;
            return Ok(());
        }
        let (positions, others) = rows.columns()[of_open..].split_at(POSITION_COLUMNS);
        let columns = [positions, &rows.columns()[..keys], others].concat();
        let waiting = RecordBatch::try_new(Arc::clone(&self.shipped), columns).expect("the layout was checked");
        self.add(waiting);
        Ok(())
    }

    fn in_state(&self, columns: Option<(Vec<ArrayRef>, usize)>, from: usize) -> RecordBatch {
        let (mut columns, rows) = columns.unwrap_or_default();
        if rows == 0 {
            return RecordBatch::new_empty(Arc::clone(&self.state));
        }
        for field in &self.state.fields()[from + columns.len()..] {
            columns.push(new_null_array(field.data_type(), rows));
        }
        RecordBatch::try_new(Arc::clone(&self.state), columns).expect("the layout is made of both")
    }

    fn waiting_in_state(&self, rows: &RecordBatch) -> RecordBatch {
        let keys = self.aggregation.keys.fields().len();
        let (positions, rest) = rows.columns().split_at(POSITION_COLUMNS);
        let (own_keys, others) = rest.split_at(keys);
        let mut columns = own_keys.to_vec();
        let of_open = self.aggregation.state_schema().fields().len() + BOOKKEEPING;
        for field in &self.state.fields()[keys..of_open] {
            columns.push(new_null_array(field.data_type(), rows.num_rows()));
        }
        columns.extend(positions.iter().chain(others).cloned());
        self.in_state(Some((columns, rows.num_rows())), 0)
    }

    /// The rows before `settled`, in canonical order; the others wait on.
    fn take_ready(&mut self, settled: EventTime) -> Result<RecordBatch, ArrowError> {
        let mut ready = Vec::new();
        for rows in std::mem::take(&mut self.waiting) {
            let times = times(&rows).values();
            let is_ready = BooleanBuffer::collect_bool(times.len(), |row| times[row] < settled.0);
            match is_ready.count_set_bits() {
                0 => self.waiting.push(rows),
                all if all == rows.num_rows() => ready.push(rows),
                _ => {
                    self.waiting.push(filter_record_batch(&rows, &BooleanArray::new(!&is_ready, None))?);
                    ready.push(filter_record_batch(&rows, &BooleanArray::new(is_ready, None))?);
                }
            }
        }
        self.waiting.retain(|rows| rows.num_rows() > 0);
        self.waiting_rows = self.waiting.iter().map(RecordBatch::num_rows).sum();
        self.left = self.waiting_rows;
        self.waiting_changed |= !ready.is_empty();
        in_canonical_order(&concat_batches(&self.shipped, &ready)?)
    }

    /// Whether an open window's time is over, or a key is known to be whole again.
    fn may_time_out(&self, settled: EventTime) -> bool {
        let Some(open) = &self.open else { return false };
        let times = |column| self.bookkeeping(open, column).values();
        let is_due = |time: &i64| self.window.deadline(*time) <= settled.0;
        times(FIRST).iter().any(is_due) || times(LAST).iter().any(is_due)
    }

    fn bookkeeping<'b>(&self, open: &'b RecordBatch, column: usize) -> &'b Int64Array {
        open.column(self.aggregation.state_schema().fields().len() + column).as_primitive::<Int64Type>()
    }

    /// The windows that were open.
    fn carried(&self) -> RecordBatch {
        self.open.clone().unwrap_or_else(|| RecordBatch::new_empty(open_schema(&self.aggregation)))
    }

    fn advance(
        &mut self,
        settled: EventTime,
        ready: &RecordBatch,
        fed: &Fed,
    ) -> Result<Option<MadeWindows>, PaneError> {
        let carried = self.carried();
        let count = self.aggregation.keys.fields().len();
        let carried_keys = &carried.columns()[..count];
        let mut keys = Identities::new(&self.partition)?;
        let (mut key_of_open, mut key_of_row) = (Vec::new(), Vec::new());
        keys.resolve(&carried_keys[..self.window.partition_keys], carried.num_rows(), &mut key_of_open)?;
        keys.resolve(&fed.keys[..self.window.partition_keys], ready.num_rows(), &mut key_of_row)?;
        let (mut windows, window_of_open, mut current) = self.take_up(&carried, &key_of_open, keys.len());
        let window_of_row = self.fill(times(ready).values(), &key_of_row, &mut windows, &mut current);
        self.time_out(&mut windows, settled);
        let window_of: Vec<usize> = window_of_open.iter().chain(&window_of_row).copied().collect();
        let all_keys = together(carried_keys, &fed.keys).map_err(failed)?;
        let groups = self.group(&window_of, &all_keys)?;
        let input = Input { carried: &carried, fed, groups: &groups, window_of: &window_of, keys: &all_keys };
        let given = self.portion(&input, |window| windows[window].reason.is_some())?;
        let kept = self.portion(&input, |window| self.is_kept(&windows[window], settled))?;
        self.keep(kept, &windows)?;
        self.give(given, &windows)
    }

    /// The windows that were open, the window of each of their rows, and the window of each key.
    fn take_up(
        &self,
        carried: &RecordBatch,
        key_of_open: &[usize],
        keys: usize,
    ) -> (Vec<Window>, Vec<usize>, Vec<Option<usize>>) {
        let mut current: Vec<Option<usize>> = vec![None; keys];
        let mut windows: Vec<Window> = Vec::new();
        let mut window_of_open = Vec::with_capacity(key_of_open.len());
        for (row, &key) in key_of_open.iter().enumerate() {
            let at = |column| self.bookkeeping(carried, column).value(row);
            let window = *current[key].get_or_insert_with(|| {
                windows.push(Window {
                    first: at(FIRST),
                    last: at(LAST),
                    count: at(COUNT).unsigned_abs(),
                    whole: at(WHOLE) != 0,
                    reason: None,
                    is_past: false,
                });
                windows.len() - 1
            });
            window_of_open.push(window);
        }
        (windows, window_of_open, current)
    }

    /// Puts rows into windows, in their order: the window of each.
    fn fill(
        &self,
        times: &[i64],
        key_of_row: &[usize],
        windows: &mut Vec<Window>,
        current: &mut [Option<usize>],
    ) -> Vec<usize> {
        let mut window_of_row = Vec::with_capacity(times.len());
        for (&time, &key) in times.iter().zip(key_of_row) {
            let joins = current[key].filter(|&index| {
                let window: &Window = &windows[index];
                window.count > 0 && window.reason.is_none() && time < self.window.deadline(window.first)
            });
            let index = joins.unwrap_or_else(|| {
                let mut whole =
                    self.complete_from == EventTime::MIN || time >= self.window.deadline(self.complete_from.0);
                if let Some(before) = current[key] {
                    let before = &mut windows[before];
                    whole = before.whole || (whole && time >= self.window.deadline(before.last));
                    if before.count > 0 && before.reason.is_none() {
                        before.reason = Some(Reason::Timeout);
                    }
                    before.is_past = true;
                }
                windows.push(Window { first: time, last: time, count: 0, whole, reason: None, is_past: false });
                current[key] = Some(windows.len() - 1);
                windows.len() - 1
            });
            let window = &mut windows[index];
            window.count += 1;
            window.last = time;
            if window.count == self.window.size {
                window.reason = Some(Reason::Full);
            }
            window_of_row.push(index);
        }
        window_of_row
    }

    fn time_out(&self, windows: &mut [Window], settled: EventTime) {
        for window in windows {
            let is_open = window.count > 0 && window.reason.is_none();
            if is_open && self.window.deadline(window.first) <= settled.0 {
                window.reason = Some(Reason::Timeout);
            }
        }
    }

    fn is_kept(&self, window: &Window, settled: EventTime) -> bool {
        let is_open = window.count > 0 && window.reason.is_none();
        // The next window of such a key is whole if it begins late enough, and that must be known then.
        let is_remembered = !window.whole && !window.is_past && self.window.deadline(window.last) > settled.0;
        is_open || is_remembered
    }

    /// The group of each row: one a window, or several where further keys split it.
    fn group(&self, window_of: &[usize], keys: &[ArrayRef]) -> Result<Vec<usize>, PaneError> {
        let others = &keys[self.window.partition_keys..];
        if others.is_empty() {
            return Ok(window_of.to_vec());
        }
        let mut fields = vec![Field::new("window", DataType::Int64, false)];
        let of_others = &self.aggregation.keys.fields()[self.window.partition_keys..];
        fields.extend(of_others.iter().map(|field| field.as_ref().clone()));
        let mut groups = Identities::new(&Arc::new(Schema::new(fields)))?;
        let windows = window_of.iter().map(|&window| i64::try_from(window).expect("fewer than 2^63 windows"));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(windows))];
        columns.extend(others.iter().cloned());
        let mut numbers = Vec::new();
        groups.resolve(&columns, window_of.len(), &mut numbers)?;
        Ok(numbers)
    }

    /// The groups of the windows that are wanted. Accumulators must meet each group first in the call that brings its number,
    /// so these are numbered by their first rows, those of open windows before those that come.
    fn portion(&self, input: &Input<'_>, wanted: impl Fn(usize) -> bool) -> Result<Portion, PaneError> {
        let count = input.groups.iter().max().map_or(0, |most| most + 1);
        let mut number_of: Vec<Option<usize>> = vec![None; count];
        let (mut windows, mut heads) = (Vec::new(), Vec::new());
        let mut number = |rows: std::ops::Range<usize>| {
            let (mut chosen, mut numbers) = (Vec::new(), Vec::new());
            for row in rows.clone().filter(|&row| wanted(input.window_of[row])) {
                numbers.push(*number_of[input.groups[row]].get_or_insert_with(|| {
                    windows.push(input.window_of[row]);
                    heads.push(place(row));
                    windows.len() - 1
                }));
                chosen.push(place(row - rows.start));
            }
            (UInt32Array::from(chosen), numbers, windows.len())
        };
        let open = input.carried.num_rows();
        let (open_rows, open_numbers, open_groups) = number(0..open);
        let (new_rows, new_numbers, groups) = number(open..input.groups.len());
        let mut accumulators = Numbered::new(&self.aggregation)?;
        let keys = self.aggregation.keys.fields().len();
        let states = &input.carried.columns()[keys..input.carried.num_columns() - BOOKKEEPING];
        accumulators.merge(&open_numbers, open_groups, &taken(states, &open_rows))?;
        if !new_numbers.is_empty() {
            let arguments: Vec<Vec<ArrayRef>> =
                input.fed.arguments.iter().map(|of_one| taken(of_one, &new_rows)).collect();
            let filter = |filter: &BooleanArray| {
                take(filter, &new_rows, None).expect("row numbers are in range").as_boolean().clone()
            };
            let filters: Vec<Option<BooleanArray>> =
                input.fed.filters.iter().map(|of_one| of_one.as_ref().map(filter)).collect();
            accumulators.update(&new_numbers, groups, &arguments, &filters)?;
        }
        Ok(Portion { accumulators, keys: taken(input.keys, &UInt32Array::from(heads)), windows })
    }

    fn give(&self, portion: Portion, windows: &[Window]) -> Result<Option<MadeWindows>, PaneError> {
        let Portion { mut accumulators, keys, windows: of_groups } = portion;
        if of_groups.is_empty() {
            return Ok(None);
        }
        let results = accumulators.take_results(EmitTo::All, &keys)?;
        let made = of_groups.iter().map(|&window| {
            let window = &windows[window];
            let reason = window.reason.expect("only closed windows are given");
            let end = match reason {
                Reason::Full => window.last + 1,
                Reason::Timeout => self.window.deadline(window.first),
            };
            Made { start: window.first, end, reason: Some(reason), whole: window.whole }
        });
        let columns = keys.into_iter().chain(results).collect();
        Ok(Some(MadeWindows::new(made.collect(), &self.aggregation.closed_schema(), columns)))
    }

    fn keep(&mut self, portion: Portion, windows: &[Window]) -> Result<(), PaneError> {
        let Portion { mut accumulators, keys: mut columns, windows: of_groups } = portion;
        self.open_changed = true;
        if of_groups.is_empty() {
            self.open = None;
            return Ok(());
        }
        columns.extend(accumulators.take_states(EmitTo::All)?);
        let mut bookkeeping: [Int64Builder; BOOKKEEPING] = std::array::from_fn(|_| Int64Builder::new());
        for &window in &of_groups {
            let window = &windows[window];
            let count = if window.reason.is_some() { 0 } else { window.count };
            bookkeeping[FIRST].append_value(window.first);
            bookkeeping[LAST].append_value(window.last);
            bookkeeping[COUNT].append_value(i64::try_from(count).expect("it is below n"));
            bookkeeping[WHOLE].append_value(i64::from(window.whole));
        }
        columns.extend(bookkeeping.map(|mut column| -> ArrayRef { Arc::new(column.finish()) }));
        let open = RecordBatch::try_new(open_schema(&self.aggregation), columns);
        self.open = Some(open.expect("accumulators emit what their state fields say"));
        Ok(())
    }
}

/// What was open and what comes, row by row, the former first.
struct Input<'a> {
    carried: &'a RecordBatch,
    fed: &'a Fed,
    groups: &'a [usize],
    window_of: &'a [usize],
    keys: &'a [ArrayRef],
}

/// Some groups: their accumulators, keys and windows.
struct Portion {
    accumulators: Numbered,
    keys: Vec<ArrayRef>,
    windows: Vec<usize>,
}

fn place(row: usize) -> u32 {
    u32::try_from(row).expect("fewer than 2^32 rows at a time")
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Vec<ArrayRef> {
    columns.iter().map(|column| take(column, rows, None).expect("row numbers are in range")).collect()
}

fn times(rows: &RecordBatch) -> &Int64Array {
    rows.column(0).as_primitive::<Int64Type>()
}

fn together(one: &[ArrayRef], other: &[ArrayRef]) -> Result<Vec<ArrayRef>, ArrowError> {
    one.iter().zip(other).map(|(one, other)| concat(&[one.as_ref(), other.as_ref()])).collect()
}

fn failed(source: ArrowError) -> PaneError {
    PaneError::Keys(DataFusionError::from(source))
}
