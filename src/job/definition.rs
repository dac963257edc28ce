//! A job file as written: statements with the place of everything that can be wrong, nothing resolved yet.

use std::time::Duration;

use datafusion_sql::sqlparser::ast::{Expr, Query};
use datafusion_sql::sqlparser::tokenizer::{Span, TokenWithSpan};

use super::interval::Length;
use super::plan::Publish;
use crate::event::{ColumnType, LiveFace, Metadata, Micros, PartitionField, TableName};

/// A value and where it stands in the job file.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Lines and columns from 1, as sqlparser counts them.
    pub span: Span,
}

/// One parsed job file.
#[derive(Clone, Debug)]
pub struct JobDefinition {
    /// The file's stem.
    pub name: String,
    /// `CREATE STREAM` statements, in order.
    pub streams: Vec<StreamDefinition>,
    /// `INSERT INTO ICEBERG` statements, in order.
    pub inserts: Vec<InsertDefinition>,
}

/// One `CREATE STREAM`.
#[derive(Clone, Debug)]
pub struct StreamDefinition {
    /// Which of the job's files it stands in: 0 is the job file itself.
    pub file: usize,
    /// Name of the stream.
    pub name: Spanned<String>,
    /// Columns, in order.
    pub columns: Vec<ColumnDefinition>,
    /// The watermark clause.
    pub watermark: Option<WatermarkDefinition>,
    /// `LIVE FROM`.
    pub live: Option<Spanned<LiveFace>>,
    /// `WITH (compacted = 'accept')`.
    pub accepts_compacted: bool,
    /// `HISTORY FROM ICEBERG`.
    pub history: Option<Spanned<TableName>>,
}

/// One column of a stream.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name.
    pub name: Spanned<String>,
    /// Type.
    pub column_type: Spanned<ColumnType>,
    /// `NOT NULL`.
    pub required: bool,
    /// Where the value comes from.
    pub origin: OriginDefinition,
}

/// Where a column's value comes from, as written.
#[derive(Clone, Debug)]
pub enum OriginDefinition {
    /// A path in the message; by default the column's own name.
    Path(Vec<String>),
    /// `FROM METADATA '…'`.
    Metadata(Spanned<Metadata>),
    /// `AS expr`, planned with the stream's columns as input.
    Computed(Box<Spanned<Expr>>),
}

/// `WATERMARK FOR t [AS t - INTERVAL i] [WHEN condition] [IDLE AFTER i] [MAX FUTURE i | NONE]`.
#[derive(Clone, Debug)]
pub struct WatermarkDefinition {
    /// The event-time column.
    pub column: Spanned<String>,
    /// The bound; zero without `AS`.
    pub bound: Micros,
    /// `WHEN`, over all of the stream's columns.
    pub when: Option<Box<Spanned<Expr>>>,
    /// `IDLE AFTER`.
    pub idle_after: Option<Duration>,
    /// `MAX FUTURE`: `None` without the clause (one hour), `Some(None)` for `NONE`.
    pub max_future: Option<Option<Micros>>,
}

/// One `INSERT INTO ICEBERG`.
#[derive(Clone, Debug)]
pub struct InsertDefinition {
    /// The result table.
    pub table: Spanned<TableName>,
    /// `PARTITIONED BY`; `None`: by default.
    pub partitioned_by: Option<Vec<Spanned<PartitionField>>>,
    /// The SELECT. Each window call in FROM is replaced by a table named [`WindowCall::relation`].
    pub query: Box<Query>,
    /// The window calls, in order.
    pub windows: Vec<WindowCall>,
    /// `ALLOW LATENESS`.
    pub allow_lateness: Option<Spanned<Micros>>,
    /// `LATE INTO ICEBERG`.
    pub late_into: Option<Spanned<TableName>>,
    /// `PUBLISH …`.
    pub publish: Option<Spanned<Publish>>,
}

/// A call of a window function in FROM.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// The relation's name in the query: `<stream>` itself, so that `stream.column` resolves; with a number behind it
    /// when the same stream is windowed twice in one query, or when it isn't a stream.
    pub relation: String,
    /// The whole call.
    pub span: Span,
    /// Which function.
    pub function: WindowFunction,
    /// What it makes windows of.
    pub input: WindowInput,
    /// `PARTITION BY`: what windows that the data makes are told apart by.
    pub partition_by: Vec<Spanned<Expr>>,
    /// The time column.
    pub time: Spanned<String>,
}

/// What a window function makes windows of.
#[derive(Clone, Debug)]
pub enum WindowInput {
    /// A stream; or a view or a query of WITH.
    Named(Spanned<String>),
    /// A query in brackets. Window calls in it stand before this one in [`InsertDefinition::windows`].
    Query(Box<Spanned<Query>>),
}

impl WindowInput {
    /// Its place.
    pub fn span(&self) -> Span {
        match self {
            WindowInput::Named(name) => name.span,
            WindowInput::Query(query) => query.span,
        }
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            WindowInput::Named(name) => Some(&name.value),
            WindowInput::Query(_) => None,
        }
    }
}

/// One expression of PARTITION BY, unread.
#[derive(Clone, Debug)]
pub struct PartitionTokens {
    /// Its tokens.
    pub tokens: Vec<TokenWithSpan>,
    /// Its place.
    pub span: Span,
}

/// A window function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowFunction {
    /// `TUMBLE(s, t, size[, offset][, TIME ZONE 'z'])`.
    Tumble {
        /// Positive.
        size: Spanned<Length>,
        /// May be negative.
        offset: Option<Spanned<Micros>>,
        /// Name of a time zone.
        zone: Option<Spanned<String>>,
    },
    /// `HOP(s, t, slide, size[, offset])`.
    Hop {
        /// Positive.
        slide: Spanned<Micros>,
        /// Positive.
        size: Spanned<Micros>,
        /// May be negative.
        offset: Option<Spanned<Micros>>,
    },
    /// `CUMULATE(s, t, step, size[, offset])`.
    Cumulate {
        /// Positive.
        step: Spanned<Micros>,
        /// Positive.
        size: Spanned<Micros>,
        /// May be negative.
        offset: Option<Spanned<Micros>>,
    },
    /// `SESSION(s [PARTITION BY k], t, gap)`.
    Session {
        /// Positive.
        gap: Spanned<Micros>,
    },
    /// `COUNT_WINDOW(s [PARTITION BY k], t, n, TIMEOUT i)`.
    Counting {
        /// At least 1.
        size: Spanned<u32>,
        /// Positive.
        timeout: Spanned<Micros>,
    },
    /// `SLIDING(s [PARTITION BY k], t, size)`.
    Sliding {
        /// Positive.
        size: Spanned<Micros>,
    },
}
