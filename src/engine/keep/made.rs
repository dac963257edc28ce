//! `SESSION` and `SLIDING`: windows that are made from records in panes ([`crate::windows::Making`]).

use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::by_data::{Gate, Wanted};
use super::{Changed, Closing, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::engine::prepare::TIME_COLUMN;
use crate::event::{EventTime, Micros};
use crate::windows::{Making, Settled, Split};

/// The open windows.
pub(super) struct OpenMade<M> {
    wanted: Wanted,
    inputs: Inputs,
    windows: M,
    gate: Gate,
    /// The least time at which an open window can begin, as of the last look.
    opens_from: Option<EventTime>,
}

impl<M: Making> OpenMade<M> {
    pub(super) fn new(windows: M, gate: Gate, inputs: Inputs, wanted: Wanted) -> OpenMade<M> {
        // Before the first look, any may begin any time where the settled time doesn't tell.
        let opens_from = windows.opens_from(EventTime::MIN);
        OpenMade { wanted, inputs, windows, gate, opens_from }
    }

    fn add_to(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        let fed = self.inputs.read(rows).map_err(|fault| fault.at(pane))?;
        let times = rows.column(TIME_COLUMN).as_primitive::<Int64Type>();
        self.windows.add(pane.0, times, fed).map_err(|source| Fault::from(source).at(pane))
    }
}

impl<M: Making> Keep for OpenMade<M> {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        let times = rows.column(TIME_COLUMN).as_primitive::<Int64Type>();
        match self.windows.split(times.values()) {
            Split::One(pane) => self.add_to(EventTime(pane), rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(pane, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to(EventTime(pane), &part)
            }),
        }
    }

    fn close(&mut self, watermark: EventTime, barrier: bool) -> Result<Closing, KeepError> {
        let step = Micros(self.wanted.window.longest().0 / 2);
        let Some(at) = self.gate.reached(watermark, barrier, step) else { return Ok(Closing::default()) };
        let settled = self.windows.settle(at).map_err(Fault::from).map_err(Fault::anywhere)?;
        self.opens_from = self.windows.opens_from(at.settled);
        let Settled { given, replaced } = settled;
        let replaced = replaced.and_then(|replaced| self.gate.pass_again(replaced));
        let closed = given.into_iter().filter_map(|made| self.gate.pass(made, false)).collect();
        Ok(Closing { closed, replaced })
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let frozen = self.windows.freeze().map_err(Fault::from).map_err(Fault::anywhere)?;
        Ok(frozen.into_iter().map(Changed::from).collect())
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.windows.restore(pane.0, rows).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.wanted.window.partition_keys(self.inputs.aggregation().keys.fields().len())
    }

    fn open(&self) -> OpenWindows {
        let open = OpenWindows::of(self.windows.sizes());
        self.gate.told(OpenWindows { opens_from: self.opens_from, ..open })
    }
}
