//! Where a record stands in the log.

use serde::{Deserialize, Serialize};

/// One record of one partition of a stream's log. For a file, partition is 0 and the offset is the row number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Partition of the topic, from 0.
    pub partition: i32,
    /// Offset in the partition; offsets may have gaps (transaction markers, compaction).
    pub offset: i64,
}

/// First offset not yet read; everything below it has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResumeOffset(pub i64);
