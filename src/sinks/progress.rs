//! How far a history is complete, as its table properties say.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::event::{EventTime, Micros};

/// Property that holds a [`HistoryProgress`] as JSON.
const PROPERTY: &str = "kappa.history_progress";

/// How far a stream is archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryProgress {
    /// The archiver's watermark, by the bound of its own declaration; idle partitions are left out of it.
    pub watermark: EventTime,
    /// For each partition, its greatest event time so far, with WHEN of marker records.
    pub seen: BTreeMap<i32, Option<EventTime>>,
    /// Windows that start at or after it have all their records in it; `None`: it was begun in the middle of the log, and
    /// nothing tells.
    #[serde(default)]
    pub whole_from: Option<EventTime>,
}

impl HistoryProgress {
    /// As table properties.
    pub fn properties(&self) -> BTreeMap<String, String> {
        let text = serde_json::to_string(self).expect("maps with integer keys always become JSON");
        BTreeMap::from([(PROPERTY.to_owned(), text)])
    }

    /// From a table's properties; `None` if the table was never archived to.
    pub fn parse(properties: &HashMap<String, String>) -> Option<Result<HistoryProgress, serde_json::Error>> {
        properties.get(PROPERTY).map(|text| serde_json::from_str(text))
    }

    /// The watermark for a job with another bound. Partitions that the archiver's own watermark has left behind, as they
    /// were idle, don't hold this one back either; their numbers come second.
    pub fn watermark_for(&self, archived_bound: Micros, bound: Micros) -> (EventTime, Vec<i32>) {
        self.watermark_by(archived_bound, bound, |_, seen| Some(seen))
    }

    /// As [`HistoryProgress::watermark_for`], for a job by which partitions have another greatest event time: `greatest` is
    /// asked with a partition and the archiver's own; `None`: too little to be complete for anything.
    pub fn watermark_by(
        &self,
        archived_bound: Micros,
        bound: Micros,
        greatest: impl Fn(i32, EventTime) -> Option<EventTime>,
    ) -> (EventTime, Vec<i32>) {
        if self.watermark == EventTime::MIN {
            return (EventTime::MIN, Vec::new());
        }
        let behind = |seen: &Option<EventTime>| seen.is_none_or(|seen| seen.minus(archived_bound) < self.watermark);
        let idle = self.seen.iter().filter(|(_, seen)| behind(seen)).map(|(&partition, _)| partition).collect();
        let active = self.seen.iter().filter(|(_, seen)| !behind(seen));
        let active = active.filter_map(|(&partition, seen)| seen.map(|seen| greatest(partition, seen)));
        let complete = active.map(|greatest| greatest.map_or(EventTime::MIN, |greatest| greatest.minus(bound)));
        (complete.min().unwrap_or(EventTime::MIN), idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_partitions_do_not_hold_back_another_bound_either() {
        let progress = HistoryProgress {
            watermark: EventTime(90),
            seen: BTreeMap::from([
                (0, Some(EventTime(100))),
                (1, Some(EventTime(50))),
                (2, None),
                (3, Some(EventTime(120))),
            ]),
            whole_from: Some(EventTime::MIN),
        };
        assert_eq!(progress.watermark_for(Micros(10), Micros(10)), (EventTime(90), vec![1, 2]));
        assert_eq!(progress.watermark_for(Micros(10), Micros(30)).0, EventTime(70));
        let properties: HashMap<String, String> = progress.properties().into_iter().collect();
        assert_eq!(HistoryProgress::parse(&properties).map(|parsed| parsed.ok()), Some(Some(progress)));
    }
}
