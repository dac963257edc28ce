//! Hopping windows: `[offset + n * slide, offset + n * slide + size)` for every whole n.
//!
//! They begin at multiples of the slide and end `size mod slide` behind multiples of it, so one slide holds two panes at
//! most, whatever size and slide have in common. With a slide above the size there are records in no window.

use super::shared::{Run, SharesPanes, TwoStacks};
use crate::event::{EventTime, Micros};

/// Windows of one size that begin at a fixed pace; a record falls in about size / slide of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping {
    /// From the start of a window to that of the next; positive.
    pub slide: Micros,
    /// Length of a window; positive.
    pub size: Micros,
    /// Shift of the starts against the Unix epoch, `0 <= offset < slide`.
    pub offset: Micros,
}

impl Hopping {
    /// The greatest start of a window that is not after `time`.
    pub fn start_at_or_before(&self, time: EventTime) -> EventTime {
        EventTime(self.floor(time.0))
    }

    /// The least start of a window that is not before `time`.
    pub fn start_at_or_after(&self, time: EventTime) -> EventTime {
        EventTime(self.ceil(time.0))
    }

    /// End (exclusive) of the window that begins at `start`.
    pub fn end(&self, start: EventTime) -> EventTime {
        start.plus(self.size)
    }

    /// The most windows that a record falls in.
    pub fn windows_of_a_record(&self) -> i64 {
        (self.size.0 - 1) / self.slide.0 + 1
    }

    fn floor(&self, time: i64) -> i64 {
        time - (time - self.offset.0).rem_euclid(self.slide.0)
    }

    fn ceil(&self, time: i64) -> i64 {
        let floor = self.floor(time);
        if floor == time { time } else { floor + self.slide.0 }
    }
}

impl SharesPanes for Hopping {
    type Merged = TwoStacks;

    fn pane(&self, time: i64) -> (i64, i64) {
        let start = self.floor(time);
        // Where windows end inside of a slide; at its beginning, if the slide divides the size.
        let cut = start + self.size.0 % self.slide.0;
        if time < cut { (start, cut) } else { (cut, start + self.slide.0) }
    }

    fn windows_of(&self, pane: i64) -> Run {
        let (_, pane_end) = self.pane(pane);
        let first_start = self.ceil(pane_end - self.size.0);
        let last_start = self.floor(pane);
        Run { first_end: first_start + self.size.0, last_end: last_start + self.size.0, spacing: self.slide.0 }
    }

    fn start_of(&self, end: i64) -> i64 {
        end - self.size.0
    }

    fn mark_of(&self, end: i64) -> i64 {
        self.start_of(end)
    }

    fn name_of(&self, end: i64) -> i64 {
        self.start_of(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hop(slide: i64, size: i64, offset: i64) -> Hopping {
        Hopping { slide: Micros(slide), size: Micros(size), offset: Micros(offset) }
    }

    #[test]
    fn a_slide_that_divides_the_size_is_a_pane() {
        let window = hop(5, 10, 0);
        assert_eq!(window.pane(7), (5, 10));
        assert_eq!(window.windows_of(5), Run { first_end: 10, last_end: 15, spacing: 5 });
        assert_eq!(window.windows_of(-5), Run { first_end: 0, last_end: 5, spacing: 5 });
    }

    #[test]
    fn another_size_cuts_each_slide_in_two() {
        let window = hop(7, 10, 0);
        assert_eq!((window.pane(0), window.pane(2), window.pane(3), window.pane(6)), ((0, 3), (0, 3), (3, 7), (3, 7)));
        // [-7, 3) and [0, 10) hold the first, [0, 10) alone the second.
        assert_eq!(window.windows_of(0), Run { first_end: 3, last_end: 10, spacing: 7 });
        assert_eq!(window.windows_of(3), Run { first_end: 10, last_end: 10, spacing: 7 });
    }

    #[test]
    fn between_windows_that_are_shorter_than_the_slide_there_is_none() {
        let window = hop(10, 4, 3);
        assert_eq!(window.windows_of(window.pane(6).0).count(), 1);
        assert_eq!(window.pane(7), (7, 13));
        assert_eq!(window.windows_of(7).count(), 0);
    }

    #[test]
    fn a_window_is_told_by_its_start() {
        let window = hop(5, 12, 3);
        assert_eq!((window.start_of(20), window.mark_of(20), window.name_of(20)), (8, 8, 8));
        // A slide that divides the size, one that doesn't, one above it.
        assert_eq!([hop(5, 10, 0), hop(5, 11, 0), hop(5, 4, 0)].map(|hop| hop.windows_of_a_record()), [2, 3, 1]);
    }

    proptest! {
        #[test]
        fn a_pane_lies_in_exactly_the_windows_that_hold_its_times(
            (slide, offset) in (1i64..40).prop_flat_map(|slide| (Just(slide), 0..slide)),
            size in 1i64..100,
            time in -200i64..200,
        ) {
            let window = hop(slide, size, offset);
            let (start, end) = window.pane(time);
            prop_assert!(start <= time && time < end);
            let run = window.windows_of(start);
            let found: Vec<i64> = (0..run.count()).map(|before| run.end(before)).collect();
            let holding: Vec<i64> = (-400..400)
                .filter(|start| (start - offset).rem_euclid(slide) == 0)
                .filter(|&start| start <= time && time < start + size)
                .map(|start| start + size)
                .collect();
            prop_assert_eq!(&found, &holding);
            for end in holding {
                prop_assert!(window.start_of(end) <= start, "a window's edge lies inside of a pane");
            }
            prop_assert!(run.count() <= window.windows_of_a_record());
        }
    }
}
