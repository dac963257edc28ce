//! Cumulating windows by a running prefix: windows that begin together are each the one before and one pane more.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::{Bounds, Merging, SharedPane};
use crate::windows::groups::Groups;
use crate::windows::{Aggregation, PaneError};

/// The window that was evaluated last.
#[derive(Debug, Default)]
pub struct RunningPrefix {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    window: Bounds,
    state: RecordBatch,
    result: RecordBatch,
}

impl Merging for RunningPrefix {
    fn evaluate(
        &mut self,
        aggregation: &Arc<Aggregation>,
        panes: &mut BTreeMap<i64, SharedPane>,
        window: Bounds,
    ) -> Result<RecordBatch, PaneError> {
        let last = self.last.take().filter(|last| last.window.start == window.start);
        let through = last.as_ref().map_or(i64::MIN, |last| last.window.end);
        let mut all = Groups::new(aggregation)?;
        let mut any = false;
        for (&start, pane) in panes.range_mut(window.start..window.end) {
            any |= if start < through {
                pane.merge_sides(through, window.end, &mut all)?
            } else {
                pane.merge_through(window.end, &mut all)?
            };
        }
        let last = match last {
            Some(last) if !any => Last { window, ..last },
            last => {
                if let Some(last) = &last {
                    all.merge(&last.state)?;
                }
                // Taking state out empties a set.
                let state = all.take_state()?;
                all.merge(&state)?;
                Last { window, state, result: all.take_results()? }
            }
        };
        let result = last.result.clone();
        self.last = Some(last);
        Ok(result)
    }

    fn bytes(&self) -> usize {
        let of = |last: &Last| last.state.get_array_memory_size() + last.result.get_array_memory_size();
        self.last.as_ref().map_or(0, of)
    }
}
