//! A declared stream: its columns, its two faces, and what it says about time.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};

use super::{ColumnType, Micros, TableName, timestamp_type};

/// System column: partition of the record (`Int32`).
pub const PARTITION: &str = "_partition";
/// System column: offset of the record (`Int64`).
pub const OFFSET: &str = "_offset";
/// System column: the log's own timestamp of the record (microseconds, UTC; null where the log has none).
pub const TIMESTAMP: &str = "_timestamp";
/// System column: the greatest event time at the lower offsets of the partition, rejected records aside (with WHEN: of
/// marker records only); null if none.
pub const SEEN: &str = "_seen";

/// Column of a history that keeps what its messages have beside the declared columns (JSON text; null: nothing).
pub const REST: &str = "_rest";

/// A stream as validated from `CREATE STREAM`. Everything that decides which records it accepts is in here.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Name in the job file.
    pub name: String,
    /// Declared columns, in their order.
    pub columns: Vec<Column>,
    /// Index of the watermark column in `columns`; it is a required TIMESTAMP.
    pub event_time: usize,
    /// How far behind `seen` a record may be.
    pub bound: Micros,
    /// `WHEN`: only records for which it is true move `seen`; `None`: every record does. A BOOLEAN over all declared columns,
    /// computed ones too. It decides nothing about which records are accepted.
    pub marker: Option<Computed>,
    /// Wall-clock time at the end of its log after which a partition leaves the minimum; `None`: never.
    pub idle_after: Option<Duration>,
    /// How far ahead of the log's timestamp an event time may be; `None` (`MAX FUTURE NONE`, files): any.
    pub max_future: Option<Micros>,
    /// Where live records come from.
    pub live: LiveFace,
    /// `WITH (compacted = 'accept')`: the log may forget older records of a key. Decides nothing that is computed.
    pub accepts_compacted: bool,
    /// The Iceberg table that keeps its history.
    pub history: Option<TableName>,
}

impl Stream {
    /// The declared columns, all nullable in Arrow: NOT NULL is checked once, on decoding, and a history scan may leave
    /// unneeded columns null.
    pub fn declared_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.declared_fields()))
    }

    /// The layout of every batch behind decoding, and of the history table: declared columns, then `_partition`,
    /// `_offset`, `_timestamp`, `_seen`.
    pub fn record_schema(&self) -> SchemaRef {
        let mut fields = self.declared_fields();
        fields.push(Field::new(PARTITION, DataType::Int32, true));
        fields.push(Field::new(OFFSET, DataType::Int64, true));
        fields.push(Field::new(TIMESTAMP, timestamp_type(), true));
        fields.push(Field::new(SEEN, timestamp_type(), true));
        Arc::new(Schema::new(fields))
    }

    /// The layout of a late table: the record, then `result`, `reason`, `windows`, `windows_late`, `first_late`,
    /// `last_late` (starts of the windows it is late for).
    pub fn late_schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = self.record_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new("result", DataType::Utf8, false));
        fields.push(Field::new("reason", DataType::Utf8, false));
        fields.push(Field::new("windows", DataType::Int32, false));
        fields.push(Field::new("windows_late", DataType::Int32, false));
        fields.push(Field::new("first_late", timestamp_type(), true));
        fields.push(Field::new("last_late", timestamp_type(), true));
        Arc::new(Schema::new(fields))
    }

    /// Index of `_partition` in [`Stream::record_schema`]; `_offset`, `_timestamp` and `_seen` follow it.
    pub fn partition_index(&self) -> usize {
        self.columns.len()
    }

    /// Index of `_offset` in [`Stream::record_schema`].
    pub fn offset_index(&self) -> usize {
        self.columns.len() + 1
    }

    /// Index of `_timestamp` in [`Stream::record_schema`].
    pub fn timestamp_index(&self) -> usize {
        self.columns.len() + 2
    }

    /// Index of `_seen` in [`Stream::record_schema`].
    pub fn seen_index(&self) -> usize {
        self.columns.len() + 3
    }

    /// How live records are written.
    pub fn format(&self) -> &Format {
        let (LiveFace::Kafka { format, .. } | LiveFace::File { format, .. }) = &self.live;
        format
    }

    /// The stream as its history has it: with the column [`REST`], if that is kept.
    #[must_use]
    pub fn archived(&self) -> Stream {
        let mut stream = self.clone();
        if self.format().keep_rest {
            let origin = Origin::Rest;
            stream.columns.push(Column {
                name: REST.to_owned(),
                column_type: ColumnType::Text,
                required: false,
                origin,
            });
        }
        stream
    }

    fn declared_fields(&self) -> Vec<Field> {
        self.columns.iter().map(|column| Field::new(&column.name, column.column_type.arrow(), true)).collect()
    }
}

/// One declared column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in queries and tables.
    pub name: String,
    /// Declared type.
    pub column_type: ColumnType,
    /// `NOT NULL`: a null rejects the record.
    pub required: bool,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a column's value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A path in the message, outermost field first; by default the column's own name.
    Path(Vec<String>),
    /// Something the log keeps beside the message.
    Metadata(Metadata),
    /// `AS expr`: computed once, when the record is read from the log; history keeps the result.
    Computed(Computed),
    /// What the message has beside all declared columns. Only [`Stream::archived`] makes such a column.
    Rest,
}

/// What a log keeps beside a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// The record's timestamp (TIMESTAMP).
    Timestamp,
    /// The record's key (TEXT or BYTES).
    Key,
    /// Partition (INT).
    Partition,
    /// Offset (BIGINT).
    Offset,
    /// The last header of that name (TEXT or BYTES).
    Header(String),
}

/// An expression over declared columns.
#[derive(Clone, Debug)]
pub struct Computed {
    /// The expression in canonical SQL: part of the declaration and of the fingerprint.
    pub sql: String,
    /// Evaluates over the declared columns ([`Stream::declared_schema`]). A column's refers to path and metadata columns only.
    pub expression: Arc<dyn PhysicalExpr>,
}

/// Where live records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveFace {
    /// A Kafka topic: unbounded.
    Kafka {
        /// Topic name.
        topic: String,
        /// How messages are written.
        format: Format,
    },
    /// A file, relative to the project folder: bounded, one partition.
    File {
        /// Path as written in the job file.
        path: String,
        /// How rows are written.
        format: Format,
    },
}

/// How messages or rows are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// The notation.
    pub kind: FormatKind,
    /// Pins the unit of integer timestamps; `None`: told by their size.
    pub timestamp_unit: Option<TimestampUnit>,
    /// Undeclared fields are archived too, in the column [`REST`] of the history. Decides nothing about records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_rest: bool,
}

/// Notations of messages or rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// One JSON object a message or line.
    Json,
    /// CSV with a header; files only.
    Csv,
    /// Parquet; files only.
    Parquet,
}

/// Unit of integer timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
}
