//! Tumbling windows: `[offset + n * size, offset + (n + 1) * size)` for every whole n.

use std::collections::HashMap;

use arrow::array::UInt32Array;
use arrow::buffer::ScalarBuffer;

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

    /// Start of the window of each time. Times within one window of the time before cost no division.
    pub fn starts(&self, times: &[i64]) -> Vec<i64> {
        let mut starts = Vec::with_capacity(times.len());
        let (mut start, mut end) = (0, 0);
        for &time in times {
            if time < start || time >= end {
                start = self.start(EventTime(time)).0;
                end = start + self.size.0;
            }
            starts.push(start);
        }
        starts
    }

    /// Which rows of a batch belong to which window.
    pub fn split(&self, times: &[i64]) -> Split {
        let (Some(&first), Some(&last)) = (times.iter().min(), times.iter().max()) else {
            return Split::Several(Vec::new());
        };
        let start = self.start(EventTime(first));
        if self.start(EventTime(last)) == start {
            return Split::One(start);
        }
        split_by_start(&self.starts(times))
    }
}

/// The rows of a batch, cut by window.
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// All rows are in the window that begins here; the common case, in which nothing is copied.
    One(EventTime),
    /// Start of each window with the indices of its rows, ascending; windows in order of time. Empty for no rows.
    Several(Vec<(EventTime, UInt32Array)>),
}

/// A counting sort: one list of indices for the batch, of which each window gets a slice.
fn split_by_start(starts: &[i64]) -> Split {
    let mut slots: HashMap<i64, u32> = HashMap::new();
    let mut counts: Vec<(i64, usize)> = Vec::new();
    let mut slot_of_row = Vec::with_capacity(starts.len());
    let mut previous: Option<(i64, u32)> = None;
    for &start in starts {
        let slot = match previous {
            Some((same, slot)) if same == start => slot,
            _ => *slots.entry(start).or_insert_with(|| {
                counts.push((start, 0));
                u32::try_from(counts.len() - 1).expect("a batch has fewer than 2^32 rows")
            }),
        };
        previous = Some((start, slot));
        counts[slot as usize].1 += 1;
        slot_of_row.push(slot);
    }
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_unstable_by_key(|&slot| counts[slot].0);
    let mut next = vec![0; counts.len()];
    let mut position = 0;
    for &slot in &order {
        next[slot] = position;
        position += counts[slot].1;
    }
    let mut indices = vec![0_u32; starts.len()];
    for (row, &slot) in (0_u32..).zip(&slot_of_row) {
        indices[next[slot as usize]] = row;
        next[slot as usize] += 1;
    }
    let indices = ScalarBuffer::from(indices);
    let slice = |slot: &usize| {
        let (start, count) = counts[*slot];
        (EventTime(start), UInt32Array::new(indices.slice(next[*slot] - count, count), None))
    };
    Split::Several(order.iter().map(slice).collect())
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

    #[test]
    fn windows_are_half_open_and_aligned_to_the_epoch() {
        let window = minutes(0);
        assert_eq!(window.starts(&[0, 59_999_999, 60_000_000, -1]), [0, 0, 60_000_000, -60_000_000]);
        assert_eq!(window.end(EventTime(-60_000_000)), EventTime(0));
    }

    #[test]
    fn an_offset_shifts_the_grid_on_both_sides_of_the_epoch() {
        let window = minutes(1_000_000);
        let starts = window.starts(&[999_999, 1_000_000, -59_000_000, -59_000_001]);
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

    #[test]
    fn a_batch_inside_one_window_is_not_copied() {
        assert_eq!(minutes(0).split(&[5, 3, 59_999_999]), Split::One(EventTime(0)));
        assert_eq!(minutes(0).split(&[]), Split::Several(Vec::new()));
    }

    #[test]
    fn a_batch_over_windows_is_cut_in_order_of_time_and_of_rows() {
        let split = minutes(0).split(&[60_000_000, -1, 61_000_000, 0, -2]);
        let expected = [(-60_000_000, vec![1, 4]), (0, vec![3]), (60_000_000, vec![0, 2])];
        let expected = expected.map(|(start, rows)| (EventTime(start), UInt32Array::from(rows)));
        assert_eq!(split, Split::Several(expected.to_vec()));
    }

    proptest! {
        #[test]
        fn every_row_is_in_the_window_that_holds_its_time(
            times in prop::collection::vec(prop_oneof![YEARS.0..=YEARS.1, -300i64..300], 0..200),
            (size, offset) in prop_oneof![1i64..100, 1i64..1_000_000_000_000_000]
                .prop_flat_map(|size| (Just(size), 0..size)),
        ) {
            let window = Tumbling { size: Micros(size), offset: Micros(offset) };
            let starts = window.starts(&times);
            for (&time, &start) in times.iter().zip(&starts) {
                prop_assert_eq!(EventTime(start), window.start(EventTime(time)));
                prop_assert!(start <= time && time - start < size);
                prop_assert_eq!((i128::from(start) - i128::from(offset)).rem_euclid(i128::from(size)), 0);
            }
            match window.split(&times) {
                Split::One(start) => prop_assert!(starts.iter().all(|&other| other == start.0)),
                Split::Several(parts) => {
                    let mut rows = 0;
                    for (start, indices) in &parts {
                        rows += indices.len();
                        prop_assert!(indices.values().is_sorted());
                        prop_assert!(indices.values().iter().all(|&row| starts[row as usize] == start.0));
                    }
                    prop_assert_eq!(rows, times.len());
                    prop_assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0));
                }
            }
        }
    }
}
