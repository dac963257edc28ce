//! No window: nothing is kept. Rows go out with the epoch that they came in.

use std::ops::Range;

use arrow::record_batch::RecordBatch;

use super::{Changed, Closed, Closing, Fault, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::event::EventTime;

/// The rows of the open epoch.
pub(super) struct PassingRows {
    /// The columns of prepared rows that are a result's.
    columns: Vec<usize>,
    rows: Vec<RecordBatch>,
}

impl PassingRows {
    pub(super) fn new(columns: Range<usize>) -> PassingRows {
        PassingRows { columns: columns.collect(), rows: Vec::new() }
    }
}

impl Keep for PassingRows {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), KeepError> {
        let rows = rows.project(&self.columns).map_err(|error| Fault::Evaluate(error.into()).anywhere())?;
        self.rows.push(rows);
        Ok(())
    }

    fn close(&mut self, _watermark: EventTime, _barrier: bool) -> Result<Closing, KeepError> {
        let rows = std::mem::take(&mut self.rows).into_iter();
        let closed: Vec<Closed> =
            rows.map(|rows| Closed { window: EventTime::MIN, columns: Vec::new(), rows }).collect();
        Ok(closed.into())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        debug_assert!(self.rows.is_empty(), "an epoch is closed before it is frozen");
        Ok(Vec::new())
    }

    fn restore(&mut self, _pane: EventTime, _rows: &RecordBatch) -> Result<(), KeepError> {
        unreachable!("nothing was frozen")
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..0
    }

    fn open(&self) -> OpenWindows {
        OpenWindows::default()
    }
}
