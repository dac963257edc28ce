//! Why a run can't begin.

use thiserror::Error;

use crate::event::{EventTime, TableName};

/// Why a run can't begin so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// Windows that the data makes can't be begun at an instant of a column that comes behind their start.
    #[error(
        "windows of {window} in {table} may begin any time before an instant of the column that its ranges go by, so a run that \
         began there would cut them off; begin with the log (`earliest`), or with a new job at a start of windows \
         (`kappa run --start TIME`)"
    )]
    CutsWindows {
        /// The result.
        table: TableName,
        /// The window function.
        window: &'static str,
    },
    /// Windows over windows that the data makes can't be begun at a time.
    #[error(
        "windows of {table} hold windows of {window}, which may begin any time before them, so a run that began in between \
         would cut some off; begin with a log that is whole (`earliest`), or publish cut-off windows too with `--allow-partial`"
    )]
    CutsInnerWindows {
        /// The result.
        table: TableName,
        /// The function of the inner windows.
        window: &'static str,
    },
    /// Nothing that is published can be published again.
    #[error(
        "windows of {window} in {table} don't close in the order of window_start, by which it is partitioned, so they can't be \
         published again one after the other; write to another table under another job name, or partition by window_end"
    )]
    NotInOrder {
        /// The result.
        table: TableName,
        /// The window function.
        window: &'static str,
    },
    /// The log's beginning is gone, and with it perhaps a part of the first windows.
    #[error(
        "partition {partition} of {stream} begins at offset {low}, not at 0: what was below is gone, so the first \
         windows may be cut off; state with `--whole-from TIME` from which window on nothing is missing, or publish \
         cut-off windows too with `--allow-partial`"
    )]
    CutOff {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// Its lowest offset.
        low: i64,
    },
    /// Retention may have removed records that are newer than those it has left.
    #[error(
        "partition {partition} of {stream} begins at offset {low}, not at 0: nothing proves that the records removed from it \
         are older than {from} (they may go by size, and producers set the timestamps), so the first windows may be cut \
         off; state with `--whole-from TIME` from which window on nothing is missing, or publish cut-off windows too with \
         `--allow-partial`"
    )]
    Removed {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// Its lowest offset.
        low: i64,
        /// Timestamp from which on records are needed.
        from: EventTime,
    },
    /// Offsets say nothing about windows.
    #[error(
        "offsets alone don't tell which window is the first whole one of {stream}; state it with `--whole-from TIME`, \
         or publish cut-off windows too with `--allow-partial`"
    )]
    OffsetsOnly {
        /// Name of the stream.
        stream: String,
    },
    /// Without a limit on how far event times run ahead of the log's timestamps, no look-up by time is safe.
    #[error(
        "{stream} has MAX FUTURE NONE, so the log's timestamps don't tell where a window begins; start at `earliest`, \
         at offsets with `--whole-from TIME`, or with `--allow-partial`"
    )]
    NoMaxFuture {
        /// Name of the stream.
        stream: String,
    },
    /// Records without timestamps can't be found by time.
    #[error(
        "the record at offset {offset} of partition {partition} of {stream} has no timestamp, so the log can't tell \
         where a window begins; declare MAX FUTURE NONE and start at `earliest`, or at offsets with `--whole-from TIME`"
    )]
    NoTimestamps {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// Where the record was looked for.
        offset: i64,
    },
    /// A log that forgets records gives other results when it is read again.
    #[error(
        "topic {topic} of {stream} is compacted (cleanup.policy): it forgets older records of a key, so reading it again \
         gives other results; read a topic that isn't, or accept it with LIVE FROM KAFKA '{topic}' … WITH (compacted = 'accept')"
    )]
    Compacted {
        /// Name of the stream.
        stream: String,
        /// Its topic.
        topic: String,
    },
    /// An offset outside of the log.
    #[error("offset {wanted} of partition {partition} is outside of the log, which holds {low} to {high}")]
    OutOfRange {
        /// The partition.
        partition: i32,
        /// The offset asked for.
        wanted: i64,
        /// Lowest offset.
        low: i64,
        /// End of the log.
        high: i64,
    },
    /// A partition that isn't there.
    #[error("{stream} has no partition {partition}; it has {partitions}")]
    UnknownPartition {
        /// Name of the stream.
        stream: String,
        /// The partition asked for.
        partition: i32,
        /// How many it has.
        partitions: usize,
    },
    /// Between the end of history and the beginning of the log, records are missing.
    #[error(
        "history of {stream} ends at offset {end} of partition {partition}, but the log begins at {low}: {}, {end} to {}, \
         {} in neither; start behind them with --start TIME",
        count(.low - .end), .low - 1, if .low - .end == 1 { "is" } else { "are" }
    )]
    HistoryGap {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// End of what is archived.
        end: i64,
        /// Lowest offset of the log.
        low: i64,
    },
    /// History holds more than the log: they aren't of the same topic.
    #[error(
        "history of {stream} ends at offset {end} of partition {partition}, but the log ends at {high}: the topic was made \
         anew or cut; start from it alone with --start TIME"
    )]
    HistoryBeyondLog {
        /// Name of the stream.
        stream: String,
        /// The lowest such partition.
        partition: i32,
        /// End of what is archived.
        end: i64,
        /// End of the log.
        high: i64,
    },
    /// History itself may lack records of the first windows.
    #[error(
        "history of {stream} {}, so windows from {from} on may be cut off; start at a time with --start TIME, or state \
         with `--whole-from TIME` from which window on nothing is missing",
        match whole_from {
            Some(whole) => format!("was begun in the middle of the log and is whole from {whole} on"),
            None => "was begun in the middle of the log, and doesn't say from where on it is whole".to_owned(),
        }
    )]
    HistoryCutOff {
        /// Name of the stream.
        stream: String,
        /// First window that was to be published.
        from: EventTime,
        /// First whole one, if it is known.
        whole_from: Option<EventTime>,
    },
}

fn count(offsets: i64) -> String {
    match offsets {
        1 => "1 offset".to_owned(),
        _ => format!("{offsets} offsets"),
    }
}
