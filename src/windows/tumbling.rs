//! Tumbling windows: `[offset + n * size, offset + (n + 1) * size)` for every whole n.

use super::Adjacent;
use crate::event::{EventTime, Micros};

/// Adjacent windows of one size; a record falls in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    /// Length of a window; positive.
    pub size: Micros,
    /// Shift of the grid against the Unix epoch, `0 <= offset < size`.
    pub offset: Micros,
}

impl Tumbling {
    /// Start of the window that holds `time`.
    pub fn start(&self, time: EventTime) -> EventTime {
        let since = time.0 - self.offset.0;
        EventTime(time.0 - since.rem_euclid(self.size.0))
    }

    /// The least window start that is not before `time`.
    pub fn start_at_or_after(&self, time: EventTime) -> EventTime {
        let start = self.start(time);
        if start == time { start } else { self.end(start) }
    }

    /// End (exclusive) of the window that begins at `start`.
    pub fn end(&self, start: EventTime) -> EventTime {
        start.plus(self.size)
    }
}

impl Adjacent for Tumbling {
    fn span(&self, time: i64) -> (i64, i64) {
        let start = self.start(EventTime(time));
        (start.0, self.end(start).0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
    const YEARS: (i64, i64) = (-62_135_596_800_000_000, 253_402_300_799_999_999);

    fn minutes(offset: i64) -> Tumbling {
        Tumbling { size: Micros::from_seconds(60), offset: Micros(offset) }
    }

    fn starts(window: Tumbling, times: &[i64]) -> Vec<i64> {
        let (starts, ends) = window.spans(times);
        assert!(starts.iter().zip(&ends).all(|(start, end)| end - start == window.size.0));
        starts
    }

    #[test]
    fn windows_are_half_open_and_aligned_to_the_epoch() {
        let window = minutes(0);
        assert_eq!(starts(window, &[0, 59_999_999, 60_000_000, -1]), [0, 0, 60_000_000, -60_000_000]);
        assert_eq!(window.end(EventTime(-60_000_000)), EventTime(0));
    }

    #[test]
    fn an_offset_shifts_the_grid_on_both_sides_of_the_epoch() {
        let window = minutes(1_000_000);
        let starts = starts(window, &[999_999, 1_000_000, -59_000_000, -59_000_001]);
        assert_eq!(starts, [-59_000_000, 1_000_000, -59_000_000, -119_000_000]);
    }

    #[test]
    fn the_first_and_the_last_year_have_windows() {
        let window = minutes(59_999_999);
        for time in [YEARS.0, YEARS.1] {
            let start = window.start(EventTime(time));
            assert!(start.0 <= time && time < window.end(start).0);
        }
    }

    proptest! {
        #[test]
        fn every_row_is_in_the_window_that_holds_its_time(
            times in prop::collection::vec(prop_oneof![YEARS.0..=YEARS.1, -300i64..300], 0..200),
            (size, offset) in prop_oneof![1i64..100, 1i64..1_000_000_000_000_000]
                .prop_flat_map(|size| (Just(size), 0..size)),
        ) {
            let window = Tumbling { size: Micros(size), offset: Micros(offset) };
            let starts = starts(window, &times);
            for (&time, &start) in times.iter().zip(&starts) {
                prop_assert_eq!(EventTime(start), window.start(EventTime(time)));
                prop_assert!(start <= time && time - start < size);
                prop_assert_eq!((i128::from(start) - i128::from(offset)).rem_euclid(i128::from(size)), 0);
            }
        }
    }
}
