//! Which windows rows fall in, taken in canonical order.

use arrow::record_batch::RecordBatch;

use super::Counting;
use super::layout::{COUNT, FIRST, LAST, WHOLE, bookkeeping};
use crate::event::EventTime;
use crate::windows::Reason;

/// A window on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnItsWay {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u64,
    pub(super) whole: bool,
    pub(super) reason: Option<Reason>,
    /// Whether it was open before, and no row has joined it.
    stood: bool,
    /// Whether the key has had another since.
    is_past: bool,
}

impl OnItsWay {
    /// Whether it is what it was before.
    pub(super) fn is_as_it_was(&self) -> bool {
        self.stood && self.reason.is_none()
    }

    fn is_open(&self) -> bool {
        self.count > 0 && self.reason.is_none()
    }
}

/// The windows of some keys, while rows are put into them.
pub(super) struct Course {
    window: Counting,
    complete_from: EventTime,
    pub(super) windows: Vec<OnItsWay>,
    /// The last window of each key.
    current: Vec<Option<usize>>,
}

impl Course {
    /// Of so many keys.
    pub(super) fn new(window: Counting, complete_from: EventTime, keys: usize) -> Course {
        Course { window, complete_from, windows: Vec::new(), current: vec![None; keys] }
    }

    /// Takes up the windows that were open, and gives the window of each of their rows.
    pub(super) fn take_up(&mut self, carried: &RecordBatch, key_of_open: &[usize]) -> Vec<usize> {
        let mut window_of_open = Vec::with_capacity(key_of_open.len());
        for (row, &key) in key_of_open.iter().enumerate() {
            let at = |column| bookkeeping(carried, column).value(row);
            let window = *self.current[key].get_or_insert_with(|| {
                self.windows.push(OnItsWay {
                    first: at(FIRST),
                    last: at(LAST),
                    count: at(COUNT).unsigned_abs(),
                    whole: at(WHOLE) != 0,
                    reason: None,
                    stood: true,
                    is_past: false,
                });
                self.windows.len() - 1
            });
            window_of_open.push(window);
        }
        window_of_open
    }

    /// Puts rows into windows, in their order: the window of each.
    pub(super) fn fill(&mut self, times: &[i64], key_of_row: &[usize]) -> Vec<usize> {
        let mut window_of_row = Vec::with_capacity(times.len());
        for (&time, &key) in times.iter().zip(key_of_row) {
            let joins = self.current[key].filter(|&index| {
                let window = &self.windows[index];
                window.is_open() && time < self.window.deadline(window.first)
            });
            let index = joins.unwrap_or_else(|| self.begin(key, time));
            let window = &mut self.windows[index];
            window.count += 1;
            window.stood = false;
            window.last = time;
            if window.count == self.window.size {
                window.reason = Some(Reason::Full);
            }
            window_of_row.push(index);
        }
        window_of_row
    }

    /// Begins a window of a key behind the one that it had.
    fn begin(&mut self, key: usize, time: i64) -> usize {
        let from = self.complete_from;
        let mut whole = from == EventTime::MIN || time >= self.window.deadline(from.0);
        if let Some(before) = self.current[key] {
            let before = &mut self.windows[before];
            whole = before.whole || (whole && time >= self.window.deadline(before.last));
            if before.is_open() {
                before.reason = Some(Reason::Timeout);
            }
            before.is_past = true;
        }
        self.windows.push(OnItsWay {
            first: time,
            last: time,
            count: 0,
            whole,
            reason: None,
            stood: false,
            is_past: false,
        });
        let index = self.windows.len() - 1;
        self.current[key] = Some(index);
        index
    }

    /// Closes the windows whose time is over.
    pub(super) fn time_out(&mut self, settled: EventTime) {
        for window in &mut self.windows {
            if window.is_open() && self.window.deadline(window.first) <= settled.0 {
                window.reason = Some(Reason::Timeout);
            }
        }
    }

    /// Whether a window stays, or its key must be remembered.
    pub(super) fn is_kept(&self, window: usize, settled: EventTime) -> bool {
        let window = &self.windows[window];
        // The next window of such a key is whole if it begins late enough, and that must be known then.
        let is_remembered = !window.whole && !window.is_past && self.window.deadline(window.last) > settled.0;
        window.is_open() || is_remembered
    }
}
