//! `SLIDING`: see [`crate::windows::sliding`].

use std::ops::Range;

use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;

use super::by_data::{Gate, Wanted, changed, times};
use super::{Changed, Closed, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::event::{EventTime, Micros};
use crate::windows::pane::PaneError;
use crate::windows::{Sliding, SlidingWindows, Split};

/// The records that windows to come hold.
pub(super) struct OpenSliding {
    window: Sliding,
    inputs: Inputs,
    windows: SlidingWindows,
    gate: Gate,
}

impl OpenSliding {
    pub(super) fn new(
        window: Sliding,
        allowed: Micros,
        inputs: Inputs,
        wanted: Wanted,
    ) -> Result<OpenSliding, PaneError> {
        let aggregation = inputs.aggregation();
        let windows = SlidingWindows::new(window, aggregation.keys.clone(), aggregation.functions.clone())?;
        Ok(OpenSliding { window, inputs, windows, gate: Gate::new(wanted, allowed) })
    }

    fn add_to(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        let fed = self.inputs.read(rows).map_err(|fault| fault.at(pane))?;
        let added = self.windows.add(pane.0, times(rows), &fed.keys, &fed.arguments, &fed.filters);
        added.map_err(|source| Fault::from(source).at(pane))
    }
}

impl Keep for OpenSliding {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        match self.window.split(times(rows).values()) {
            Split::One(pane) => self.add_to(EventTime(pane), rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(pane, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to(EventTime(pane), &part)
            }),
        }
    }

    fn close(&mut self, watermark: EventTime, barrier: bool) -> Result<Vec<Closed>, KeepError> {
        let step = Micros(self.window.size.0 / 2);
        let Some(settled) = self.gate.settled(watermark, barrier, step) else { return Ok(Vec::new()) };
        let made = self.windows.settle(settled).map_err(Fault::from).map_err(Fault::anywhere)?;
        Ok(made.into_iter().filter_map(|made| self.gate.pass(made, false)).collect())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let frozen = self.windows.freeze().map_err(Fault::from).map_err(Fault::anywhere)?;
        Ok(frozen.into_iter().map(|(pane, rows, whole)| changed(pane, rows, whole)).collect())
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.windows.restore(pane.0, rows).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.inputs.aggregation().keys.fields().len()
    }

    fn open(&self) -> OpenWindows {
        // Where they begin follows from the settled time.
        self.gate.told(OpenWindows::of(self.windows.sizes()))
    }
}
