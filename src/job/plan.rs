//! What a job does, ready to run: streams, and for each INSERT its filter, window, aggregates and result.
//! Invariant: one plan for both faces; nothing in here says live or backfill.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::above::Above;
use crate::event::{Micros, PartitionField, Stream, TableName};
use crate::windows::{WINDOW_COLUMNS, Window, WindowEdge};

/// A job: all INSERTs of one file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file's stem.
    pub name: String,
    /// The streams that an INSERT reads, in order of declaration.
    pub streams: Vec<Arc<Stream>>,
    /// The INSERTs, in order of the file.
    pub inserts: Vec<Insert>,
    /// Hash of plan and stream definitions, in hexadecimal: the job's version. Comments, names of local aliases and
    /// layout don't change it.
    pub fingerprint: String,
}

/// One INSERT: from the records of a stream to the rows of a result table.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The result table; one INSERT owns it.
    pub table: TableName,
    /// Index into [`Plan::streams`].
    pub stream: usize,
    /// WHERE, over the record schema. Goes first: what it drops is accepted, never late.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The window.
    pub window: Window,
    /// ALLOW LATENESS; zero without the clause.
    pub allowed: Micros,
    /// Group keys beside the window.
    pub keys: Vec<Key>,
    /// Aggregates, with their arguments.
    pub aggregates: Vec<Aggregate>,
    /// Whether records are put together into groups or kept one by one.
    pub kept: Kept,
    /// Layout of a closed window's rows: [`crate::windows::WINDOW_COLUMNS`] (and the reason, for count windows), keys,
    /// aggregates.
    pub closed_schema: SchemaRef,
    /// HAVING, over `closed_schema`.
    pub having: Option<Arc<dyn PhysicalExpr>>,
    /// What the query does with rows of closed windows, over `closed_schema`; then there is no `having`.
    pub above: Option<Above>,
    /// SELECT list, over `closed_schema` or over what comes out `above`, in the order of the result's columns.
    pub columns: Vec<ResultColumn>,
    /// Arrow schema of the result rows.
    pub result_schema: SchemaRef,
    /// The result's partitioning; at least one time transform.
    pub partitions: Vec<PartitionField>,
    /// The partition column by which ranges of a backfill are meant.
    pub range: RangeColumn,
    /// Result columns (indices) that rows are sorted by in files: window columns first, then keys, then the others.
    pub sort: Vec<usize>,
    /// How many of the `sort` columns tell a row from the others: those of the window and the keys. With something above the
    /// window, several rows may be equal in them.
    pub identity: usize,
    /// Where late records go.
    pub late: TableName,
    /// When rows are published.
    pub publish: Publish,
}

impl Insert {
    /// The window columns of closed rows: three, and the reason behind them for count windows.
    pub fn window_columns(&self) -> &[Arc<Field>] {
        let columns = WINDOW_COLUMNS.len() + usize::from(self.window.has_reason());
        &self.closed_schema.fields()[..columns]
    }
}

/// What is kept of a window's records until it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One row for each group: keys and aggregates.
    Groups,
    /// Each record: the columns that the query uses stand as keys, and there are no aggregates.
    Rows,
}

/// One group key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Column name in [`Insert::closed_schema`].
    pub name: String,
    /// Over the record schema.
    pub expression: Arc<dyn PhysicalExpr>,
}

/// One aggregate.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function; its name is the column in [`Insert::closed_schema`].
    pub function: Arc<AggregateFunctionExpr>,
    /// Arguments over the record schema: the function's own, then its ORDER BY expressions.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// FILTER, over the record schema.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// One column of the result.
#[derive(Clone, Debug)]
pub struct ResultColumn {
    /// Name in the result table.
    pub name: String,
    /// Over [`Insert::closed_schema`].
    pub expression: Arc<dyn PhysicalExpr>,
}

/// The time partition column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeColumn {
    /// Index of the field in [`Insert::partitions`].
    pub partition: usize,
    /// Which edge of the window it is.
    pub edge: WindowEdge,
}

/// When rows become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// `EACH WINDOW`: at the first checkpoint after the window closed.
    EachWindow,
    /// `WHOLE PARTITIONS`: when no window of the partition can change any more.
    WholePartitions,
}
