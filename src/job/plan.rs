//! What a job does, ready to run: streams, and for each INSERT its filter, window, aggregates and result.
//! Invariant: one plan for both faces; nothing in here says live or backfill.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::above::Above;
use crate::event::{Micros, PartitionField, Stream, TableName, timestamp_type};
use crate::state::LegColumns;
use crate::windows::{WINDOW_COLUMNS, Window, WindowEdge};

/// The column of gathered rows that holds the start of the window above theirs.
pub(super) const WITHIN: &str = "within";

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

/// One INSERT: from the records of streams to the rows of a result table.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The result table; one INSERT owns it.
    pub table: TableName,
    /// What is read: one leg for each table of windows in FROM, at least one. Their windows are the same, or lie in those
    /// of `window`.
    pub legs: Vec<Leg>,
    /// The window of the result's rows.
    pub window: Window,
    /// ALLOW LATENESS; zero without the clause.
    pub allowed: Micros,
    /// HAVING, over the only leg's `closed_schema`.
    pub having: Option<Arc<dyn PhysicalExpr>>,
    /// What the query does with rows of closed windows, over the legs' `closed_schema`; then there is no `having`.
    pub above: Option<Above>,
    /// SELECT list, over the only leg's `closed_schema` or over what comes out `above`, in the order of the result's columns.
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
    /// Where late records go: for each stream that is read, in order.
    pub late: Vec<LateTable>,
    /// When rows are published.
    pub publish: Publish,
}

/// One table of windows in a query: what is kept of the records in each window until it closes.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Where its records come from, at least one. All have the same keys and aggregates, over records of their own.
    pub inputs: Vec<Input>,
    /// Its windows.
    pub window: Window,
    /// The windows above them, where the query goes on with windows over windowed results: those of the INSERT. One of them
    /// holds whole windows of this leg, by their `window_time`.
    pub within: Option<Window>,
    /// Whether records are put together into groups or kept one by one.
    pub kept: Kept,
    /// Grouping sets: each record counts once in each of them. None: all keys are the only one.
    pub sets: Vec<GroupingSet>,
    /// Layout of a closed window's rows: [`crate::windows::WINDOW_COLUMNS`] (and the reason, for count windows), keys,
    /// aggregates.
    pub closed_schema: SchemaRef,
}

/// One of several sets of keys that records are grouped by. The last key of their leg tells the sets apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupingSet {
    /// For each key but the last whether it is in the set; in the set's rows the others are null.
    pub holds: Vec<bool>,
    /// The value of the last key in the set's rows.
    pub id: i64,
}

/// The records of one stream, as a leg takes them.
#[derive(Clone, Debug)]
pub struct Input {
    /// Index into [`Plan::streams`].
    pub stream: usize,
    /// WHERE, over the record schema. Goes first: what it drops is accepted, never late.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// UNNEST: what makes several rows of a record. Keys and aggregates are over the record schema and what it adds.
    pub unnest: Option<Unnest>,
    /// Group keys beside the window.
    pub keys: Vec<Key>,
    /// Aggregates, with their arguments.
    pub aggregates: Vec<Aggregate>,
}

/// Where the late records of one stream go. No two streams share a table: their positions couldn't be told apart in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateTable {
    /// Index into [`Plan::streams`].
    pub stream: usize,
    /// The table.
    pub table: TableName,
}

impl Plan {
    /// All legs of all INSERTs, each with the index of its INSERT. Where a leg is named by a number, it counts in here.
    pub fn legs(&self) -> impl Iterator<Item = (usize, &Leg)> {
        self.inserts.iter().enumerate().flat_map(|(index, insert)| insert.legs.iter().map(move |leg| (index, leg)))
    }
}

impl Plan {
    /// What people call the columns of the state of each leg, as [`Plan::legs`] numbers them.
    pub fn state_columns(&self) -> Vec<LegColumns> {
        let columns = |(_, leg): (usize, &Leg)| {
            let keys = leg.inputs.first().map_or(&[][..], |input| &input.keys);
            LegColumns { window: leg.window, keys: keys.iter().map(|key| key.name.clone()).collect() }
        };
        self.legs().map(columns).collect()
    }
}

impl Insert {
    /// Indices of the streams that it reads, in order, each once.
    pub fn streams(&self) -> impl Iterator<Item = usize> + Clone {
        self.late.iter().map(|late| late.stream)
    }

    /// Whether it reads a stream.
    pub fn reads(&self, stream: usize) -> bool {
        self.streams().any(|other| other == stream)
    }

    /// Index of the stream that it reads, where that is one, as it is without a window.
    pub fn only_stream(&self) -> usize {
        let mut streams = self.streams();
        let stream = streams.next().expect("an INSERT reads a stream");
        assert_eq!(streams.next(), None, "it reads several");
        stream
    }

    /// Where the late records of a stream that it reads go.
    pub fn late_of(&self, stream: usize) -> &TableName {
        let late = self.late.iter().find(|late| late.stream == stream);
        &late.expect("only streams that it reads are asked for").table
    }
}

impl Leg {
    /// The window columns of closed rows: three, and the reason behind them for count windows; without a window, none.
    pub fn window_columns(&self) -> &[Arc<Field>] {
        let columns = match self.window {
            Window::EachRecord => 0,
            _ => WINDOW_COLUMNS.len() + usize::from(self.window.has_reason()),
        };
        &self.closed_schema.fields()[..columns]
    }

    /// Whether it keeps of the same records, in the same windows, what `other` does.
    pub(super) fn keeps_what(&self, other: &Leg) -> bool {
        let same_input = |(one, other): (&Input, &Input)| {
            let keys = one.keys.iter().map(|key| &key.expression).eq(other.keys.iter().map(|key| &key.expression));
            let same_filter = one.stream == other.stream && one.filter == other.filter;
            // An INSERT with UNNEST has one leg.
            same_filter && keys && one.aggregates.iter().eq(&other.aggregates)
        };
        (self.window, self.within, self.kept) == (other.window, other.within, other.kept)
            && (&self.sets, &self.closed_schema) == (&other.sets, &other.closed_schema)
            && self.inputs.len() == other.inputs.len()
            && self.inputs.iter().zip(&other.inputs).all(same_input)
    }

    /// Layout of the rows that are gathered by window: those of closed windows, behind the start of the window above where
    /// there is one.
    pub fn gathered_schema(&self) -> SchemaRef {
        if self.within.is_none() {
            return Arc::clone(&self.closed_schema);
        }
        let start = Arc::new(Field::new(WITHIN, timestamp_type(), false));
        let closed = self.closed_schema.fields().iter().cloned();
        Arc::new(Schema::new(std::iter::once(start).chain(closed).collect::<Vec<_>>()))
    }

    /// The columns of gathered rows that tell which rows come together.
    pub fn gathered_by(&self) -> Range<usize> {
        if self.within.is_some() { 0..1 } else { 0..2 }
    }

    /// The keys beside the window; their expressions are those of the first input.
    pub fn keys(&self) -> &[Key] {
        &self.inputs[0].keys
    }

    /// The aggregates; their arguments are those of the first input.
    pub fn aggregates(&self) -> &[Aggregate] {
        &self.inputs[0].aggregates
    }

    /// How many of the group keys, from the first, rows are dealt out to workers by.
    pub fn partition_keys(&self) -> usize {
        match &self.window {
            Window::ByData(by_data) => by_data.partition_keys(self.keys().len()),
            _ => self.keys().len(),
        }
    }
}

/// What is kept of a window's records until it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One row for each group: keys and aggregates.
    Groups,
    /// Each record: the columns that the query uses stand as keys, and there are no aggregates.
    Rows,
    /// Each record of a window that the data makes: those that are equal in the keys are one group, whose only aggregate says
    /// how many they are. It isn't in [`Leg::closed_schema`]: there each stands by itself again.
    Counted,
}

/// What an UNNEST makes of a record: a row for each element of a list.
#[derive(Clone, Debug)]
pub struct Unnest {
    /// The list, over the record schema.
    pub list: Arc<dyn PhysicalExpr>,
    /// Whether the elements' ordinals, from 1, are a column too.
    pub with_ordinality: bool,
    /// The record schema, then the element and the ordinal.
    pub schema: SchemaRef,
    /// Which rows stay, over `schema`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// One group key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Column name in [`Leg::closed_schema`].
    pub name: String,
    /// Over the record schema.
    pub expression: Arc<dyn PhysicalExpr>,
}

/// One aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The function; its name is the column in [`Leg::closed_schema`].
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
    /// Over [`Leg::closed_schema`], or over what comes out above.
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
