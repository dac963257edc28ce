//! Records on their way: decoded, then judged by time.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::{EventTime, ResumeOffset};

/// Consecutive records of one partition as a source gives them: decoded, not yet judged by time.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Partition of all records in here.
    pub partition: i32,
    /// First offset not covered: the log below it is either in here, or was given before.
    pub next_offset: ResumeOffset,
    /// The good records in offset order, laid out as [`super::Stream::record_schema`], with `_seen` still null.
    pub records: RecordBatch,
    /// The others, in offset order.
    pub rejects: Vec<Reject>,
    /// Bytes of all messages in here as they came, keys and headers that are used included; 0 for rows of a table.
    pub bytes: u64,
}

/// A record that can't be read as the stream declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Partition it stands in.
    pub partition: i32,
    /// Offset it stands at.
    pub offset: i64,
    /// The log's timestamp in microseconds, if it has one.
    pub timestamp: Option<i64>,
    /// The message as it came.
    pub raw: Bytes,
    /// What stood beside it, as far as columns take it: the key first, then headers; `None`: the record has none.
    pub sides: Vec<Option<Bytes>>,
    /// What is wrong with it.
    pub reason: RejectReason,
    /// The reason in words, with the column and the value where they are known.
    pub detail: String,
}

impl Reject {
    /// Bytes of what it keeps.
    pub fn bytes(&self) -> usize {
        let sides = self.sides.iter().map(|side| size_of::<Option<Bytes>>() + side.as_ref().map_or(0, Bytes::len));
        self.raw.len() + self.detail.len() + sides.sum::<usize>()
    }
}

/// Why a record was rejected. The names stand in the rejects table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Not readable in the stream's format at all.
    Undecodable,
    /// No value (a tombstone) or an empty one.
    Empty,
    /// A value that doesn't fit its column's type.
    BadValue,
    /// Null in a NOT NULL column.
    Null,
    /// Event time beyond MAX FUTURE.
    Future,
}

impl RejectReason {
    /// The name that the rejects table carries.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::Undecodable => "undecodable",
            RejectReason::Empty => "empty",
            RejectReason::BadValue => "bad_value",
            RejectReason::Null => "null",
            RejectReason::Future => "future",
        }
    }
}

/// Records of one stream, judged by time, ready for the engine. The same from a log and from history.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// Index of the stream in the job.
    pub stream: usize,
    /// The partition that all records stand in, where it is one: it is told apart in the counts.
    pub partition: Option<i32>,
    /// Laid out as [`super::Stream::record_schema`], `_seen` filled; columns that no query needs may be null.
    /// Records beyond MAX FUTURE are not in here.
    pub records: RecordBatch,
    /// The job's watermark when the batch was handed over: windows that end at or before it are closed.
    pub closed_below: EventTime,
}
