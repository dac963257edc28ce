//! The second half of an INSERT, on the worker that keeps a key: what is open, and its closing.
//!
//! [`Keeper`] is what all kinds of windows have in common: it deals restored state out, puts the window's columns before
//! closed rows, then HAVING, then the SELECT list, and names the table in errors. What is kept, and when it closes, is a
//! [`Keep`], one implementation a kind. To add a kind: a file with its [`Keep`], its line in [`Keeper::new`]; and a
//! [`super::prepare::Placing`], which ships the columns that it goes by.

mod adjacent;
mod by_data;
mod counting;
mod each;
mod inputs;
mod keeper;
mod made;
mod overlapping;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::epoch::OpenWindows;
use crate::event::{EventTime, TIMESTAMP_ZONE};
use crate::windows::pane::PaneError;
use crate::windows::{Deferred, Frozen, FrozenPart, MadeWindows};

pub(super) use by_data::Wanted;
pub(super) use inputs::Inputs;
pub(super) use keeper::{Keeper, Published};

/// What one worker keeps of the open windows of one INSERT.
///
/// Invariant: the rows of a closed window are a function of the rows added for it, however these were spread over
/// batches, checkpoints and workers.
pub(super) trait Keep {
    /// Adds prepared rows ([`super::prepare::Preparation`]) of this worker's keys.
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError>;

    /// Closes every window that can't change any more at `watermark`, in order of time, each once; where late records revise
    /// windows ([`crate::job::Insert::revises`]), each comes when the watermark passes its end, and again when they have
    /// changed it. With `barrier`, a checkpoint is taken right behind it.
    fn close(&mut self, watermark: EventTime, barrier: bool) -> Result<Closing, KeepError>;

    /// What changed since the last call. What can be derived from it again is left out.
    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError>;

    /// Takes rows that [`Keep::freeze`] of any worker gave for `pane`, of this worker's keys only. The next freeze gives
    /// them again.
    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError>;

    /// The columns of frozen rows that tell whose keys they are: in order those that prepared rows are dealt out by.
    fn keys_of_state(&self) -> Range<usize>;

    /// What the open windows hold, about.
    fn open(&self) -> OpenWindows;
}

/// Windows on their way out.
#[derive(Default)]
pub(super) struct Closing {
    /// Rows of windows that are over.
    pub(super) closed: Vec<Closed>,
    /// Windows that the data makes, that were given before and that these take the place of: each by its keys.
    pub(super) replaced: Option<MadeWindows>,
}

impl From<Vec<Closed>> for Closing {
    fn from(closed: Vec<Closed>) -> Closing {
        Closing { closed, replaced: None }
    }
}

/// Rows of windows that have closed.
pub(super) struct Closed {
    /// Start of the window, or of the first; for messages.
    pub(super) window: EventTime,
    /// The window's columns of each row, as they begin [`crate::job::Insert::closed_schema`].
    pub(super) columns: Vec<ArrayRef>,
    /// Keys and results.
    pub(super) rows: RecordBatch,
}

impl Closed {
    /// The rows of one window.
    pub(super) fn of_one(start: EventTime, end: EventTime, rows: RecordBatch) -> Closed {
        let instants = [start.0, end.0, end.0 - 1];
        let column = |instant| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_value(instant, rows.num_rows()).with_timezone(TIMESTAMP_ZONE))
        };
        Closed { window: start, columns: instants.map(column).to_vec(), rows }
    }
}

/// State that changed, for a checkpoint.
pub(super) struct Changed {
    /// Which pane: [`crate::windows::Window::pane_needed_until`] says how long it is needed.
    pub(super) pane: EventTime,
    /// In the kind's own layout; `None`: forget the pane.
    pub(super) states: Option<Deferred>,
    /// As [`Frozen::covers`].
    pub(super) covers: Range<u64>,
}

impl Changed {
    fn of(pane: EventTime, frozen: Frozen) -> Changed {
        Changed { pane, states: Some(frozen.states), covers: frozen.covers }
    }
}

impl From<FrozenPart> for Changed {
    fn from(frozen: FrozenPart) -> Changed {
        Changed { pane: EventTime(frozen.pane), states: frozen.states, covers: frozen.covers }
    }
}

/// What a [`Keep`] couldn't do.
pub(super) struct KeepError {
    /// Start of the window.
    pub(super) window: Option<EventTime>,
    /// Why.
    pub(super) fault: Fault,
}

/// Why something couldn't be kept or closed.
pub(super) enum Fault {
    /// An aggregate fails.
    Pane(PaneError),
    /// An expression or a constant fails.
    Evaluate(DataFusionError),
}

impl Fault {
    /// The error of the window that starts at `start`.
    pub(super) fn at(self, start: EventTime) -> KeepError {
        KeepError { window: Some(start), fault: self }
    }
}

impl Fault {
    /// The error where windows of several times were at hand.
    fn anywhere(self) -> KeepError {
        KeepError { window: None, fault: self }
    }
}

impl From<PaneError> for Fault {
    fn from(source: PaneError) -> Fault {
        Fault::Pane(source)
    }
}

impl From<DataFusionError> for Fault {
    fn from(source: DataFusionError) -> Fault {
        Fault::Evaluate(source)
    }
}
