//! `COUNT_WINDOW`: see [`crate::windows::counting`].

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::by_data::{Gate, GivenWhen, Wanted};
use super::{Changed, Closing, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::event::{EventTime, Micros};
use crate::windows::{CountWindows, Counting};

/// The open count windows, and the rows that wait.
pub(super) struct OpenCounts {
    window: Counting,
    inputs: Inputs,
    windows: CountWindows,
    gate: Gate,
    opens_from: EventTime,
}

impl OpenCounts {
    /// `shipped` is the layout of prepared rows.
    pub(super) fn new(
        window: Counting,
        inputs: Inputs,
        shipped: &SchemaRef,
        wanted: Wanted,
        worker: usize,
    ) -> OpenCounts {
        let windows = CountWindows::new(window, inputs.aggregation(), shipped, wanted.complete_from, worker);
        // A late record would move every window behind it, so none is waited for.
        let gate = Gate::new(wanted, Micros(0), GivenWhen::Settled);
        OpenCounts { window, inputs, windows, gate, opens_from: EventTime::MIN }
    }
}

impl Keep for OpenCounts {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        self.windows.add(rows.clone());
        Ok(())
    }

    fn close(&mut self, watermark: EventTime, barrier: bool) -> Result<Closing, KeepError> {
        let step = if self.windows.should_settle() { Micros(0) } else { Micros(i64::MAX) };
        let Some(at) = self.gate.reached(watermark, barrier, step) else { return Ok(Closing::default()) };
        let inputs = &self.inputs;
        let made = self.windows.settle(at.settled, |rows| inputs.read(rows)).map_err(Fault::anywhere)?;
        self.opens_from = self.windows.opens_from(at.settled);
        let closed: Vec<_> = made.and_then(|made| self.gate.pass(made, true)).into_iter().collect();
        Ok(closed.into())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        Ok(self.windows.freeze().into_iter().map(Changed::from).collect())
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.windows.restore(pane.0, rows).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.window.partition_keys
    }

    fn open(&self) -> OpenWindows {
        self.gate.told(OpenWindows {
            windows: self.windows.len(),
            bytes: self.windows.bytes(),
            largest: (!self.windows.is_empty()).then(|| (self.opens_from, self.windows.bytes())),
            opens_from: Some(self.opens_from),
            ..OpenWindows::default()
        })
    }
}
