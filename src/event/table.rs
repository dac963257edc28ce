//! Names and partitionings of Iceberg tables.

use chrono::Datelike;
use serde::{Deserialize, Serialize};

use super::EventTime;

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

/// A table in the catalog: namespace and name, each without dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Namespace parts, outermost first; at least one.
    pub namespace: Vec<String>,
    /// Table name.
    pub name: String,
}

impl TableName {
    /// Reads `ns.table` (more parts: a nested namespace). `None` without a namespace or with an empty part.
    pub fn parse(text: &str) -> Option<TableName> {
        let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.len() < 2 || parts.iter().any(String::is_empty) {
            return None;
        }
        let name = parts.pop()?;
        Some(TableName { namespace: parts, name })
    }

    /// The same namespace, the name with `suffix` behind it, as in `raw.clicks_rejects`.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> TableName {
        TableName { namespace: self.namespace.clone(), name: format!("{}{suffix}", self.name) }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace.join("."), self.name)
    }
}

/// One field of a table's partitioning: an Iceberg transform of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionField {
    /// Column of the table.
    pub column: String,
    /// What is done to its value.
    pub transform: Transform,
}

/// Iceberg's partition transforms that a job may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Whole hours since the epoch, UTC.
    Hour,
    /// Whole days since the epoch, UTC.
    Day,
    /// Whole months since January 1970, UTC.
    Month,
    /// Text cut to a width, or integers rounded down to a multiple of it.
    Truncate(u32),
    /// A hash of the value modulo the number of buckets.
    Bucket(u32),
}

impl Transform {
    /// Whether the transform orders by time, so that ranges of its column are ranges of partitions.
    pub fn is_time(self) -> bool {
        matches!(self, Transform::Hour | Transform::Day | Transform::Month)
    }

    /// Start of the partition that holds `time`, for time transforms; the two ends stay.
    pub fn floor(self, time: EventTime) -> EventTime {
        if time == EventTime::MIN || time == EventTime::MAX {
            return time;
        }
        match self {
            Transform::Hour => EventTime(time.0 - time.0.rem_euclid(HOUR)),
            Transform::Month => month_of(time).map_or(time, start_of_month),
            // The others have no edges in time; a day is as good as any grid.
            _ => EventTime(time.0 - time.0.rem_euclid(24 * HOUR)),
        }
    }

    /// Start of the partition after the one that holds `time`, for time transforms.
    pub fn next_edge(self, time: EventTime) -> EventTime {
        let start = self.floor(time);
        match self {
            Transform::Hour => EventTime(start.0.saturating_add(HOUR)),
            Transform::Month => month_of(start).map_or(start, |month| start_of_month(month + 1)),
            _ => EventTime(start.0.saturating_add(24 * HOUR)),
        }
    }
}

/// Months since year 0.
fn month_of(time: EventTime) -> Option<i32> {
    let date = chrono::DateTime::from_timestamp_micros(time.0)?;
    Some(date.year() * 12 + date.month0() as i32)
}

fn start_of_month(month: i32) -> EventTime {
    let date = chrono::NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1);
    let midnight = date.expect("years 1 to 9999 have months").and_time(chrono::NaiveTime::MIN);
    EventTime(midnight.and_utc().timestamp_micros())
}

impl std::fmt::Display for PartitionField {
    /// As it is written in a job file: `hour(window_start)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let column = &self.column;
        match self.transform {
            Transform::Identity => f.write_str(column),
            Transform::Hour => write!(f, "hour({column})"),
            Transform::Day => write!(f, "day({column})"),
            Transform::Month => write!(f, "month({column})"),
            Transform::Truncate(width) => write!(f, "truncate({width}, {column})"),
            Transform::Bucket(count) => write!(f, "bucket({count}, {column})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> EventTime {
        EventTime(chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros())
    }

    #[test]
    fn partitions_have_edges_before_1970_too() {
        let time = at("1969-11-30T23:59:59.999999Z");
        assert_eq!(Transform::Hour.floor(time), at("1969-11-30T23:00:00Z"));
        assert_eq!(Transform::Day.floor(time), at("1969-11-30T00:00:00Z"));
        assert_eq!(Transform::Month.floor(time), at("1969-11-01T00:00:00Z"));
        for transform in [Transform::Hour, Transform::Day, Transform::Month] {
            assert_eq!(transform.next_edge(time), at("1969-12-01T00:00:00Z"));
            assert_eq!(transform.floor(transform.next_edge(time)), transform.next_edge(time));
        }
        assert_eq!(Transform::Month.next_edge(at("2023-12-31T00:00:00Z")), at("2024-01-01T00:00:00Z"));
    }
}
