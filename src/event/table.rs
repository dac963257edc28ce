//! Names and partitionings of Iceberg tables.

use serde::{Deserialize, Serialize};

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
