//! Runs of neighbouring states, put together from blocks of 1, 2, 4, … of them.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;

use super::{SlidingWindows, as_row, taken};
use crate::windows::MadeWindows;
use crate::windows::numbered::Numbered;
use crate::windows::pane::PaneError;

/// Windows that are put together at a time: bounds the memory that takes.
const WINDOWS_AT_ONCE: usize = 65_536;

impl SlidingWindows {
    /// The windows of runs of `states`, which stand in order.
    pub(super) fn evaluate(&self, states: &RecordBatch, runs: &[Run]) -> Result<Vec<MadeWindows>, PaneError> {
        let levels = self.levels(states, runs)?;
        let mut made = Vec::with_capacity(runs.len().div_ceil(WINDOWS_AT_ONCE));
        for runs in runs.chunks(WINDOWS_AT_ONCE) {
            let mut windows = Numbered::new(&self.aggregation)?;
            let lasts = UInt32Array::from_iter_values(runs.iter().map(|run| as_row(run.upto - 1)));
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
        let mut level = states.columns()[self.aggregation.keys.fields().len()..self.held.state_columns()].to_vec();
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

/// Neighbouring states, or blocks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) from: usize,
    pub(super) upto: usize,
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
