//! `SESSION`: see [`crate::windows::session`].

use std::ops::Range;

use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;

use super::by_data::{Gate, Wanted, changed, times};
use super::{Changed, Closed, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::event::{EventTime, Micros};
use crate::windows::pane::PaneError;
use crate::windows::{Session, Sessions, Split};

/// The open sessions.
pub(super) struct OpenSessions {
    window: Session,
    inputs: Inputs,
    sessions: Sessions,
    gate: Gate,
    /// The least time at which an open session can begin, as of the last look.
    opens_from: EventTime,
}

impl OpenSessions {
    pub(super) fn new(
        window: Session,
        allowed: Micros,
        inputs: Inputs,
        wanted: Wanted,
    ) -> Result<OpenSessions, PaneError> {
        let aggregation = inputs.aggregation();
        let sessions = Sessions::new(window, aggregation.keys.clone(), aggregation.functions.clone())?;
        Ok(OpenSessions { window, inputs, sessions, gate: Gate::new(wanted, allowed), opens_from: EventTime::MIN })
    }

    fn add_to(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        let fed = self.inputs.read(rows).map_err(|fault| fault.at(pane))?;
        let added = self.sessions.add(pane.0, times(rows), &fed.keys, fed.arguments, fed.filters);
        added.map_err(|source| Fault::from(source).at(pane))
    }
}

impl Keep for OpenSessions {
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
        let step = Micros(self.window.gap.0 / 2);
        let Some(settled) = self.gate.settled(watermark, barrier, step) else { return Ok(Vec::new()) };
        let made = self.sessions.settle(settled).map_err(Fault::from).map_err(Fault::anywhere)?;
        self.opens_from = self.sessions.opens_from(settled);
        Ok(made.and_then(|made| self.gate.pass(made, false)).into_iter().collect())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let frozen = self.sessions.freeze().map_err(Fault::from).map_err(Fault::anywhere)?;
        Ok(frozen.into_iter().map(|(pane, rows, whole)| changed(pane, rows, whole)).collect())
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        self.sessions.restore(pane.0, rows).map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.window.partition_keys
    }

    fn open(&self) -> OpenWindows {
        let open = OpenWindows::of(self.sessions.sizes());
        self.gate.told(OpenWindows { opens_from: Some(self.opens_from), ..open })
    }
}
