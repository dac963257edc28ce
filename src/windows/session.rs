//! Sessions: the records of a key with less than `gap` between each and the next.
//!
//! ```text
//! gap 10      t:  1   4      12        25            a session is [first, last + gap)
//!                 [--------------------)             [1, 22): 4 is less than 10 behind 1, and 12 behind 4
//!                                      [----------)  [25, 35): 25 - 12 is 13
//! ```
//!
//! Records go into panes as long as the gap: all records of one key in one pane stand less than a gap apart, so they are of
//! one session. A pane is what it is for a tumbling window, with the least and the greatest time of each group beside the
//! aggregates. When no record can come into a pane any more, its groups are *pieces* of sessions, and pieces of one key that
//! lie less than a gap apart are put together.
//!
//! Invariants: pieces of different sessions of a key stand at least a gap apart, so sorting them by their first times and
//! walking along them gives the sessions; what a session evaluates to is a function of its records alone, however often it
//! was asked what is over. Nothing here judges lateness: the caller brings no record before a time that it has settled.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;

use super::fed::Fed;
use super::held::{FrozenPart, Held};
use super::identities::Identities;
use super::made::{Made, MadeWindows, Making};
use super::numbered::Numbered;
use super::pane::{Aggregation, PaneError};
use super::split::{Split, split};
use super::{Adjacent, Tumbling};
use crate::event::{EventTime, Micros};

/// `SESSION`: a new window after a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The silence that ends a session; positive. Two records exactly so far apart are of two sessions.
    pub gap: Micros,
    /// How many of the group keys, from the first, tell sessions apart; the others split the rows of one.
    pub partition_keys: usize,
}

impl Session {
    fn end(&self, last: i64) -> i64 {
        last.saturating_add(self.gap.0)
    }
}

/// The open sessions of one INSERT.
#[derive(Debug)]
pub struct Sessions {
    window: Session,
    /// The user's aggregates, then the least and the greatest time.
    aggregation: Arc<Aggregation>,
    partition: SchemaRef,
    closed: SchemaRef,
    /// Panes, and the pieces of open sessions that lie in no pane any more.
    held: Held,
}

impl Sessions {
    /// No sessions yet. `functions` are the user's aggregates over groups of `keys`.
    /// Fails if a function can't say what its state looks like.
    pub fn new(
        window: Session,
        keys: SchemaRef,
        mut functions: Vec<Arc<AggregateFunctionExpr>>,
    ) -> Result<Sessions, PaneError> {
        let partition: Vec<usize> = (0..window.partition_keys).collect();
        let partition = Arc::new(keys.project(&partition).expect("keys that tell sessions apart are group keys"));
        for (function, name) in [("min", "_first"), ("max", "_last")] {
            functions.push(
                extreme_time(function, name)
                    .map_err(|source| PaneError::Aggregate { aggregate: name.to_owned(), source })?,
            );
        }
        let aggregation = Arc::new(Aggregation::new(keys, functions)?);
        let of_user: Vec<usize> = (0..aggregation.closed_schema().fields().len() - 2).collect();
        let closed = Arc::new(aggregation.closed_schema().project(&of_user).expect("the two times come last"));
        let held = Held::new(&aggregation);
        Ok(Sessions { window, aggregation, partition, closed, held })
    }

    /// Whether some piece is old enough to be the end of a session.
    fn may_be_over(&self, settled: EventTime) -> bool {
        let Some(pieces) = self.held.aside() else { return false };
        self.lasts(pieces).values().iter().any(|&last| self.window.end(last) <= settled.0)
    }

    fn firsts<'b>(&self, pieces: &'b RecordBatch) -> &'b Int64Array {
        pieces.column(pieces.num_columns() - 2).as_primitive::<Int64Type>()
    }

    fn lasts<'b>(&self, pieces: &'b RecordBatch) -> &'b Int64Array {
        pieces.column(pieces.num_columns() - 1).as_primitive::<Int64Type>()
    }

    /// Walks along the pieces of each key, in order of time, and cuts where a gap lies between.
    fn walk(&self, pieces: &RecordBatch, keys: &[usize]) -> Walk {
        let (firsts, lasts) = (self.firsts(pieces).values(), self.lasts(pieces).values());
        let mut order: Vec<(usize, i64, u32)> =
            (0_u32..).zip(keys.iter().zip(firsts)).map(|(row, (&key, &first))| (key, first, row)).collect();
        order.sort_unstable();
        let mut found: Vec<Found> = Vec::new();
        for (place, &(key, first, row)) in order.iter().enumerate() {
            let last = lasts[row as usize];
            match found.last_mut() {
                Some(session) if session.key == key && first < self.window.end(session.last) => {
                    session.last = session.last.max(last);
                    session.rows.end = place + 1;
                }
                _ => found.push(Found { key, first, last, rows: place..place + 1, is_over: false }),
            }
        }
        Walk { order: order.into_iter().map(|(_, _, row)| row).collect(), found }
    }

    /// Marks the sessions that are over. The pane in which the settled time lies may hold a record that goes on with one.
    fn mark_over(&mut self, walk: &mut Walk, keys: &mut Keys, settled: EventTime) -> Result<(), PaneError> {
        let next_pane = self.held.first_start().unwrap_or(i64::MAX);
        let mut goes_on = false;
        for session in &mut walk.found {
            let end = self.window.end(session.last);
            session.is_over = end <= settled.0;
            goes_on |= session.is_over && end > next_pane;
        }
        if !goes_on {
            return Ok(());
        }
        let (_, pane) = self.held.first().expect("a pane was seen");
        let states = pane.states()?;
        let mut earliest = vec![i64::MAX; keys.identities.len()];
        for state in &states {
            let columns = &state.columns()[..self.window.partition_keys];
            keys.identities.resolve(columns, state.num_rows(), &mut keys.numbers)?;
            for (&key, &first) in keys.numbers.iter().zip(self.firsts(state).values()) {
                // Keys that have no piece got numbers behind those that have.
                if let Some(earliest) = earliest.get_mut(key) {
                    *earliest = first.min(*earliest);
                }
            }
        }
        for session in &mut walk.found {
            // Only the last session of a key can go on; one before it ends before that one's first record.
            session.is_over &= earliest[session.key] >= self.window.end(session.last);
        }
        Ok(())
    }

    /// Pieces of open sessions, those of one group put together.
    fn join(&self, pieces: &RecordBatch, order: &[u32], open: &[Found]) -> Result<Option<RecordBatch>, PaneError> {
        if open.is_empty() {
            return Ok(None);
        }
        let grouped = self.group(pieces, order, open)?;
        let rows = taken(pieces, &grouped.rows);
        if grouped.heads.len() == grouped.rows.len() {
            return Ok(Some(rows));
        }
        let (mut columns, states) = self.columns(pieces, &rows, &grouped);
        let mut together = Numbered::new(&self.aggregation)?;
        together.merge(&grouped.numbers, grouped.heads.len(), &states)?;
        columns.extend(together.take_states(EmitTo::All)?);
        let joined = RecordBatch::try_new(self.aggregation.state_schema(), columns);
        Ok(Some(joined.expect("accumulators emit what their state fields say")))
    }

    fn evaluate(&self, pieces: &RecordBatch, order: &[u32], over: &[Found]) -> Result<Vec<MadeWindows>, PaneError> {
        if over.is_empty() {
            return Ok(Vec::new());
        }
        let grouped = self.group(pieces, order, over)?;
        let rows = taken(pieces, &grouped.rows);
        let (mut columns, states) = self.columns(pieces, &rows, &grouped);
        let mut together = Numbered::new(&self.aggregation)?;
        together.merge(&grouped.numbers, grouped.heads.len(), &states)?;
        let mut results = together.take_results(EmitTo::All, &columns)?;
        results.truncate(results.len() - 2);
        columns.extend(results);
        let windows = grouped.sessions.iter().map(|&session| &over[session]).map(|session| Made {
            start: session.first,
            end: self.window.end(session.last),
            reason: None,
            whole: true,
        });
        let windows = windows.collect();
        Ok(vec![MadeWindows::new(windows, &self.closed, columns)])
    }

    /// The keys of the groups, and the states of `rows`.
    fn columns(&self, pieces: &RecordBatch, rows: &RecordBatch, grouped: &Grouped) -> (Vec<ArrayRef>, Vec<ArrayRef>) {
        let count = self.aggregation.keys.fields().len();
        let heads = UInt32Array::from(grouped.heads.clone());
        let keys = pieces.columns()[..count].iter();
        let keys = keys.map(|key| take(key, &heads, None).expect("row numbers are in range")).collect();
        (keys, rows.columns()[count..].to_vec())
    }

    /// Numbers the groups of some sessions: one a session, or several where further keys split it.
    fn group(&self, pieces: &RecordBatch, order: &[u32], sessions: &[Found]) -> Result<Grouped, PaneError> {
        let mut grouped = Grouped::default();
        let others = &pieces.columns()[self.window.partition_keys..self.aggregation.keys.fields().len()];
        if others.is_empty() {
            for (number, session) in sessions.iter().enumerate() {
                grouped.heads.push(order[session.rows.start]);
                grouped.sessions.push(number);
                for &row in &order[session.rows.clone()] {
                    grouped.rows.push(row);
                    grouped.numbers.push(number);
                }
            }
            return Ok(grouped);
        }
        let mut fields = vec![Field::new("session", DataType::Int64, false)];
        let of_others = &self.aggregation.keys.fields()[self.window.partition_keys..];
        fields.extend(of_others.iter().map(|field| field.as_ref().clone()));
        let mut groups = Identities::new(&Arc::new(Schema::new(fields)))?;
        let mut of_rows: Vec<i64> = Vec::new();
        for (number, session) in (0_i64..).zip(sessions) {
            grouped.rows.extend(&order[session.rows.clone()]);
            of_rows.resize(grouped.rows.len(), number);
        }
        let rows = UInt32Array::from(grouped.rows.clone());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(of_rows.clone()))];
        columns.extend(others.iter().map(|key| take(key, &rows, None).expect("row numbers are in range")));
        groups.resolve(&columns, grouped.rows.len(), &mut grouped.numbers)?;
        for (place, &group) in grouped.numbers.iter().enumerate() {
            if group == grouped.heads.len() {
                grouped.heads.push(grouped.rows[place]);
                grouped.sessions.push(usize::try_from(of_rows[place]).expect("a number of a session"));
            }
        }
        Ok(grouped)
    }
}

impl Making for Sessions {
    fn split(&self, times: &[i64]) -> Split {
        split(&Tumbling { size: self.window.gap, offset: Micros(0) }.spans(times).0)
    }

    fn add(&mut self, pane: i64, times: &Int64Array, mut fed: Fed) -> Result<(), PaneError> {
        let times: ArrayRef = Arc::new(times.clone());
        for _ in 0..2 {
            fed.arguments.push(vec![Arc::clone(&times)]);
            fed.filters.push(None);
        }
        self.held.add(pane, &fed.keys, &fed.arguments, &fed.filters)
    }

    /// Those with `last + gap <= settled`.
    fn settle(&mut self, settled: EventTime) -> Result<Vec<MadeWindows>, PaneError> {
        let mut parts = Vec::new();
        while let Some((_, pieces)) = self.held.take_first(settled.minus(self.window.gap))? {
            parts.push(pieces);
        }
        if parts.is_empty() && !self.may_be_over(settled) {
            return Ok(Vec::new());
        }
        parts.extend(self.held.set_aside(None));
        let pieces = self.held.together(&parts);
        let mut keys = Keys { identities: Identities::new(&self.partition)?, numbers: Vec::new() };
        let columns = &pieces.columns()[..self.window.partition_keys];
        keys.identities.resolve(columns, pieces.num_rows(), &mut keys.numbers)?;
        let mut walk = self.walk(&pieces, &keys.numbers);
        self.mark_over(&mut walk, &mut keys, settled)?;
        let (over, open): (Vec<Found>, Vec<Found>) = walk.found.iter().cloned().partition(|session| session.is_over);
        let joined = self.join(&pieces, &walk.order, &open)?;
        self.held.set_aside(joined);
        self.evaluate(&pieces, &walk.order, &over)
    }

    fn opens_from(&self, settled: EventTime) -> Option<EventTime> {
        let first_piece = self.held.aside().and_then(|pieces| self.firsts(pieces).values().iter().copied().min());
        let first = [first_piece, self.held.first_start(), Some(settled.0)].into_iter().flatten().min();
        first.map(EventTime)
    }

    fn freeze(&mut self) -> Result<Vec<FrozenPart>, PaneError> {
        self.held.freeze()
    }

    fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        self.held.restore(pane, rows)
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)> {
        self.held.sizes(|pieces| self.firsts(pieces).values().iter().copied().min())
    }
}

/// Pieces in the order of keys and times, and the sessions that they make.
struct Walk {
    order: Vec<u32>,
    found: Vec<Found>,
}

/// The keys of pieces, and the number of each piece's key.
struct Keys {
    identities: Identities,
    numbers: Vec<usize>,
}

/// A session that some pieces make.
#[derive(Clone, Debug)]
struct Found {
    key: usize,
    first: i64,
    last: i64,
    /// Its pieces, as places in [`Walk::order`].
    rows: Range<usize>,
    is_over: bool,
}

/// Pieces of some sessions with the numbers of their groups.
#[derive(Default)]
struct Grouped {
    /// Piece by piece: its row, and its group.
    rows: Vec<u32>,
    numbers: Vec<usize>,
    /// Group by group: a row that has its keys, and its session.
    heads: Vec<u32>,
    sessions: Vec<usize>,
}

fn taken(pieces: &RecordBatch, rows: &[u32]) -> RecordBatch {
    take_record_batch(pieces, &UInt32Array::from(rows.to_vec())).expect("row numbers are in range")
}

/// min or max over the event time in microseconds.
fn extreme_time(function: &str, name: &str) -> Result<Arc<AggregateFunctionExpr>, DataFusionError> {
    let schema = Arc::new(Schema::new(vec![Field::new("_t", DataType::Int64, false)]));
    let known = crate::functions::aggregates();
    let function = known.into_iter().find(|known| known.name() == function).expect("min and max are known");
    let time = Arc::new(Column::new("_t", 0));
    AggregateExprBuilder::new(function, vec![time]).schema(schema).alias(name).build().map(Arc::new)
}
