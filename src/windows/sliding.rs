//! Sliding windows: for each key and each time at which it has records, the records of that key within `size` ending there.
//!
//! ```text
//! size 10      t:   1    5    12            windows (1 - 10, 1], (5 - 10, 5] and (12 - 10, 12]:
//!                   a    a    a             one of 1, one of 1 and 5, one of 5 and 12
//! ```
//!
//! What is kept is partial states by (key, time). Windows of one key are runs of them, in the order of time; a run is put
//! together from blocks of 1, 2, 4, … neighbours, so a window costs the logarithm of its length, whatever the aggregate.
//!
//! Where late records may change windows that are over, these are given early: the state of a window's own time says when,
//! and whether records have come since that it holds. A late record of time t makes a window, and changes those of its key
//! with times up to t + size.
//!
//! Invariant: a window is given when its own time lies before the end of what is over, once, or again when it has changed;
//! states are kept until no window that is still to come, or may still change, holds them.

mod course;
mod runs;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{nullif, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use self::course::{Course, Place};
use super::aside::{filtered, numbers};
use super::fed::Fed;
use super::held::{ASIDE, FrozenPart, Held};
use super::identities::Identities;
use super::made::{Made, MadeWindows, Making, Reached, Revised, Settled};
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};
use super::split::{Split, split};
use super::{Adjacent, Tumbling};
use crate::event::{EventTime, Micros};

/// Columns of a state: the watermark at which the window that ends with it was given, and 1 if it has changed since.
const GIVEN: &str = "_given";
const CHANGED: &str = "_changed";

/// `SLIDING`: a window for each record, ending with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Length of a window; positive.
    pub size: Micros,
}

impl Sliding {
    fn window(&self, time: i64) -> Made {
        Made { start: time.saturating_sub(self.size.0 - 1), end: time.saturating_add(1), reason: None, whole: true }
    }
}

/// The sliding windows of one INSERT.
#[derive(Debug)]
pub struct SlidingWindows {
    window: Sliding,
    /// Keys, then the time, are the keys of states.
    aggregation: Arc<Aggregation>,
    keys: SchemaRef,
    closed: SchemaRef,
    /// `None`: windows are given when no record can change them any more.
    revised: Option<Revised>,
    /// States of times that aren't over, in panes as long as a window; and states before, one for each key and time, that
    /// other windows may need.
    held: Held,
    /// Before it nothing becomes of the windows that were given unless records come.
    look_again: EventTime,
}

impl SlidingWindows {
    /// No windows yet, on this worker. They are given early, and again while they are `revised`. Fails if a function can't say
    /// what its state looks like.
    pub fn new(
        window: Sliding,
        keys: SchemaRef,
        functions: Vec<Arc<AggregateFunctionExpr>>,
        revised: Option<Revised>,
        worker: usize,
    ) -> Result<SlidingWindows, PaneError> {
        let mut fields: Vec<Field> = keys.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new("_t", DataType::Int64, false));
        let aggregation = Arc::new(Aggregation::new(Arc::new(Schema::new(fields)), functions)?);
        let closed = aggregation.closed_schema();
        let without_time: Vec<usize> =
            (0..closed.fields().len()).filter(|&column| column != keys.fields().len()).collect();
        let closed = Arc::new(closed.project(&without_time).expect("columns of its own"));
        let held = Held::new(&aggregation, revised.as_ref().map_or(&[], |_| &[GIVEN, CHANGED]), worker);
        Ok(SlidingWindows { window, aggregation, keys, closed, revised, held, look_again: EventTime::MIN })
    }

    fn times<'b>(&self, states: &'b RecordBatch) -> &'b Int64Array {
        states.column(self.keys.fields().len()).as_primitive::<Int64Type>()
    }

    /// States of times before `over` out of the panes.
    fn take_fresh(&mut self, over: EventTime) -> Result<Option<RecordBatch>, PaneError> {
        let mut fresh = Vec::new();
        let mut later = Vec::new();
        while let Some((start, states)) = self.held.take_first(over.minus(Micros(1)))? {
            let times = self.times(&states).values();
            let is_fresh = BooleanBuffer::collect_bool(times.len(), |row| times[row] < over.0);
            match is_fresh.count_set_bits() {
                0 => later.push((start, states)),
                all if all == states.num_rows() => fresh.push(states),
                _ => {
                    later.push((start, filtered(&states, !&is_fresh)));
                    fresh.push(filtered(&states, is_fresh));
                }
            }
        }
        for (start, states) in later {
            self.held.merge(start, &states)?;
        }
        Ok((!fresh.is_empty()).then(|| self.held.together(&fresh)))
    }

    /// The states in the order of key and time, one for each, and their places. The first `known` of them were there before.
    fn in_order(&self, states: &RecordBatch, known: usize) -> Result<(RecordBatch, Vec<Place>), PaneError> {
        let mut identities = Identities::new(&self.keys)?;
        let mut keys = Vec::new();
        identities.resolve(&states.columns()[..self.keys.fields().len()], states.num_rows(), &mut keys)?;
        let times = self.times(states).values();
        let mut order: Vec<(usize, i64, u32)> =
            (0_u32..).zip(keys.iter().zip(times)).map(|(row, (&key, &time))| (key, time, row)).collect();
        order.sort_unstable();
        let own = |column: usize| states.column(self.held.state_columns() + column).as_primitive::<Int64Type>();
        let own = self.revised.map(|_| [own(0), own(1)]);
        let mut places: Vec<Place> = Vec::with_capacity(order.len());
        // The place of each row, in order: a late record may have come for a time that has a state.
        let mut numbers = Vec::with_capacity(order.len());
        for &(key, time, row) in &order {
            let (at, is_fresh) = (row as usize, row as usize >= known);
            let mut place = match own {
                // What isn't revised was given when it came.
                None => Place { given: (!is_fresh).then_some(i64::MIN), ..Place::fresh(key, time) },
                Some([given, _]) if given.is_null(at) => Place::fresh(key, time),
                Some([given, changed]) => Place {
                    given: Some(given.value(at)),
                    changed: changed.is_valid(at) && changed.value(at) != 0,
                    ..Place::fresh(key, time)
                },
            };
            place.is_fresh = is_fresh;
            match places.last_mut() {
                Some(before) if (before.key, before.time) == (key, time) => before.join(&place),
                _ => places.push(place),
            }
            numbers.push(places.len() - 1);
        }
        let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, _, row)| row));
        let states = take_record_batch(states, &order).expect("row numbers are in range");
        if places.len() == states.num_rows() {
            return Ok((states, places));
        }
        Ok((self.merged(&states, &numbers, places.len())?, places))
    }

    /// States of one key and time, which stand together, put together. Their own columns are left to the places.
    fn merged(&self, states: &RecordBatch, numbers: &[usize], count: usize) -> Result<RecordBatch, PaneError> {
        let keys = self.aggregation.keys.fields().len();
        let mut together = Numbered::new(&self.aggregation)?;
        together.merge(numbers, count, &states.columns()[keys..self.held.state_columns()])?;
        let is_first = |row: usize| row == 0 || numbers[row - 1] != numbers[row];
        let heads = filtered(states, BooleanBuffer::collect_bool(numbers.len(), is_first));
        let mut columns = heads.columns()[..keys].to_vec();
        columns.extend(together.take_states(EmitTo::All)?);
        columns.extend_from_slice(&heads.columns()[self.held.state_columns()..]);
        // What was put together is another state.
        let numbers_before = columns.pop().expect("the number comes last");
        let mut states_of = vec![0_usize; count];
        numbers.iter().for_each(|&number| states_of[number] += 1);
        let are_several: BooleanArray = states_of.iter().map(|&states| Some(states > 1)).collect();
        columns.push(nullif(&numbers_before, &are_several).expect("one number for each state"));
        Ok(RecordBatch::try_new(self.held.layout(), columns).expect("accumulators emit what their state fields say"))
    }

    /// The states that are needed on, with what their windows have become.
    fn kept(&self, states: &RecordBatch, places: &[Place], at: Reached) -> RecordBatch {
        let oldest = at.settled.0.saturating_sub(self.window.size.0);
        let mut columns = states.columns()[..self.held.state_columns()].to_vec();
        if self.revised.is_some() {
            let given: Int64Array = places.iter().map(|place| place.given).collect();
            let changed: Int64Array = places.iter().map(|place| Some(i64::from(place.changed))).collect();
            columns.extend([Arc::new(given) as ArrayRef, Arc::new(changed)]);
        }
        columns.push(Arc::new(self.kept_numbers(states, &columns[self.held.state_columns()..])));
        let states = RecordBatch::try_new(self.held.layout(), columns).expect("one value for each state");
        filtered(&states, BooleanBuffer::collect_bool(places.len(), |place| places[place].time > oldest))
    }

    /// The numbers of the states whose own columns say what they said before: none, where a state is new or has changed.
    fn kept_numbers(&self, states: &RecordBatch, own: &[ArrayRef]) -> Int64Array {
        let numbers = numbers(states);
        let before = &states.columns()[self.held.state_columns()..];
        let columns: Vec<[&Int64Array; 2]> =
            before.iter().zip(own).map(|(before, now)| [before, now].map(|column| column.as_primitive())).collect();
        let value = |column: &Int64Array, row| column.is_valid(row).then(|| column.value(row));
        let is_same = |row| columns.iter().all(|[before, now]| value(before, row) == value(now, row));
        (0..states.num_rows()).map(|row| value(numbers, row).filter(|_| is_same(row))).collect()
    }

    /// The windows at some places, by their keys.
    fn shown(&self, states: &RecordBatch, places: &[Place], again: &[usize]) -> Option<MadeWindows> {
        if again.is_empty() {
            return None;
        }
        let rows = UInt32Array::from_iter_values(again.iter().map(|&place| as_row(place)));
        let windows = again.iter().map(|&place| self.window.window(places[place].time)).collect();
        let keys = taken(&states.columns()[..self.keys.fields().len()], &rows);
        Some(MadeWindows::new(windows, &self.keys, keys))
    }
}

impl Making for SlidingWindows {
    fn split(&self, times: &[i64]) -> Split {
        split(&Tumbling { size: self.window.size, offset: Micros(0) }.spans(times).0)
    }

    fn add(&mut self, pane: i64, times: &Int64Array, mut fed: Fed) -> Result<(), PaneError> {
        fed.keys.push(Arc::new(times.clone()));
        self.held.add(pane, &fed.keys, &fed.arguments, &fed.filters)
    }

    /// Over are those of times before `over`.
    fn settle(&mut self, at: Reached) -> Result<Settled, PaneError> {
        let fresh = self.take_fresh(at.over)?;
        if fresh.is_none() && (self.held.aside().is_none() || at.over < self.look_again) {
            return Ok(Settled::default());
        }
        let before = self.held.set_aside(None);
        let known = before.as_ref().map_or(0, RecordBatch::num_rows);
        let states = self.held.together(&before.into_iter().chain(fresh).collect::<Vec<_>>());
        let (states, mut places) = self.in_order(&states, known)?;
        let course =
            Course { size: self.window.size, allowed: self.revised.map_or(Micros(0), |revised| revised.allowed), at };
        let due = course.run(&mut places);
        self.look_again = due.look_again;
        let given = self.evaluate(&states, &due.runs)?;
        let replaced = self.shown(&states, &places, &due.again);
        let kept = self.kept(&states, &places, at);
        self.held.set_aside(Some(kept));
        Ok(Settled { given, replaced })
    }

    fn opens_from(&self, _settled: EventTime) -> Option<EventTime> {
        // It follows from the settled time.
        None
    }

    fn freeze(&mut self) -> Result<Vec<FrozenPart>, PaneError> {
        self.held.freeze()
    }

    fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        self.look_again = EventTime::MIN;
        let Some(revised) = self.revised.filter(|_| pane == ASIDE) else { return self.held.restore(pane, rows) };
        let time = self.keys.fields().len();
        let rows = self.held.with_own_where(rows, |row, _| {
            let times = rows.column(time).as_primitive::<Int64Type>();
            EventTime(self.window.window(times.value(row)).end) <= revised.published_below
        })?;
        self.held.restore(pane, &rows)
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)> {
        self.held.sizes(|states| self.times(states).values().iter().copied().min())
    }
}

fn as_row(place: usize) -> u32 {
    u32::try_from(place).expect("states are counted in u32")
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Vec<ArrayRef> {
    columns.iter().map(|column| take(column, rows, None).expect("row numbers are in range")).collect()
}
