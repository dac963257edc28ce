//! Windows that overlap, and the panes that they share, so that the cost of a record doesn't grow with the number of its
//! windows: a record goes into one pane, and a window is put together from panes when it closes.
//!
//! Invariants: no edge of a window lies inside a pane, so a window holds a pane whole or not at all. Windows are told by
//! their ends, which are unique. Those that hold a pane are a [`Run`]: a record that is late for some of them is late
//! for the first ones, as lateness goes by the end.

mod merging;
mod pane;
mod prefix;
mod stacks;

pub use merging::{Bounds, Merging};
pub use pane::{FROM, SharedPane};
pub use prefix::RunningPrefix;
pub use stacks::TwoStacks;

/// Windows of one kind that share panes. All instants are microseconds since the Unix epoch.
pub trait SharesPanes: Copy {
    /// What is derived from panes to close windows quickly.
    type Merged: Merging;

    /// Start and end of the pane that holds `time`.
    fn pane(&self, time: i64) -> (i64, i64);

    /// The windows that hold the pane which starts at `pane`.
    fn windows_of(&self, pane: i64) -> Run;

    /// Start of the window that ends at `end`.
    fn start_of(&self, end: i64) -> i64;

    /// Mark of the window that ends at `end` ([`crate::windows::PublishRange`]).
    fn mark_of(&self, end: i64) -> i64;

    /// The instant by which the late table names the window that ends at `end`: its start, where that tells it.
    fn name_of(&self, end: i64) -> i64;
}

/// Windows in the order of their ends, which are evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// End of the first.
    pub first_end: i64,
    /// End of the last; before the first: there are none.
    pub last_end: i64,
    /// From one end to the next; positive.
    pub spacing: i64,
}

impl Run {
    /// How many there are.
    pub fn count(&self) -> i64 {
        if self.last_end < self.first_end { 0 } else { (self.last_end - self.first_end) / self.spacing + 1 }
    }

    /// How many of them end at or before `time`.
    pub fn count_through(&self, time: i64) -> i64 {
        if time < self.first_end {
            return 0;
        }
        Run { last_end: self.last_end.min(time), ..*self }.count()
    }

    /// End of the first that ends after `time`.
    pub fn first_after(&self, time: i64) -> Option<i64> {
        let end = self.end(self.count_through(time));
        (end <= self.last_end).then_some(end)
    }

    /// End of the window with `before` others before it.
    pub fn end(&self, before: i64) -> i64 {
        self.first_end + before * self.spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_its_windows() {
        let run = Run { first_end: 5, last_end: 25, spacing: 10 };
        assert_eq!((run.count(), run.end(0), run.end(2)), (3, 5, 25));
        assert_eq!([i64::MIN, 4, 5, 14, 15, 24, 25, 99].map(|time| run.count_through(time)), [0, 0, 1, 1, 2, 2, 3, 3]);
        let after = [i64::MIN, 4, 5, 14, 15, 24].map(|time| run.first_after(time));
        assert_eq!(after, [Some(5), Some(5), Some(15), Some(15), Some(25), Some(25)]);
        assert_eq!([25, 26, 99].map(|time| run.first_after(time)), [None; 3]);
    }

    #[test]
    fn a_run_that_ends_before_its_first_window_has_none() {
        let run = Run { first_end: 15, last_end: 5, spacing: 10 };
        assert_eq!((run.count(), run.count_through(99)), (0, 0));
        assert_eq!((run.first_after(0), run.first_after(99)), (None, None));
    }
}
