//! Windows of which each record falls in one (TUMBLE): a window is a pane.
//! Invariant: a pane is created by a row and gone when its window closes; rows reach it only before that.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{Changed, Closed, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::engine::prepare::PANE_COLUMN;
use crate::event::{EventTime, Micros};
use crate::windows::pane::{Frozen, PaneError};
use crate::windows::{Adjacent, Pane, Split, split};

/// The open panes, by start.
pub(super) struct AdjacentWindows<W> {
    window: W,
    allowed: Micros,
    inputs: Inputs,
    panes: BTreeMap<i64, Pane>,
}

impl<W: Adjacent> AdjacentWindows<W> {
    pub(super) fn new(window: W, allowed: Micros, inputs: Inputs) -> AdjacentWindows<W> {
        AdjacentWindows { window, allowed, inputs, panes: BTreeMap::new() }
    }

    /// The pane that starts at `start`, made if there is none.
    fn pane(&mut self, start: i64) -> Result<&mut Pane, PaneError> {
        Ok(match self.panes.entry(start) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => free.insert(Pane::new(self.inputs.aggregation())?),
        })
    }

    fn add_to(&mut self, start: i64, rows: &RecordBatch) -> Result<(), KeepError> {
        let failed = |fault: Fault| fault.at(EventTime(start));
        self.pane(start).map_err(|source| failed(source.into()))?;
        let pane = self.panes.get_mut(&start).expect("it was just there");
        self.inputs.update(pane, rows).map_err(failed)
    }
}

impl<W: Adjacent> Keep for AdjacentWindows<W> {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        let starts = rows.column(PANE_COLUMN).as_primitive::<Int64Type>();
        match split(starts.values()) {
            Split::One(start) => self.add_to(start, rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(start, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to(start, &part)
            }),
        }
    }

    fn close(&mut self, watermark: EventTime, _barrier: bool) -> Result<Vec<Closed>, KeepError> {
        let mut closed = Vec::new();
        while let Some(first) = self.panes.first_entry() {
            let start = EventTime(*first.key());
            let end = EventTime(self.window.span(start.0).1);
            if end.plus(self.allowed) > watermark {
                break;
            }
            let rows = first.remove().close().map_err(|source| Fault::from(source).at(start))?;
            closed.push(Closed::of_one(start, end, rows));
        }
        Ok(closed)
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let mut changed = Vec::new();
        for (&start, pane) in &mut self.panes {
            let pane_start = EventTime(start);
            let (rows, whole) = match pane.freeze().map_err(|source| Fault::from(source).at(pane_start))? {
                Frozen::Nothing => continue,
                Frozen::Delta(rows) => (rows, false),
                Frozen::Whole(rows) => (rows, true),
            };
            changed.push(Changed { pane: pane_start, rows, whole });
        }
        Ok(changed)
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.pane(pane.0).and_then(|open| open.merge(rows)).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.inputs.aggregation().keys.fields().len()
    }

    fn open(&self) -> OpenWindows {
        let mut open = OpenWindows { windows: self.panes.len(), ..OpenWindows::default() };
        for (&start, pane) in &self.panes {
            let bytes = pane.bytes();
            open.bytes += bytes;
            if open.largest.is_none_or(|(_, most)| bytes > most) {
                open.largest = Some((EventTime(start), bytes));
            }
        }
        open
    }
}
