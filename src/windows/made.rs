//! Windows that the data makes, once they are over: unlike those of fixed length, each row has bounds of its own.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::fed::Fed;
use super::held::FrozenPart;
use super::pane::PaneError;
use super::split::Split;
use crate::event::{EventTime, Micros, TIMESTAMP_ZONE};

/// How far time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Windows that end at or before it are over.
    pub over: EventTime,
    /// No record before it comes any more. The same, or earlier: then late records may still change windows that are over.
    pub settled: EventTime,
}

/// That windows are given before late records have come, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revised {
    /// How long late records may change windows that are over.
    pub allowed: Micros,
    /// Windows of the restored state that end behind it are shown no more: they are given as if they never were.
    pub published_below: EventTime,
}

/// Windows on their way out.
#[derive(Debug, Default)]
pub struct Settled {
    /// Those that are over, and new or changed.
    pub given: Vec<MadeWindows>,
    /// Those that were given before and are given anew, or are no windows any more: the keys that tell them apart.
    pub replaced: Option<MadeWindows>,
}

/// Windows of one kind that are made from records in panes.
///
/// Invariant: which windows there are, and what they hold, is a function of the records alone, however often it was asked
/// what is over, and however what is held went through checkpoints.
pub trait Making {
    /// Which rows of a batch belong to which pane, by their times.
    fn split(&self, times: &[i64]) -> Split;

    /// Adds rows of one pane ([`Making::split`]), with their times.
    fn add(&mut self, pane: i64, times: &Int64Array, fed: Fed) -> Result<(), PaneError>;

    /// The windows that are over. They are given once if no record can change them any more; else again, at most once in
    /// [`super::REVISION_INTERVAL`], when records have changed them.
    fn settle(&mut self, at: Reached) -> Result<Settled, PaneError>;

    /// The earliest time at which a window that is open, or opens later on records from `settled` on, can begin; `None` where
    /// the settled time tells as much.
    fn opens_from(&self, settled: EventTime) -> Option<EventTime>;

    /// What changed since the last call.
    fn freeze(&mut self) -> Result<Vec<FrozenPart>, PaneError>;

    /// Takes rows that [`Making::freeze`] gave, as if they came now.
    fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError>;

    /// Whether nothing is held.
    fn is_empty(&self) -> bool;

    /// Memory of what is held, by the time from which on it holds records.
    fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)>;
}

/// Why a count window closed: its `window_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It had its n records.
    Full,
    /// Its time was over before.
    Timeout,
}

impl Reason {
    /// As it stands in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Full => "full",
            Reason::Timeout => "timeout",
        }
    }
}

/// Bounds of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// `window_start`, microseconds.
    pub start: i64,
    /// `window_end` (exclusive), microseconds.
    pub end: i64,
    /// `window_reason`, of count windows.
    pub reason: Option<Reason>,
    /// False: behind a start in mid-log it isn't known whether this is a window, or all of one.
    pub whole: bool,
}

/// Rows of windows that are over: for each row its window, its keys and its aggregates.
#[derive(Clone, Debug)]
pub struct MadeWindows {
    windows: Vec<Made>,
    rows: RecordBatch,
}

impl MadeWindows {
    /// # Panics
    /// When the columns aren't those of the schema, or not as long as there are windows.
    pub(super) fn new(windows: Vec<Made>, schema: &SchemaRef, columns: Vec<ArrayRef>) -> MadeWindows {
        let options = RecordBatchOptions::new().with_row_count(Some(windows.len()));
        let rows = RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options);
        MadeWindows { windows, rows: rows.expect("accumulators emit what their return fields say") }
    }

    /// The window of each row.
    pub fn windows(&self) -> &[Made] {
        &self.windows
    }

    /// Keys and aggregates.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The rows whose windows are wanted.
    #[must_use]
    pub fn only(self, wanted: impl Fn(&Made) -> bool) -> MadeWindows {
        let mask: BooleanArray = self.windows.iter().map(|window| Some(wanted(window))).collect();
        if mask.true_count() == self.windows.len() {
            return self;
        }
        let rows = filter_record_batch(&self.rows, &mask).expect("the mask is as long as the rows");
        let windows = self.windows.into_iter().filter(|window| wanted(window)).collect();
        MadeWindows { windows, rows }
    }

    /// The window columns: [`super::WINDOW_COLUMNS`], then the reason, for count windows.
    pub fn window_columns(&self, with_reason: bool) -> Vec<ArrayRef> {
        let instants = |of: fn(&Made) -> i64| -> ArrayRef {
            let values = TimestampMicrosecondArray::from_iter_values(self.windows.iter().map(of));
            Arc::new(values.with_timezone(TIMESTAMP_ZONE))
        };
        let mut columns = vec![
            instants(|window| window.start),
            instants(|window| window.end),
            instants(|window| window.end.saturating_sub(1)),
        ];
        if with_reason {
            let reasons = self.windows.iter().map(|window| window.reason.map(Reason::as_str));
            columns.push(Arc::new(reasons.collect::<StringArray>()));
        }
        columns
    }

    /// The latest `window_end`, if there is a row.
    pub fn latest_end(&self) -> Option<EventTime> {
        self.windows.iter().map(|window| EventTime(window.end)).max()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};

    use super::*;

    /// [1, 5) of 10, [2, 9) of 20 and [3, 7) of 30.
    fn made() -> MadeWindows {
        let window = |start, end, reason| Made { start, end, reason: Some(reason), whole: true };
        let windows = vec![window(1, 5, Reason::Full), window(2, 9, Reason::Timeout), window(3, 7, Reason::Full)];
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        MadeWindows::new(windows, &schema, vec![Arc::new(Int64Array::from(vec![10, 20, 30]))])
    }

    fn numbers(made: &MadeWindows) -> Vec<i64> {
        made.rows().column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_stay_beside_their_windows() {
        let some = made().only(|window| window.start != 2);
        assert_eq!((numbers(&some), some.windows().len(), some.windows()[1].start), (vec![10, 30], 2, 3));
        assert_eq!(numbers(&made().only(|_| true)), [10, 20, 30]);
        let none = made().only(|_| false);
        assert_eq!((numbers(&none).len(), none.windows().len(), none.latest_end()), (0, 0, None));
        assert_eq!(made().latest_end(), Some(EventTime(9)));
    }

    #[test]
    fn window_columns_are_start_end_and_the_last_microsecond() {
        let columns = made().window_columns(true);
        let instants = |column: usize| columns[column].as_primitive::<TimestampMicrosecondType>().values().to_vec();
        assert_eq!([instants(0), instants(1), instants(2)], [[1, 2, 3], [5, 9, 7], [4, 8, 6]]);
        let reasons: Vec<_> = columns[3].as_string::<i32>().iter().flatten().collect();
        assert_eq!(reasons, ["full", "timeout", "full"]);
        assert_eq!(made().window_columns(false).len(), 3);
    }
}
