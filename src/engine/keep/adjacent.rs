//! Windows of which each record falls in one (TUMBLE): a window is a pane.
//! Invariant: a pane is created by a row and gone when its window can't change any more; rows reach it only before that.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{Changed, Closed, Closing, Fault, Inputs, Keep, KeepError};
use crate::engine::epoch::OpenWindows;
use crate::engine::given::Given;
use crate::engine::prepare::PANE_COLUMN;
use crate::event::{EventTime, Micros};
use crate::job::Insert;
use crate::windows::pane::PaneError;
use crate::windows::{Adjacent, Pane, Split, split};

/// The open panes, by start.
pub(super) struct AdjacentWindows<W> {
    window: W,
    allowed: Micros,
    /// Whether windows are given before their lateness ends.
    revises: bool,
    inputs: Inputs,
    panes: BTreeMap<i64, Open>,
    /// Windows that end at or before it were published from the state that is restored.
    published_below: EventTime,
}

/// A window that records may still reach.
struct Open {
    pane: Pane,
    given: Given,
}

impl<W: Adjacent> AdjacentWindows<W> {
    pub(super) fn new(window: W, insert: &Insert, inputs: Inputs, published_below: EventTime) -> AdjacentWindows<W> {
        let (allowed, revises) = (insert.allowed, insert.revises());
        AdjacentWindows { window, allowed, revises, inputs, panes: BTreeMap::new(), published_below }
    }

    /// The pane that starts at `start`, made if there is none, and taken for changed.
    fn open_at(&mut self, start: i64) -> Result<&mut Open, PaneError> {
        let open = match self.panes.entry(start) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Open { pane: Pane::new(self.inputs.aggregation())?, given: Given::default() })
            }
        };
        open.given.changed = true;
        Ok(open)
    }

    fn add_to(&mut self, start: i64, rows: &RecordBatch) -> Result<(), KeepError> {
        let failed = |fault: Fault| fault.at(EventTime(start));
        self.open_at(start).map_err(|source| failed(source.into()))?;
        let open = self.panes.get_mut(&start).expect("it was just there");
        self.inputs.update(&mut open.pane, rows).map_err(failed)
    }

    /// The windows that are over, and new or changed, but that late records may still reach.
    fn give_early(&mut self, watermark: EventTime) -> Result<Vec<Closed>, KeepError> {
        let mut given = Vec::new();
        for (&start, open) in &mut self.panes {
            let start = EventTime(start);
            let end = EventTime(self.window.span(start.0).1);
            if end > watermark {
                break;
            }
            if open.given.is_due(watermark, false) {
                let rows = open.pane.evaluate().map_err(|source| Fault::from(source).at(start))?;
                given.push(Closed::of_one(start, end, rows));
                open.given = Given { at: Some(watermark), changed: false };
            }
        }
        Ok(given)
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

    fn close(&mut self, watermark: EventTime, _barrier: bool) -> Result<Closing, KeepError> {
        let mut closed = Vec::new();
        while let Some(first) = self.panes.first_entry() {
            let start = EventTime(*first.key());
            let end = EventTime(self.window.span(start.0).1);
            if end.plus(self.allowed) > watermark {
                break;
            }
            let open = first.remove();
            if open.given.is_due(watermark, true) {
                let rows = open.pane.close().map_err(|source| Fault::from(source).at(start))?;
                closed.push(Closed::of_one(start, end, rows));
            }
        }
        if self.revises {
            closed.extend(self.give_early(watermark)?);
        }
        Ok(closed.into())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let mut changed = Vec::new();
        for (&start, open) in &mut self.panes {
            let pane = EventTime(start);
            let frozen = open.pane.freeze().map_err(|source| Fault::from(source).at(pane))?;
            changed.extend(frozen.map(|frozen| Changed::of(pane, frozen)));
        }
        Ok(changed)
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        let published = self.revises && EventTime(self.window.span(pane.0).1) <= self.published_below;
        let published_below = self.published_below;
        let restored = self.open_at(pane.0).and_then(|open| {
            // Whether it has changed since it was published isn't kept: it is given again, at the latest in the end.
            open.given.at = published.then_some(published_below);
            open.pane.merge(rows)
        });
        restored.map_err(|source| Fault::from(source).at(pane))
    }

    fn keys_of_state(&self) -> Range<usize> {
        0..self.inputs.aggregation().keys.fields().len()
    }

    fn open(&self) -> OpenWindows {
        let mut open = OpenWindows { windows: self.panes.len(), ..OpenWindows::default() };
        for (&start, open_window) in &self.panes {
            let bytes = open_window.pane.bytes();
            open.bytes += bytes;
            if open.largest.is_none_or(|(_, most)| bytes > most) {
                open.largest = Some((EventTime(start), bytes));
            }
        }
        open
    }
}
