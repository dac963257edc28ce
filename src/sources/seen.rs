//! `seen`, found anew over a history: for declarations under which it isn't what the rows say.
//!
//! For each partition a flight of steps: the offsets of records that lie above all before them, with their event times.
//! Rows come in any order; what is kept doesn't depend on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::event::{EventTime, Stream, TIMESTAMP_ZONE};

/// Steps of all partitions at most: 16 bytes each, so half a GiB.
const STEPS_MAX: usize = 1 << 25;

/// More steps than fit into the memory that is set aside for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySteps;

/// What each partition had shown below each offset.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    partitions: BTreeMap<i32, Steps>,
}

#[derive(Clone, Debug, Default)]
struct Steps {
    /// Offset and event time: both rise, up to `rising`; behind that unsorted.
    steps: Vec<(i64, i64)>,
    rising: usize,
}

impl Steps {
    fn add(&mut self, offset: i64, time: i64) {
        // What is certainly no step is left out at once: most rows of a partition that was read to far ahead.
        let below = self.steps[..self.rising].partition_point(|step| step.0 <= offset);
        if below.checked_sub(1).is_none_or(|last| self.steps[last].1 < time) {
            self.steps.push((offset, time));
        }
        if self.steps.len() > 2 * self.rising + 65_536 {
            self.reduce();
        }
    }

    fn reduce(&mut self) {
        self.steps.sort_unstable();
        let mut greatest = None;
        self.steps.retain(|&(_, time)| {
            let rises = greatest.is_none_or(|greatest| greatest < time);
            if rises {
                greatest = Some(time);
            }
            rises
        });
        self.rising = self.steps.len();
    }

    fn below(&self, offset: i64) -> Option<i64> {
        let below = self.steps.partition_point(|step| step.0 < offset);
        below.checked_sub(1).map(|last| self.steps[last].1)
    }
}

impl Seen {
    /// Takes note of records, laid out as [`Stream::record_schema`], none of them rejected. Those that are no markers change
    /// nothing.
    pub fn add(&mut self, stream: &Stream, records: &RecordBatch) -> Result<(), TooManySteps> {
        let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>();
        let offsets = records.column(stream.offset_index()).as_primitive::<Int64Type>();
        let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let markers = crate::time::markers(stream, records);
        let counts = |row: usize| markers.as_ref().is_none_or(|markers| markers.value(row));
        let known = |row: usize| partitions.is_valid(row) && offsets.is_valid(row);
        for row in (0..records.num_rows()).filter(|&row| known(row) && counts(row)) {
            self.partitions.entry(partitions.value(row)).or_default().add(offsets.value(row), times.value(row));
        }
        self.check()
    }

    /// Takes over what another one has found, in other rows.
    pub(super) fn merge(&mut self, other: Seen) -> Result<(), TooManySteps> {
        for (partition, found) in other.partitions {
            let steps = self.partitions.entry(partition).or_default();
            found.steps.into_iter().for_each(|(offset, time)| steps.add(offset, time));
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), TooManySteps> {
        let held = |seen: &Seen| seen.partitions.values().map(|steps| steps.steps.len()).sum::<usize>();
        if held(self) <= STEPS_MAX {
            return Ok(());
        }
        self.finish();
        if held(self) <= STEPS_MAX { Ok(()) } else { Err(TooManySteps) }
    }

    /// All records are in: makes it ready to be asked.
    pub fn finish(&mut self) {
        self.partitions.values_mut().for_each(Steps::reduce);
    }

    /// The greatest event time of a partition at offsets below `offset`; `None`: there is none.
    pub fn below(&self, partition: i32, offset: i64) -> Option<EventTime> {
        self.partitions.get(&partition)?.below(offset).map(EventTime)
    }

    /// The greatest event time of a partition; `None`: it has no record that counts.
    pub fn greatest(&self, partition: i32) -> Option<EventTime> {
        self.partitions.get(&partition)?.steps.last().map(|step| EventTime(step.1))
    }

    /// The records with their `_seen` as found anew; null for those without a position.
    pub fn fill(&self, stream: &Stream, records: RecordBatch) -> RecordBatch {
        let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>();
        let offsets = records.column(stream.offset_index()).as_primitive::<Int64Type>();
        let seen = (0..records.num_rows()).map(|row| {
            let known = partitions.is_valid(row) && offsets.is_valid(row);
            known.then(|| self.below(partitions.value(row), offsets.value(row)))?.map(|time| time.0)
        });
        let seen: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(seen).with_timezone(TIMESTAMP_ZONE));
        let (schema, mut columns, _) = records.into_parts();
        columns[stream.seen_index()] = seen;
        RecordBatch::try_new(schema, columns).expect("the column keeps its type and length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_running_maximum_whatever_the_order_of_rows() {
        let times: Vec<i64> = (0..200_000).map(|index: i64| (index * 7_919) % 10_007 + index / 3).collect();
        let mut steps = Steps::default();
        // An order that jumps about: 200,000 and 77,773 have no common divisor.
        for index in 0..200_000_i64 {
            let offset = (index * 77_773) % 200_000;
            steps.add(offset, times[usize::try_from(offset).expect("small")]);
        }
        steps.reduce();
        let mut greatest = None;
        for (offset, &time) in (0..).zip(&times) {
            assert_eq!(steps.below(offset), greatest, "{offset}");
            greatest = greatest.max(Some(time));
        }
        assert!(steps.steps.len() < 100_000);
    }
}
