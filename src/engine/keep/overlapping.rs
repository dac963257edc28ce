//! Windows that share panes (HOP, CUMULATE): rows go into panes, and a window is put together when it closes.
//!
//! Invariants: windows close in the order of their ends, each once, also across a restart; a row never reaches a pane's
//! part that a closed window has taken, so what is merged stays right; a pane is gone when its last window has closed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{Changed, Closed, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::engine::prepare::{FROM_ALL, FROM_COLUMN, PANE_COLUMN};
use crate::event::{EventTime, Micros};
use crate::windows::pane::{Frozen, PaneError};
use crate::windows::shared::{Bounds, Merging, SharedPane, SharesPanes};
use crate::windows::{PublishRange, Split, split};

/// The panes of open windows, by start.
pub(super) struct OverlappingWindows<W: SharesPanes> {
    window: W,
    allowed: Micros,
    publish: PublishRange,
    inputs: Inputs,
    panes: BTreeMap<i64, SharedPane>,
    merged: W::Merged,
    /// End of the last window that closed.
    closed_through: i64,
}

impl<W: SharesPanes> OverlappingWindows<W> {
    /// Goes on where windows up to `watermark` are closed.
    pub(super) fn new(
        window: W,
        allowed: Micros,
        publish: PublishRange,
        watermark: EventTime,
        inputs: Inputs,
    ) -> OverlappingWindows<W> {
        let closed_through = watermark.minus(allowed).0;
        let (panes, merged) = (BTreeMap::new(), W::Merged::default());
        OverlappingWindows { window, allowed, publish, inputs, panes, merged, closed_through }
    }

    /// The pane that starts at `start`, made if there is none.
    fn pane(&mut self, start: i64) -> Result<&mut SharedPane, PaneError> {
        Ok(match self.panes.entry(start) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => free.insert(SharedPane::new(self.inputs.aggregation())?),
        })
    }

    fn add_to_pane(&mut self, start: i64, rows: &RecordBatch) -> Result<(), KeepError> {
        let froms = rows.column(FROM_COLUMN).as_primitive::<Int64Type>();
        match split(froms.values()) {
            Split::One(from) => self.add_to_part(start, from, rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(from, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to_part(start, from, &part)
            }),
        }
    }

    fn add_to_part(&mut self, start: i64, from: i64, rows: &RecordBatch) -> Result<(), KeepError> {
        let from = (from != FROM_ALL).then_some(from);
        let first_end = from.unwrap_or_else(|| self.window.windows_of(start).first_end);
        assert!(
            first_end > self.closed_through,
            "rows go to windows that are open: preparing judged them by the watermark"
        );
        let failed = |fault: Fault| fault.at(EventTime(start));
        self.pane(start).map_err(|source| failed(source.into()))?;
        let pane = self.panes.get_mut(&start).expect("it was just there");
        let part = pane.part(from).map_err(|source| failed(source.into()))?;
        self.inputs.update(part, rows).map_err(failed)
    }

    /// End of the first window that is open.
    fn next_end(&self) -> Option<i64> {
        let (&first, _) = self.panes.first_key_value()?;
        let end = self.window.windows_of(first).first_after(self.closed_through);
        Some(end.expect("a pane is gone when its last window has closed"))
    }

    fn drop_closed_panes(&mut self) {
        while let Some(first) = self.panes.first_entry() {
            if self.window.windows_of(*first.key()).last_end > self.closed_through {
                break;
            }
            first.remove();
        }
    }
}

impl<W: SharesPanes> Keep for OverlappingWindows<W> {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        let panes = rows.column(PANE_COLUMN).as_primitive::<Int64Type>();
        match split(panes.values()) {
            Split::One(start) => self.add_to_pane(start, rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(start, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to_pane(start, &part)
            }),
        }
    }

    fn close(&mut self, watermark: EventTime, _barrier: bool) -> Result<Vec<Closed>, KeepError> {
        let mut closed = Vec::new();
        while let Some(end) = self.next_end() {
            if EventTime(end).plus(self.allowed) > watermark {
                break;
            }
            let start = self.window.start_of(end);
            if self.publish.contains(self.window.mark_of(end)) {
                let aggregation = self.inputs.aggregation();
                let rows = self.merged.evaluate(aggregation, &mut self.panes, Bounds { start, end });
                let rows = rows.map_err(|source| Fault::from(source).at(EventTime(start)))?;
                if rows.num_rows() > 0 {
                    closed.push(Closed::of_one(EventTime(start), EventTime(end), rows));
                }
            }
            self.closed_through = end;
            self.drop_closed_panes();
        }
        Ok(closed)
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let mut changed = Vec::new();
        for (&start, pane) in &mut self.panes {
            let start = EventTime(start);
            let (rows, whole) = match pane.freeze().map_err(|source| Fault::from(source).at(start))? {
                Frozen::Nothing => continue,
                Frozen::Delta(rows) => (rows, false),
                Frozen::Whole(rows) => (rows, true),
            };
            changed.push(Changed { pane: start, rows, whole });
        }
        Ok(changed)
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.pane(pane.0).and_then(|open| open.merge(rows)).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        // Behind the column that tells side sets.
        1..1 + self.inputs.aggregation().keys.fields().len()
    }

    fn open(&self) -> OpenWindows {
        let mut open = OpenWindows { bytes: self.merged.bytes(), ..OpenWindows::default() };
        let mut counted_through = self.closed_through;
        for (&start, pane) in &self.panes {
            let bytes = pane.bytes();
            open.bytes += bytes;
            if open.largest.is_none_or(|(_, most)| bytes > most) {
                open.largest = Some((EventTime(start), bytes));
            }
            let run = self.window.windows_of(start);
            open.windows += usize::try_from(run.count() - run.count_through(counted_through)).unwrap_or(0);
            counted_through = counted_through.max(run.last_end);
        }
        open
    }
}
