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
//! Invariant: a window is given once, when no record before the settled time can come any more and its own time lies before
//! that; states are kept until no window that is still to come holds them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::fed::Fed;
use super::held::{FrozenPart, Held};
use super::identities::Identities;
use super::made::{Made, MadeWindows, Making};
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};
use super::split::{Split, split};
use super::{Adjacent, Tumbling};
use crate::event::{EventTime, Micros};

/// Windows that are put together at a time: bounds the memory that takes.
const WINDOWS_AT_ONCE: usize = 65_536;

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
    /// States that aren't settled, in panes as long as a window; and settled ones that windows to come hold, one for each
    /// key and time.
    held: Held,
}

impl SlidingWindows {
    /// No windows yet. Fails if a function can't say what its state looks like.
    pub fn new(
        window: Sliding,
        keys: SchemaRef,
        functions: Vec<Arc<AggregateFunctionExpr>>,
    ) -> Result<SlidingWindows, PaneError> {
        let mut fields: Vec<Field> = keys.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new("_t", DataType::Int64, false));
        let aggregation = Arc::new(Aggregation::new(Arc::new(Schema::new(fields)), functions)?);
        let closed = aggregation.closed_schema();
        let without_time: Vec<usize> =
            (0..closed.fields().len()).filter(|&column| column != keys.fields().len()).collect();
        let closed = Arc::new(closed.project(&without_time).expect("columns of its own"));
        let held = Held::new(&aggregation);
        Ok(SlidingWindows { window, aggregation, keys, closed, held })
    }

    fn times<'b>(&self, states: &'b RecordBatch) -> &'b Int64Array {
        states.column(self.keys.fields().len()).as_primitive::<Int64Type>()
    }

    /// States of times before `settled` out of the panes.
    fn take_fresh(&mut self, settled: EventTime) -> Result<Option<RecordBatch>, PaneError> {
        let mut fresh = Vec::new();
        let mut later = Vec::new();
        while let Some((start, states)) = self.held.take_first(settled.minus(Micros(1)))? {
            let times = self.times(&states).values();
            let is_fresh = BooleanBuffer::collect_bool(times.len(), |row| times[row] < settled.0);
            let split = |mask: BooleanBuffer| {
                filter_record_batch(&states, &BooleanArray::new(mask, None)).expect("the mask is as long as the states")
            };
            match is_fresh.count_set_bits() {
                0 => later.push((start, states)),
                all if all == states.num_rows() => fresh.push(states),
                _ => {
                    later.push((start, split(!&is_fresh)));
                    fresh.push(split(is_fresh));
                }
            }
        }
        for (start, states) in later {
            self.held.merge(start, &states)?;
        }
        Ok((!fresh.is_empty()).then(|| self.held.together(&fresh)))
    }

    /// The order of the states by key and time, and the windows of all states but the first `known`: runs in that order.
    fn runs(&self, states: &RecordBatch, known: usize) -> Result<(Vec<u32>, Vec<Run>), PaneError> {
        let mut identities = Identities::new(&self.keys)?;
        let mut keys = Vec::new();
        identities.resolve(&states.columns()[..self.keys.fields().len()], states.num_rows(), &mut keys)?;
        let times = self.times(states).values();
        let mut order: Vec<(usize, i64, u32)> =
            (0_u32..).zip(keys.iter().zip(times)).map(|(row, (&key, &time))| (key, time, row)).collect();
        order.sort_unstable();
        let mut runs = Vec::new();
        let mut from = 0;
        for (place, &(key, time, row)) in order.iter().enumerate() {
            while order[from].0 != key || order[from].1 <= time.saturating_sub(self.window.size.0) {
                from += 1;
            }
            if row as usize >= known {
                runs.push(Run { from, upto: place + 1 });
            }
        }
        Ok((order.into_iter().map(|(_, _, row)| row).collect(), runs))
    }

    /// The windows of runs of `states`, which stand in order.
    fn evaluate(&self, states: &RecordBatch, runs: &[Run]) -> Result<Vec<MadeWindows>, PaneError> {
        let levels = self.levels(states, runs)?;
        let mut made = Vec::with_capacity(runs.len().div_ceil(WINDOWS_AT_ONCE));
        for runs in runs.chunks(WINDOWS_AT_ONCE) {
            let mut windows = Numbered::new(&self.aggregation)?;
            let last = |run: &Run| u32::try_from(run.upto - 1).expect("states are counted in u32");
            let lasts = UInt32Array::from_iter_values(runs.iter().map(last));
            // Accumulators must meet each group first in the call that brings its number.
            let numbers: Vec<usize> = (0..runs.len()).collect();
            windows.merge(&numbers, runs.len(), &taken(&levels[0], &lasts))?;
            let mut rest: Vec<Run> = runs.iter().map(|run| Run { upto: run.upto - 1, ..*run }).collect();
            for level in &levels {
                let (blocks, numbers) = take_blocks(&mut rest);
                windows.merge(&numbers, runs.len(), &taken(level, &UInt32Array::from(blocks)))?;
            }
            let mut columns = taken(&states.columns()[..self.keys.fields().len()], &lasts);
            let results = windows.take_results(EmitTo::All, &columns)?;
            columns.extend(results);
            let times = self.times(states).values();
            let bounds = runs.iter().map(|run| self.window.window(times[run.upto - 1])).collect();
            made.push(MadeWindows::new(bounds, &self.closed, columns));
        }
        Ok(made)
    }

    /// States of blocks of 1, 2, 4, … neighbours, as far as windows take blocks of that length.
    fn levels(&self, states: &RecordBatch, runs: &[Run]) -> Result<Vec<Vec<ArrayRef>>, PaneError> {
        let mut level = states.columns()[self.aggregation.keys.fields().len()..].to_vec();
        let mut blocks = states.num_rows();
        let mut longest = runs.iter().map(|run| run.upto - run.from).max().unwrap_or(0);
        let mut levels = Vec::new();
        while longest > 1 {
            longest /= 2;
            let numbers: Vec<usize> = (0..blocks).map(|block| block / 2).collect();
            blocks = blocks.div_ceil(2);
            let mut pairs = Numbered::new(&self.aggregation)?;
            pairs.merge(&numbers, blocks, &level)?;
            let above = pairs.take_states(EmitTo::All)?;
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Ok(levels)
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

    /// Those of times before `settled`.
    fn settle(&mut self, settled: EventTime) -> Result<Vec<MadeWindows>, PaneError> {
        let oldest = settled.0.saturating_sub(self.window.size.0);
        let Some(fresh) = self.take_fresh(settled)? else {
            let is_old = |states: &RecordBatch| self.times(states).values().iter().all(|&time| time <= oldest);
            if self.held.aside().is_some_and(is_old) {
                self.held.set_aside(None);
            }
            return Ok(Vec::new());
        };
        let before = self.held.set_aside(None);
        let known = before.as_ref().map_or(0, RecordBatch::num_rows);
        let states = self.held.together(&before.into_iter().chain([fresh]).collect::<Vec<_>>());
        let (order, runs) = self.runs(&states, known)?;
        let states = take_record_batch(&states, &UInt32Array::from(order)).expect("row numbers are in range");
        let made = self.evaluate(&states, &runs)?;
        let times = self.times(&states).values();
        let is_needed = BooleanBuffer::collect_bool(times.len(), |row| times[row] > oldest);
        let kept = filter_record_batch(&states, &BooleanArray::new(is_needed, None));
        self.held.set_aside(Some(kept.expect("the mask is as long as the states")));
        Ok(made)
    }

    fn opens_from(&self, _settled: EventTime) -> Option<EventTime> {
        // It follows from the settled time.
        None
    }

    fn freeze(&mut self) -> Result<Vec<FrozenPart>, PaneError> {
        self.held.freeze()
    }

    fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        self.held.restore(pane, rows)
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)> {
        self.held.sizes(|states| self.times(states).values().iter().copied().min())
    }
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Vec<ArrayRef> {
    columns.iter().map(|column| take(column, rows, None).expect("row numbers are in range")).collect()
}

/// Neighbouring states, or blocks of them.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: usize,
    upto: usize,
}

/// The blocks at the ends of runs that don't belong to a block twice as long within it, and the run of each. What is left of
/// the runs is counted in blocks twice as long.
fn take_blocks(runs: &mut [Run]) -> (Vec<u32>, Vec<usize>) {
    let (mut blocks, mut numbers) = (Vec::new(), Vec::new());
    let mut push = |block: usize, number: usize| {
        blocks.push(u32::try_from(block).expect("states are counted in u32"));
        numbers.push(number);
    };
    for (number, run) in runs.iter_mut().enumerate() {
        if run.from < run.upto && run.from % 2 == 1 {
            push(run.from, number);
            run.from += 1;
        }
        if run.from < run.upto && run.upto % 2 == 1 {
            run.upto -= 1;
            push(run.upto, number);
        }
        (run.from, run.upto) = (run.from.div_ceil(2), run.upto / 2);
    }
    (blocks, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_made_of_few_disjoint_blocks() {
        for from in 0..40 {
            for upto in from + 1..40 {
                let mut rest = [Run { from, upto }];
                let (mut covered, mut taken) = (vec![0; 40], 0);
                for level in 0..7 {
                    let (blocks, _) = take_blocks(&mut rest);
                    taken += blocks.len();
                    for block in blocks {
                        let first = (block as usize) << level;
                        covered[first..first + (1 << level)].iter_mut().for_each(|times| *times += 1);
                    }
                }
                let expected: Vec<i32> = (0..40).map(|at| i32::from((from..upto).contains(&at))).collect();
                assert_eq!(covered, expected, "{from}..{upto}");
                assert!(taken <= 2 * (upto - from).ilog2() as usize + 2);
            }
        }
    }
}
