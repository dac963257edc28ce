//! Lateness of records for windows with a fixed end: late iff `end + allowed <= seen - bound`, null `seen` never.
//! A row-local rule, so history may be read in any order and still gives the live verdicts.

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;

use crate::event::{EventTime, Micros};

/// What became of each record of a batch, for one INSERT.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Late by its own partition.
    pub late: BooleanBuffer,
    /// In time by its own partition, but its window is closed already.
    pub behind: BooleanBuffer,
}

impl Verdicts {
    /// Whether no record of the batch is late in either way: the common case.
    pub fn all_in_time(&self) -> bool {
        self.late.count_set_bits() == 0 && self.behind.count_set_bits() == 0
    }
}

/// For each record, the time through which windows end that it is late for; [`i64::MIN`]: none.
pub fn late_through(seen: &TimestampMicrosecondArray, bound: Micros, allowed: Micros) -> Vec<i64> {
    let slack = bound.0.saturating_add(allowed.0);
    let through = |(row, seen): (usize, &i64)| (row, seen.saturating_sub(slack));
    let all = seen.values().iter().enumerate().map(through);
    match seen.nulls() {
        None => all.map(|(_, through)| through).collect(),
        Some(nulls) => all.map(|(row, through)| if nulls.is_valid(row) { through } else { i64::MIN }).collect(),
    }
}

/// Judges each record for the window that ends at `ends[row]`.
///
/// `closed_below` is the job's watermark when the batch was handed over: windows that end at or before it are closed.
pub fn late_by_end(
    ends: &[i64],
    seen: &TimestampMicrosecondArray,
    bound: Micros,
    allowed: Micros,
    closed_below: EventTime,
) -> Verdicts {
    let slack = bound.0.saturating_add(allowed.0);
    let seen_values = seen.values();
    let is_late = |row: usize| ends[row].saturating_add(slack) <= seen_values[row];
    let late = match seen.nulls() {
        None => BooleanBuffer::collect_bool(ends.len(), is_late),
        Some(nulls) => BooleanBuffer::collect_bool(ends.len(), |row| nulls.is_valid(row) && is_late(row)),
    };
    let closed = BooleanBuffer::collect_bool(ends.len(), |row| {
        closed_below != EventTime::MIN && ends[row].saturating_add(allowed.0) <= closed_below.0
    });
    let behind = &closed & &!&late;
    Verdicts { late, behind }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Micros = Micros(3);
    const ALLOWED: Micros = Micros(10);

    fn rows(buffer: &BooleanBuffer) -> Vec<usize> {
        buffer.set_indices().collect()
    }

    #[test]
    fn a_record_is_late_when_the_end_and_what_is_allowed_are_at_or_below_its_watermark() {
        // W(r) = seen - 3; the window that ends at 100 takes records until it is 110.
        let seen = TimestampMicrosecondArray::from(vec![112, 113, 114]);
        let verdicts = late_by_end(&[100; 3], &seen, BOUND, ALLOWED, EventTime::MIN);
        assert_eq!((rows(&verdicts.late), rows(&verdicts.behind)), (vec![1, 2], vec![]));
        assert!(!verdicts.all_in_time());
        assert_eq!(late_through(&seen, BOUND, ALLOWED), [99, 100, 101]);
    }

    #[test]
    fn the_first_record_of_a_partition_is_never_late() {
        // What stands behind a null is not looked at.
        let seen = TimestampMicrosecondArray::new(vec![500, 500].into(), Some(vec![false, true].into()));
        let verdicts = late_by_end(&[100; 2], &seen, BOUND, ALLOWED, EventTime::MIN);
        assert_eq!(rows(&verdicts.late), [1]);
        assert_eq!(late_through(&seen, BOUND, ALLOWED), [i64::MIN, 487]);
    }

    #[test]
    fn a_record_in_time_is_behind_when_the_job_has_closed_its_window_for_good() {
        let seen = TimestampMicrosecondArray::from(vec![0, 0, 0, 500]);
        let closed_at = |watermark| {
            let verdicts = late_by_end(&[100, 101, 102, 100], &seen, BOUND, ALLOWED, EventTime(watermark));
            assert_eq!(rows(&verdicts.late), [3], "what is late by its own partition is late, whatever the job says");
            rows(&verdicts.behind)
        };
        assert!(closed_at(109).is_empty());
        assert_eq!(closed_at(110), [0]);
        assert_eq!(closed_at(111), [0, 1]);
    }

    #[test]
    fn before_the_job_has_a_watermark_nothing_is_closed() {
        let seen = TimestampMicrosecondArray::from(vec![None]);
        let verdicts = late_by_end(&[i64::MIN], &seen, BOUND, Micros(0), EventTime::MIN);
        assert!(verdicts.all_in_time());
        let verdicts = late_by_end(&[5], &seen, BOUND, Micros(0), EventTime(5));
        assert!(!verdicts.all_in_time(), "behind is not in time either");
    }
}
