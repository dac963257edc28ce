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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::identities::Identities;
use super::made::{Made, MadeWindows};
use super::numbered::Numbered;
use super::pane::{Aggregation, Frozen, Pane, PaneError};
use super::split::{Split, split};
use super::{Adjacent, Tumbling};
use crate::event::{EventTime, Micros};

/// Pane number, in checkpoints, of the states before the settled time.
pub const SETTLED: i64 = i64::MIN;

/// Windows that are put together at a time: bounds the memory that takes.
const WINDOWS_AT_ONCE: usize = 65_536;

/// `SLIDING`: a window for each record, ending with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Length of a window; positive.
    pub size: Micros,
}

impl Sliding {
    /// Which rows of a batch belong to which pane, by their times.
    pub fn split(&self, times: &[i64]) -> Split {
        split(&Tumbling { size: self.size, offset: Micros(0) }.spans(times).0)
    }

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
    /// States that aren't settled, in panes as long as a window, by start.
    panes: BTreeMap<i64, Pane>,
    /// Settled states that windows to come hold, one for each key and time.
    settled: Option<RecordBatch>,
    /// What a checkpoint must hear of at the next freeze.
    settled_changed: bool,
    gone: BTreeSet<i64>,
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
        Ok(SlidingWindows {
            window,
            aggregation,
            keys,
            closed,
            panes: BTreeMap::new(),
            settled: None,
            settled_changed: false,
            gone: BTreeSet::new(),
        })
    }

    /// Adds rows of the pane that starts at `start` ([`Sliding::split`]); otherwise as [`Pane::update`].
    pub fn add(
        &mut self,
        start: i64,
        times: &Int64Array,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<(), PaneError> {
        let mut keys = keys.to_vec();
        keys.push(Arc::new(times.clone()));
        self.pane(start)?.update(&keys, arguments, filters)
    }

    fn pane(&mut self, start: i64) -> Result<&mut Pane, PaneError> {
        use std::collections::btree_map::Entry;
        Ok(match self.panes.entry(start) {
            Entry::Occupied(pane) => pane.into_mut(),
            Entry::Vacant(place) => place.insert(Pane::new(&self.aggregation)?),
        })
    }

    /// Takes rows of a frozen pane.
    pub fn restore(&mut self, start: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        if start != SETTLED {
            return self.pane(start)?.merge(rows);
        }
        self.aggregation.check_layout(rows)?;
        let parts: Vec<RecordBatch> = self.settled.take().into_iter().chain([rows.clone()]).collect();
        self.settled = Some(self.together(&parts));
        self.settled_changed = true;
        Ok(())
    }

    /// What changed since the last call: the pane (or [`SETTLED`]), its rows, and whether they replace all that was given of
    /// it before. No rows: forget it.
    pub fn freeze(&mut self) -> Result<Vec<(i64, RecordBatch, bool)>, PaneError> {
        let nothing = || RecordBatch::new_empty(self.aggregation.state_schema());
        let mut frozen: Vec<(i64, RecordBatch, bool)> = Vec::new();
        if std::mem::take(&mut self.settled_changed) {
            frozen.push((SETTLED, self.settled.clone().unwrap_or_else(nothing), true));
        }
        frozen.extend(std::mem::take(&mut self.gone).into_iter().map(|start| (start, nothing(), true)));
        for (&start, pane) in &mut self.panes {
            match pane.freeze()? {
                Frozen::Nothing => {}
                Frozen::Delta(rows) => frozen.push((start, rows, false)),
                Frozen::Whole(rows) => frozen.push((start, rows, true)),
            }
        }
        Ok(frozen)
    }

    /// The windows of times before `settled`, when no record before it can come any more. They are given once.
    pub fn settle(&mut self, settled: EventTime) -> Result<Vec<MadeWindows>, PaneError> {
        let oldest = settled.0.saturating_sub(self.window.size.0);
        let fresh = self.take_fresh(settled)?;
        let Some(fresh) = fresh else {
            if self
                .settled
                .as_ref()
                .is_some_and(|states| self.times(states).values().iter().all(|&time| time <= oldest))
            {
                self.settled = None;
                self.settled_changed = true;
            }
            return Ok(Vec::new());
        };
        let before = self.settled.take();
        let known = before.as_ref().map_or(0, RecordBatch::num_rows);
        let states = self.together(&before.into_iter().chain([fresh]).collect::<Vec<_>>());
        let (order, runs) = self.runs(&states, known)?;
        let states = take_record_batch(&states, &UInt32Array::from(order)).expect("row numbers are in range");
        let made = self.evaluate(&states, &runs)?;
        let times = self.times(&states).values();
        let is_needed = BooleanBuffer::collect_bool(times.len(), |row| times[row] > oldest);
        let kept = filter_record_batch(&states, &BooleanArray::new(is_needed, None));
        let kept = kept.expect("the mask is as long as the states");
        self.settled = (kept.num_rows() > 0).then_some(kept);
        self.settled_changed = true;
        Ok(made)
    }

    /// Panes and sets of states held.
    pub fn len(&self) -> usize {
        self.panes.len() + usize::from(self.settled.is_some())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held by each pane, and by the settled states under their earliest time.
    pub fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)> {
        let settled = self.settled.iter().map(|states| {
            let first = self.times(states).values().iter().copied().min().unwrap_or(SETTLED);
            (EventTime(first), states.get_array_memory_size())
        });
        settled.chain(self.panes.iter().map(|(&start, pane)| (EventTime(start), pane.bytes())))
    }

    fn times<'b>(&self, states: &'b RecordBatch) -> &'b Int64Array {
        states.column(self.keys.fields().len()).as_primitive::<Int64Type>()
    }

    fn together(&self, parts: &[RecordBatch]) -> RecordBatch {
        match parts {
            [one] => one.clone(),
            several => concat_batches(&self.aggregation.state_schema(), several).expect("parts have one layout"),
        }
    }

    /// States of times before `settled` out of the panes.
    fn take_fresh(&mut self, settled: EventTime) -> Result<Option<RecordBatch>, PaneError> {
        let mut fresh = Vec::new();
        let starts: Vec<i64> = self.panes.range(..settled.0).map(|(&start, _)| start).collect();
        for start in starts {
            let pane = self.panes.remove(&start).expect("it was just there");
            let states = pane.into_state()?;
            let times = self.times(&states).values();
            let is_fresh = BooleanBuffer::collect_bool(times.len(), |row| times[row] < settled.0);
            let rest = BooleanArray::new(!&is_fresh, None);
            if rest.true_count() == 0 {
                fresh.push(states);
                self.gone.insert(start);
                continue;
            }
            let split = |mask: &BooleanArray| filter_record_batch(&states, mask).expect("the mask is as long");
            let (rest, taken) = (split(&rest), split(&BooleanArray::new(is_fresh, None)));
            self.pane(start)?.merge(&rest)?;
            if taken.num_rows() > 0 {
                fresh.push(taken);
            }
        }
        Ok((!fresh.is_empty()).then(|| self.together(&fresh)))
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
