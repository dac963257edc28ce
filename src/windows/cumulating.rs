//! Cumulating windows: those that begin together grow by one step each, up to the size; then the next ones begin.

use super::shared::{Run, RunningPrefix, SharesPanes};
use crate::event::{EventTime, Micros};

/// `[start, start + n * step)` for n from 1 to size / step, where starts are multiples of the size plus the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cumulating {
    /// Length of the first window, and by how much each is longer than the one before; positive, divides `size`.
    pub step: Micros,
    /// Length of the last window; positive.
    pub size: Micros,
    /// Shift of the starts against the Unix epoch, `0 <= offset < size`.
    pub offset: Micros,
}

impl Cumulating {
    /// The greatest end of a window that is not after `time`.
    pub fn end_at_or_before(&self, time: EventTime) -> EventTime {
        EventTime(floor(time.0, self.step, self.offset))
    }

    /// The least end of a window that is not before `time`.
    pub fn end_at_or_after(&self, time: EventTime) -> EventTime {
        let end = self.end_at_or_before(time);
        if end == time { end } else { end.plus(self.step) }
    }

    /// End of the first window that starts at or after `time`.
    pub fn first_end_from(&self, time: EventTime) -> EventTime {
        let start = EventTime(floor(time.0, self.size, self.offset));
        if start == time { start.plus(self.step) } else { start.plus(self.size).plus(self.step) }
    }

    /// How many windows begin together, and the most that a record falls in.
    pub fn windows_of_a_record(&self) -> i64 {
        self.size.0 / self.step.0
    }
}

impl SharesPanes for Cumulating {
    type Merged = RunningPrefix;

    fn pane(&self, time: i64) -> (i64, i64) {
        // The step divides the size, so that its multiples hit every start.
        let start = floor(time, self.step, self.offset);
        (start, start + self.step.0)
    }

    fn windows_of(&self, pane: i64) -> Run {
        let (_, first_end) = self.pane(pane);
        let last_end = floor(pane, self.size, self.offset) + self.size.0;
        Run { first_end, last_end, spacing: self.step.0 }
    }

    fn start_of(&self, end: i64) -> i64 {
        floor(end - 1, self.size, self.offset)
    }

    fn mark_of(&self, end: i64) -> i64 {
        end - self.size.0
    }

    fn name_of(&self, end: i64) -> i64 {
        end
    }
}

fn floor(time: i64, period: Micros, offset: Micros) -> i64 {
    time - (time - offset.0).rem_euclid(period.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_begin_together_and_grow_by_the_step() {
        let window = Cumulating { step: Micros(2), size: Micros(6), offset: Micros(1) };
        assert_eq!(window.pane(4), (3, 5));
        let run = window.windows_of(3);
        assert_eq!(run, Run { first_end: 5, last_end: 7, spacing: 2 });
        assert_eq!((window.start_of(5), window.start_of(7), window.start_of(9)), (1, 1, 7));
        assert_eq!(window.end_at_or_before(EventTime(6)), EventTime(5));
        // Their starts don't tell them, so their ends do.
        assert_eq!((window.mark_of(9), window.name_of(9)), (3, 9));
        assert_eq!(window.windows_of_a_record(), 3);
    }

    proptest! {
        #[test]
        fn a_pane_lies_in_exactly_the_windows_that_hold_its_times(
            step in 1i64..20,
            (steps, shift) in (1i64..8).prop_flat_map(|steps| (Just(steps), 0..steps)),
            rest in 0i64..20,
            time in -200i64..200,
        ) {
            let (size, offset) = (step * steps, (step * shift + rest) % (step * steps));
            let window = Cumulating { step: Micros(step), size: Micros(size), offset: Micros(offset) };
            let (start, end) = window.pane(time);
            prop_assert!(start <= time && time < end);
            let run = window.windows_of(start);
            let found: Vec<(i64, i64)> =
                (0..run.count()).map(|before| (window.start_of(run.end(before)), run.end(before))).collect();
            let starts = (-400..400).filter(|start| (start - offset).rem_euclid(size) == 0);
            let windows = starts.flat_map(|start| (1..=steps).map(move |count| (start, start + count * step)));
            let mut holding: Vec<(i64, i64)> =
                windows.filter(|&(start, end)| start <= time && time < end).collect();
            holding.sort_by_key(|&(_, end)| end);
            prop_assert_eq!(found, holding);
        }
    }
}
