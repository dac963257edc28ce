//! Hopping windows by two stacks: each pane is merged a few times in all, not once for each of its windows.
//!
//! The panes of a window are its *front*, for each of which the merged state of it and all later front panes is kept
//! (a suffix), and its *back*, merged into one running state. The next window drops panes at the beginning, which is
//! another suffix, and adds panes at the end, which is one more merge into the back. When the front is used up, the back
//! becomes the front.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::{Bounds, Merging, SharedPane};
use crate::windows::groups::Groups;
use crate::windows::{Aggregation, PaneError};

/// The merged panes of the window that was evaluated last.
#[derive(Debug)]
pub struct TwoStacks {
    /// For each pane of the front, latest first: its start, and the state of it and all later ones.
    front: Vec<(i64, RecordBatch)>,
    /// Panes before it are in the front. The end of the window for which the front was made.
    turned: i64,
    /// The state of the panes from `turned` on, if they have any rows.
    back: Option<RecordBatch>,
    /// End of the window that was evaluated last: panes before it are merged, and side sets up to it.
    through: i64,
}

impl Default for TwoStacks {
    fn default() -> Self {
        TwoStacks { front: Vec::new(), turned: i64::MIN, back: None, through: i64::MIN }
    }
}

impl TwoStacks {
    /// Makes all panes of the window the front.
    fn turn(
        &mut self,
        aggregation: &Arc<Aggregation>,
        panes: &mut BTreeMap<i64, SharedPane>,
        window: Bounds,
    ) -> Result<(), PaneError> {
        self.front.clear();
        let mut suffix = Groups::new(aggregation)?;
        for (&start, pane) in panes.range_mut(window.start..window.end).rev() {
            if pane.merge_through(window.end, &mut suffix)? {
                // Taking state out empties a set.
                let state = suffix.take_state()?;
                suffix.merge(&state)?;
                self.front.push((start, state));
            }
        }
        self.turned = window.end;
        self.back = None;
        Ok(())
    }

    /// Adds the panes that the window has at its end, and the side sets that join the back with it.
    fn extend(
        &mut self,
        aggregation: &Arc<Aggregation>,
        panes: &mut BTreeMap<i64, SharedPane>,
        window: Bounds,
    ) -> Result<(), PaneError> {
        let mut back = Groups::new(aggregation)?;
        let mut any = false;
        for (&start, pane) in panes.range_mut(self.turned..window.end) {
            any |= if start < self.through {
                pane.merge_sides(self.through, window.end, &mut back)?
            } else {
                pane.merge_through(window.end, &mut back)?
            };
        }
        if any {
            if let Some(before) = &self.back {
                back.merge(before)?;
            }
            self.back = Some(back.take_state()?);
        }
        Ok(())
    }
}

impl Merging for TwoStacks {
    fn evaluate(
        &mut self,
        aggregation: &Arc<Aggregation>,
        panes: &mut BTreeMap<i64, SharedPane>,
        window: Bounds,
    ) -> Result<RecordBatch, PaneError> {
        if window.start > self.turned {
            self.turn(aggregation, panes, window)?;
        } else {
            self.extend(aggregation, panes, window)?;
        }
        self.through = window.end;
        while self.front.last().is_some_and(|&(start, _)| start < window.start) {
            self.front.pop();
        }
        let mut result = Groups::new(aggregation)?;
        if let Some((_, suffix)) = self.front.last() {
            result.merge(suffix)?;
        }
        if let Some(back) = &self.back {
            result.merge(back)?;
        }
        // What joined panes of the front after its suffixes were made.
        if window.start < self.turned {
            for (_, pane) in panes.range_mut(window.start..self.turned) {
                pane.merge_sides(self.turned, window.end, &mut result)?;
            }
        }
        result.take_results()
    }

    fn bytes(&self) -> usize {
        let states = self.front.iter().map(|(_, state)| state).chain(&self.back);
        states.map(RecordBatch::get_array_memory_size).sum()
    }
}
