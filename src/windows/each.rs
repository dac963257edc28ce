//! No window: each record is a result of its own. As if it had a window of a microsecond, whose mark is its event time; but
//! nothing is late for it, so no watermark tells when all of a range have come. What is published therefore goes by the
//! places of records in their logs too.

use std::collections::BTreeMap;

use arrow::array::{Array, Int32Array, Int64Array};
use arrow::buffer::BooleanBuffer;
use serde::{Deserialize, Serialize};

use super::PublishRange;
use crate::event::{EventTime, ResumeOffset};

/// Which records of a [`PublishRange`] of event times an INSERT without a window doesn't publish, by their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// For a run that reads records again: those that are published already.
    pub published: Option<Published>,
    /// For whoever is not the only one: those that another publishes as they come.
    pub others: Option<Others>,
}

/// Records that a job has published before it was moved, and doesn't publish again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// By partition, the offset below which they stand; none of a partition that isn't named.
    pub below: BTreeMap<i32, ResumeOffset>,
    /// Those of this event time or later are published again.
    pub again_from: EventTime,
}

/// Records that another job publishes, or is to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// Its least event time.
    pub time: EventTime,
    /// By partition, its first offset; all records of a partition that isn't named.
    pub offsets: BTreeMap<i32, ResumeOffset>,
}

impl Published {
    fn holds(&self, time: i64, partition: i32, offset: i64) -> bool {
        time < self.again_from.0 && self.below.get(&partition).is_some_and(|end| offset < end.0)
    }
}

impl Others {
    fn holds(&self, time: i64, partition: i32, offset: i64) -> bool {
        self.time.0 <= time && self.offsets.get(&partition).is_none_or(|first| first.0 <= offset)
    }
}

impl Places {
    /// Whether places decide nothing.
    pub fn is_all(&self) -> bool {
        self.published.is_none() && self.others.is_none()
    }

    /// Which records of the range are to be published. Of records without a place, all.
    pub fn wanted(
        &self,
        range: &PublishRange,
        times: &[i64],
        (partitions, offsets): (&Int32Array, &Int64Array),
    ) -> BooleanBuffer {
        BooleanBuffer::collect_bool(times.len(), |row| {
            let time = times[row];
            if !range.contains(time) || partitions.is_null(row) || offsets.is_null(row) {
                return range.contains(time);
            }
            let (partition, offset) = (partitions.value(row), offsets.value(row));
            let is_published = self.published.as_ref().is_some_and(|before| before.holds(time, partition, offset));
            let is_others = self.others.as_ref().is_some_and(|others| others.holds(time, partition, offset));
            !is_published && !is_others
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(places: &Places, from: i64, records: &[(i64, i32, i64)]) -> Vec<usize> {
        let range = PublishRange::of_marks(EventTime(from), EventTime::MAX);
        let times: Vec<i64> = records.iter().map(|record| record.0).collect();
        let partitions = Int32Array::from_iter_values(records.iter().map(|record| record.1));
        let offsets = Int64Array::from_iter_values(records.iter().map(|record| record.2));
        places.wanted(&range, &times, (&partitions, &offsets)).set_indices().collect()
    }

    fn at(offsets: &[(i32, i64)]) -> BTreeMap<i32, ResumeOffset> {
        offsets.iter().map(|&(partition, offset)| (partition, ResumeOffset(offset))).collect()
    }

    /// Time, partition and offset.
    const RECORDS: [(i64, i32, i64); 6] = [(99, 0, 4), (100, 0, 5), (50, 0, 6), (20, 0, 7), (99, 1, 0), (100, 1, 1)];

    #[test]
    fn event_times_decide_where_nothing_else_does() {
        assert_eq!(wanted(&Places::default(), 100, &RECORDS), [1, 5]);
    }

    #[test]
    fn what_was_published_isnt_published_again_but_from_a_time_on() {
        let published = Some(Published { below: at(&[(0, 6)]), again_from: EventTime(100) });
        let places = Places { published, others: None };
        assert_eq!(wanted(&places, 30, &RECORDS), [1, 2, 4, 5], "stragglers and a partition that was added are new");
    }

    #[test]
    fn anothers_records_are_its_own_from_its_least_time_on() {
        let places = |time| Places { published: None, others: Some(Others { time, offsets: at(&[(0, 6)]) }) };
        assert_eq!(wanted(&places(EventTime::MIN), 0, &RECORDS), [0, 1], "it will publish all of partition 1");
        assert_eq!(wanted(&places(EventTime(60)), 0, &RECORDS), [0, 1, 2, 3], "and none before its time");
    }

    #[test]
    fn a_record_without_a_place_is_nobodys_but_the_ranges() {
        let published = Some(Published { below: at(&[(0, 6)]), again_from: EventTime(100) });
        let others = Some(Others { time: EventTime::MIN, offsets: at(&[]) });
        let places = Places { published, others };
        let range = PublishRange::of_marks(EventTime(10), EventTime(20));
        let partitions = Int32Array::from(vec![None, None, Some(0), Some(0), None]);
        let offsets = Int64Array::from(vec![None, Some(1), None, Some(1), None]);
        let wanted = places.wanted(&range, &[10, 15, 19, 15, 20], (&partitions, &offsets));
        assert_eq!(wanted.set_indices().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn either_place_decides() {
        let published = Some(Published { below: at(&[(0, 6)]), again_from: EventTime(100) });
        let others = Some(Others { time: EventTime(60), offsets: at(&[(0, 9)]) });
        assert!(Places::default().is_all());
        assert!(!Places { published: published.clone(), others: None }.is_all());
        assert!(!Places { published: None, others: others.clone() }.is_all());
        assert!(!Places { published, others }.is_all());
    }
}
