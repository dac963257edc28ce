//! Windows that share panes (HOP, CUMULATE): rows go into panes, and a window is put together when it closes.
//!
//! Where late records revise windows, a window is put together when the watermark has passed its end, and again while records
//! may still reach its panes. What was merged on the way is forgotten when a row comes to a pane that it holds.
//!
//! Invariants: windows are over in the order of their ends, each once, also across a restart; a row never reaches a pane's
//! part that a window has taken which is closed for good; a pane is gone when its last window is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{Changed, Closed, Closing, Fault, Inputs, Keep, KeepError, Published};
use crate::engine::epoch::OpenWindows;
use crate::engine::given::Given;
use crate::engine::prepare::{FROM_ALL, FROM_COLUMN, PANE_COLUMN};
use crate::event::{EventTime, Micros};
use crate::job::Insert;
use crate::windows::pane::PaneError;
use crate::windows::shared::{Bounds, Merging, SharedPane, SharesPanes};
use crate::windows::{PublishRange, Split, split};

/// The panes of open windows, by start.
pub(super) struct OverlappingWindows<W: SharesPanes> {
    window: W,
    allowed: Micros,
    /// Whether windows are given before their lateness ends.
    revises: bool,
    publish: PublishRange,
    inputs: Inputs,
    panes: BTreeMap<i64, SharedPane>,
    merged: W::Merged,
    /// Whether rows have come to panes that are merged.
    is_stale: bool,
    /// End of the last window that was over when it was asked for.
    over_through: i64,
    /// Records reach no window that ends at or before it.
    closed_through: i64,
    /// Windows that are over, but that records may still reach, by end.
    revisable: BTreeMap<i64, Given>,
}

impl<W: SharesPanes> OverlappingWindows<W> {
    /// Goes on where windows are closed and published as `published` says.
    pub(super) fn new(window: W, insert: &Insert, inputs: Inputs, published: Published) -> OverlappingWindows<W> {
        let (allowed, revises) = (insert.allowed, insert.revises());
        let closed_through = published.watermark.minus(allowed).0;
        OverlappingWindows {
            window,
            allowed,
            revises,
            publish: published.range,
            inputs,
            panes: BTreeMap::new(),
            merged: W::Merged::default(),
            is_stale: false,
            over_through: if revises { published.published_below.0 } else { closed_through },
            closed_through,
            revisable: BTreeMap::new(),
        }
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
        self.revise_from(start, first_end, Given::default());
        let failed = |fault: Fault| fault.at(EventTime(start));
        self.pane(start).map_err(|source| failed(source.into()))?;
        let pane = self.panes.get_mut(&start).expect("it was just there");
        let part = pane.part(from).map_err(|source| failed(source.into()))?;
        self.inputs.update(part, rows).map_err(failed)
    }

    /// Notes that windows of a pane have changed that are over: those from the one on that ends at `first_end`. Of new ones
    /// `given` is noted.
    fn revise_from(&mut self, pane: i64, first_end: i64, given: Given) {
        if first_end > self.over_through {
            return;
        }
        self.is_stale = true;
        let run = self.window.windows_of(pane);
        let ends = (0..).map(|later| first_end + later * run.spacing);
        for end in ends.take_while(|&end| end <= self.over_through.min(run.last_end)) {
            if self.publish.contains(self.window.mark_of(end)) {
                self.revisable.entry(end).or_insert(given).changed = true;
            }
        }
    }

    /// End of the first window that isn't over yet.
    fn next_end(&self) -> Option<i64> {
        self.panes.keys().find_map(|&pane| self.window.windows_of(pane).first_after(self.over_through))
    }

    fn evaluate(&mut self, end: i64) -> Result<Closed, KeepError> {
        let start = self.window.start_of(end);
        let rows = self.merged.evaluate(self.inputs.aggregation(), &mut self.panes, Bounds { start, end });
        let rows = rows.map_err(|source| Fault::from(source).at(EventTime(start)))?;
        Ok(Closed::of_one(EventTime(start), EventTime(end), rows))
    }

    /// The windows that were over before, and that have changed since they were given, as far as it is time.
    fn give_again(&mut self, watermark: EventTime) -> Result<Vec<Closed>, KeepError> {
        let is_final = |end: i64| EventTime(end).plus(self.allowed) <= watermark;
        let due = self.revisable.iter().filter(|(end, given)| given.is_due(watermark, is_final(**end)));
        let due: Vec<i64> = due.map(|(&end, _)| end).collect();
        if self.is_stale || !due.is_empty() {
            // Merging goes from one end to the next, and these lie before.
            self.merged = W::Merged::default();
            self.is_stale = false;
        }
        let mut again = Vec::with_capacity(due.len());
        for end in due {
            again.push(self.evaluate(end)?);
            self.revisable.insert(end, Given { at: Some(watermark), changed: false });
        }
        Ok(again)
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

    fn close(&mut self, watermark: EventTime, _barrier: bool) -> Result<Closing, KeepError> {
        let mut closed = if self.revises { self.give_again(watermark)? } else { Vec::new() };
        let limit = watermark.minus(self.allowed);
        let over = if self.revises { watermark } else { limit };
        while let Some(end) = self.next_end().filter(|&end| end <= over.0) {
            if self.publish.contains(self.window.mark_of(end)) {
                let window = self.evaluate(end)?;
                if window.rows.num_rows() > 0 {
                    closed.push(window);
                    if self.revises {
                        self.revisable.insert(end, Given { at: Some(watermark), changed: false });
                    }
                }
            }
            self.over_through = end;
            // Not further yet: later windows may hold the same panes.
            self.closed_through = self.closed_through.max(end.min(limit.0));
            self.drop_closed_panes();
        }
        self.closed_through = limit.0;
        self.drop_closed_panes();
        self.revisable = self.revisable.split_off(&self.closed_through.saturating_add(1));
        Ok(closed.into())
    }

    fn freeze(&mut self) -> Result<Vec<Changed>, KeepError> {
        let mut changed = Vec::new();
        for (&start, pane) in &mut self.panes {
            let start = EventTime(start);
            let frozen = pane.freeze().map_err(|source| Fault::from(source).at(start))?;
            changed.extend(frozen.map(|frozen| Changed::of(start, frozen)));
        }
        Ok(changed)
    }

    fn restore(&mut self, pane: EventTime, rows: &RecordBatch) -> Result<(), KeepError> {
        // Whether its windows have changed since they were given isn't kept: they are given again, at the latest in the end.
        let first = self.window.windows_of(pane.0).first_after(self.closed_through);
        if let Some(first) = first.filter(|_| self.revises) {
            self.revise_from(pane.0, first, Given { at: Some(EventTime(self.over_through)), changed: true });
        }
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
