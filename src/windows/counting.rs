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

mod course;
mod layout;
mod order;
mod portion;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use self::course::Course;
use self::layout::{BOOKKEEPING, FIRST, bookkeeping, open_schema, state_schema};
use self::order::in_canonical_order;
use self::portion::{Input, Portion, groups};
use super::aside::{Aside, with_column};
use super::fed::Fed;
use super::held::{FrozenPart, padded};
use super::identities::Identities;
use super::made::MadeWindows;
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
    /// Keys, states, then first, last, count, whole, number; a count of zero is a key that has no window, but isn't known to be
    /// whole.
    open: Aside,
    waiting_changed: bool,
    /// How often what waits was frozen.
    freezes: u64,
}

impl CountWindows {
    /// No windows yet, on this worker. `shipped` are the columns of the rows that will be added.
    pub fn new(
        window: Counting,
        aggregation: &Arc<Aggregation>,
        shipped: &SchemaRef,
        complete_from: EventTime,
        worker: usize,
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
            open: Aside::new(OPEN, worker),
            waiting_changed: false,
            freezes: 0,
        }
    }

    /// Adds rows, laid out as the columns that travel.
    pub fn add(&mut self, rows: RecordBatch) {
        if rows.num_rows() == 0 {
            return;
        }
        self.waiting_rows += rows.num_rows();
        self.waiting_changed = true;
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
        let open = self.open.rows().into_iter().flat_map(|open| bookkeeping(open, FIRST).values().iter().copied());
        let waiting = self.waiting.iter().flat_map(|rows| times(rows).values().iter().copied());
        open.chain(waiting).map(EventTime).chain([settled]).min().expect("there is one")
    }

    /// Open windows, and the set of rows that wait.
    pub fn len(&self) -> usize {
        self.open.rows().map_or(0, RecordBatch::num_rows) + usize::from(self.waiting_rows > 0)
    }

    /// Whether nothing is open and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.open.bytes() + self.waiting.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }

    /// Layout of what [`CountWindows::freeze`] gives: keys, partial states, then `_first`, `_last`, `_count`, `_whole` and
    /// `_number`; and, null there, the columns of rows that wait. Those have null in the others.
    pub fn state_schema(&self) -> SchemaRef {
        Arc::clone(&self.state)
    }

    /// What changed since the last call: of [`OPEN`] what has come and what is gone, of [`WAITING`] all rows.
    pub fn freeze(&mut self) -> Vec<FrozenPart> {
        let in_state = |part: FrozenPart| {
            let layout = Arc::clone(&self.state);
            let states = part.states.map(|states| states.map(move |states| padded(&layout, states)));
            FrozenPart { states, ..part }
        };
        let mut frozen: Vec<FrozenPart> = self.open.freeze().into_iter().map(in_state).collect();
        if std::mem::take(&mut self.waiting_changed) {
            let rows = concat_batches(&self.shipped, &self.waiting).expect("they have one layout");
            frozen.push(FrozenPart::whole(WAITING, Some(self.waiting_in_state(&rows)), self.freezes));
            self.waiting = vec![rows];
            self.freezes += 1;
        }
        frozen
    }

    /// Takes rows that [`CountWindows::freeze`] gave. Fails with [`PaneError::Layout`] if they are of another layout.
    pub fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        let rows = &with_column(&self.state, rows);
        PaneError::unless_laid_out_as(&self.state, rows)?;
        let keys = self.aggregation.keys.fields().len();
        let of_open = self.aggregation.state_schema().fields().len() + BOOKKEEPING;
        if pane == OPEN {
            let open = RecordBatch::try_new(open_schema(&self.aggregation), rows.columns()[..of_open].to_vec());
            self.open.restore(&open.expect("the layout was checked"));
            return Ok(());
        }
        let (positions, others) = rows.columns()[of_open..].split_at(POSITION_COLUMNS);
        let columns = [positions, &rows.columns()[..keys], others].concat();
        let waiting = RecordBatch::try_new(Arc::clone(&self.shipped), columns).expect("the layout was checked");
        self.add(waiting);
        Ok(())
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
        RecordBatch::try_new(Arc::clone(&self.state), columns).expect("the layout is made of both")
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
        // Freezing leaves a batch, also where nothing waits.
        self.waiting.retain(|rows| rows.num_rows() > 0);
        self.waiting_rows = self.waiting.iter().map(RecordBatch::num_rows).sum();
        self.left = self.waiting_rows;
        self.waiting_changed |= !ready.is_empty();
        in_canonical_order(&concat_batches(&self.shipped, &ready)?)
    }

    /// Whether an open window's time is over. A key is known to be whole again when the time of its last window is, or later.
    fn may_time_out(&self, settled: EventTime) -> bool {
        let Some(open) = self.open.rows() else { return false };
        bookkeeping(open, FIRST).values().iter().any(|&first| self.window.deadline(first) <= settled.0)
    }

    /// The windows that were open.
    fn carried(&self) -> RecordBatch {
        self.open.rows().cloned().unwrap_or_else(|| RecordBatch::new_empty(open_schema(&self.aggregation)))
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
        let mut course = Course::new(self.window, self.complete_from, keys.len());
        let mut window_of = course.take_up(&carried, &key_of_open);
        window_of.extend(course.fill(times(ready).values(), &key_of_row));
        course.time_out(settled);
        let all_keys = together(carried_keys, &fed.keys).map_err(failed)?;
        let groups = groups(&self.aggregation, self.window.partition_keys, &window_of, &all_keys)?;
        let input = Input { carried: &carried, fed, groups: &groups, window_of: &window_of, keys: &all_keys };
        let given = Portion::of(&self.aggregation, &input, |window| course.windows[window].reason.is_some())?;
        let kept = Portion::of(&self.aggregation, &input, |window| course.is_kept(window, settled))?;
        self.open.set(kept.keep(&self.aggregation, &course.windows)?);
        given.give(&self.aggregation, self.window, &course.windows)
    }
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
