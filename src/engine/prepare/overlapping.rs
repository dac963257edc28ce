//! Windows with fixed ends that overlap: a record is late for those of its windows with `end + allowed <= seen - bound`,
//! which are the first ones, and goes to the others.
//!
//! Which windows a record is late for is a fact of the log, so a row of the late table says it of all its windows, also
//! of those that aren't published here; it is given if one of the windows that it is late for is published.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::{LateReason, LateRows, PANE_COLUMN, Placed, Placing, retain};
use crate::event::{EventTime, Micros, Stream, TIMESTAMP_ZONE};
use crate::time::late_through;
use crate::windows::PublishRange;
use crate::windows::shared::{Run, SharesPanes};

/// Column of prepared rows that holds the end of the first window that takes a row, behind [`PANE_COLUMN`].
pub(in crate::engine) const FROM_COLUMN: usize = PANE_COLUMN + 1;

/// In [`FROM_COLUMN`]: all windows of the pane take the row.
pub(in crate::engine) const FROM_ALL: i64 = i64::MIN;

/// Places records in windows that share panes.
pub(super) struct InOverlappingWindows<W> {
    pub(super) window: W,
    pub(super) stream: Arc<Stream>,
    pub(super) allowed: Micros,
    pub(super) publish: PublishRange,
}

/// The pane of each record, and the windows that hold it.
struct Panes {
    starts: Vec<i64>,
    windows: Vec<Run>,
}

/// What became of each record of a batch.
#[derive(Default)]
struct Fates {
    taken: Vec<bool>,
    /// Of those that are taken, [`FROM_COLUMN`].
    from: Vec<i64>,
    late: LateWindows,
    behind: LateWindows,
}

/// Rows for the late table with one reason.
#[derive(Default)]
struct LateWindows {
    rows: Vec<u32>,
    windows: Vec<i32>,
    windows_late: Vec<i32>,
    first_late: Vec<i64>,
    last_late: Vec<i64>,
    late_for_all: u64,
}

impl<W: SharesPanes> InOverlappingWindows<W> {
    fn panes(&self, records: &RecordBatch) -> Panes {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let mut panes = Panes { starts: Vec::with_capacity(times.len()), windows: Vec::with_capacity(times.len()) };
        let mut pane = (0, 0);
        let mut run = Run { first_end: 0, last_end: 0, spacing: 1 };
        for &time in times.values() {
            if time < pane.0 || time >= pane.1 {
                pane = self.window.pane(time);
                run = self.window.windows_of(pane.0);
            }
            panes.starts.push(pane.0);
            panes.windows.push(run);
        }
        panes
    }

    /// The pane of each record, if all of them are in time for all their windows, and each falls in one that is published:
    /// the common case.
    fn panes_that_take_all(
        &self,
        records: &RecordBatch,
        late_through: &[i64],
        closed_through: i64,
    ) -> Option<Vec<i64>> {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let mut starts = Vec::with_capacity(times.len());
        let mut pane = (0, 0);
        let mut first_end = 0;
        for (&time, &late_through) in times.values().iter().zip(late_through) {
            if time < pane.0 || time >= pane.1 {
                pane = self.window.pane(time);
                let run = self.window.windows_of(pane.0);
                if !self.is_published(&run, run.count()) {
                    return None;
                }
                first_end = run.first_end;
            }
            if first_end <= late_through.max(closed_through) {
                return None;
            }
            starts.push(pane.0);
        }
        Some(starts)
    }

    /// Whether one of the `count` first windows is published.
    fn is_published(&self, run: &Run, count: i64) -> bool {
        if count == 0 {
            return false;
        }
        let (mut low, mut high) = (0, count);
        // Marks rise with the ends: the first that isn't below the range decides.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.window.mark_of(run.end(middle)) < self.publish.from.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low < count && self.publish.contains(self.window.mark_of(run.end(low)))
    }

    fn fates(&self, panes: &Panes, late_through: &[i64], closed_through: i64) -> Fates {
        let mut fates = Fates { taken: vec![false; panes.starts.len()], ..Fates::default() };
        for (row, run) in panes.windows.iter().enumerate() {
            let count = run.count();
            if !self.is_published(run, count) {
                continue;
            }
            let by_log = run.count_through(late_through[row]);
            let refused = by_log.max(run.count_through(closed_through));
            if refused < count {
                fates.taken[row] = true;
                fates.from.push(if refused == 0 { FROM_ALL } else { run.end(refused) });
            }
            if self.is_published(run, refused) {
                let late = if refused > by_log { &mut fates.behind } else { &mut fates.late };
                self.add_late(late, row, run, refused);
            }
        }
        fates
    }

    fn add_late(&self, late: &mut LateWindows, row: usize, run: &Run, refused: i64) {
        let count = run.count();
        let number = |windows: i64| i32::try_from(windows).expect("planning admits only so many windows of a record");
        late.rows.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
        late.windows.push(number(count));
        late.windows_late.push(number(refused));
        late.first_late.push(self.window.name_of(run.first_end));
        late.last_late.push(self.window.name_of(run.end(refused - 1)));
        late.late_for_all += u64::from(refused == count);
    }
}

impl LateWindows {
    fn into_rows(self, records: &RecordBatch, reason: LateReason) -> Result<Option<LateRows>, DataFusionError> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let instants = |instants: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(instants).with_timezone(TIMESTAMP_ZONE))
        };
        let windows: [ArrayRef; 4] = [
            Arc::new(Int32Array::from(self.windows)),
            Arc::new(Int32Array::from(self.windows_late)),
            instants(self.first_late),
            instants(self.last_late),
        ];
        let records = take_record_batch(records, &UInt32Array::from(self.rows))?;
        Ok(Some(LateRows { records, reason, windows, late_for_all: self.late_for_all }))
    }
}

impl<W: SharesPanes> Placing for InOverlappingWindows<W> {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("pane", DataType::Int64, false), Field::new("from", DataType::Int64, false)]
    }

    fn place(&self, records: &RecordBatch, closed_below: EventTime) -> Result<Placed, DataFusionError> {
        let seen = records.column(self.stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        let late_through = late_through(seen, self.stream.bound, self.allowed);
        let closed_through = closed_below.minus(self.allowed).0;
        if let Some(starts) = self.panes_that_take_all(records, &late_through, closed_through) {
            let from = Int64Array::from_value(FROM_ALL, starts.len());
            let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(starts)), Arc::new(from)];
            return Ok(Placed { taken: records.clone(), columns, late: Vec::new() });
        }
        let panes = self.panes(records);
        let Fates { taken, from, late, behind } = self.fates(&panes, &late_through, closed_through);
        let starts: Vec<i64> =
            panes.starts.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(pane, _)| *pane).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(starts)), Arc::new(Int64Array::from(from))];
        let late =
            [late.into_rows(records, LateReason::Late)?, behind.into_rows(records, LateReason::BehindWatermark)?];
        let taken = retain(records, &BooleanBuffer::from(taken))?;
        Ok(Placed { taken, columns, late: late.into_iter().flatten().collect() })
    }

    fn failed(&self, record: &RecordBatch) -> Option<LateRows> {
        let run = self.panes(record).windows[0];
        let count = run.count();
        if !self.is_published(&run, count) {
            return None;
        }
        let mut late = LateWindows::default();
        self.add_late(&mut late, 0, &run, count);
        late.into_rows(record, LateReason::Expression).expect("a batch has its first row")
    }
}
