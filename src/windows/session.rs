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
//! aggregates. When a pane is over, its groups are *pieces* of sessions, and pieces of one key that lie less than a gap apart
//! are put together.
//!
//! Where late records may change sessions that are over, these are given early and stay: as one piece for each group, which
//! says when it was given. A late record makes a piece that wasn't given, so a session with pieces of both kinds has changed,
//! and those that were given are what it replaces: they may be several sessions that the record has joined.
//!
//! Invariants: pieces of different sessions of a key stand at least a gap apart, so sorting them by their first times and
//! walking along them gives the sessions; the pieces that were given, by themselves, give those that are shown. What a
//! session evaluates to is a function of its records alone, however often it was asked what is over. Nothing here judges
//! lateness: the caller brings no record before a time that it has settled.

mod fate;
mod grouped;
mod walk;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;

use self::fate::Fate;
use self::walk::{Found, Piece, Walk};
use super::aside::numbers;
use super::fed::Fed;
use super::held::{ASIDE, FrozenPart, Held};
use super::identities::Identities;
use super::made::{Made, MadeWindows, Making, Reached, Revised, Settled};
use super::pane::{Aggregation, PaneError};
use super::split::{Split, split};
use super::{Adjacent, Tumbling};
use crate::event::{EventTime, Micros};

/// The column of a piece that says at which watermark it was given; null: it wasn't.
const GIVEN: &str = "_given";

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

    fn window(&self, first: i64, last: i64) -> Made {
        Made { start: first, end: self.end(last), reason: None, whole: true }
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
    /// `None`: sessions are given when no record can change them any more.
    revised: Option<Revised>,
    /// Panes, and the pieces that lie in no pane any more.
    held: Held,
    /// Before it nothing becomes of the pieces unless others come.
    look_again: EventTime,
}

impl Sessions {
    /// No sessions yet, on this worker. `functions` are the user's aggregates over groups of `keys`. Sessions are given early,
    /// and again while they are `revised`. Fails if a function can't say what its state looks like.
    pub fn new(
        window: Session,
        keys: SchemaRef,
        mut functions: Vec<Arc<AggregateFunctionExpr>>,
        revised: Option<Revised>,
        worker: usize,
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
        let held = Held::new(&aggregation, revised.as_ref().map_or(&[], |_| &[GIVEN]), worker);
        Ok(Sessions { window, aggregation, partition, closed, revised, held, look_again: EventTime::MIN })
    }

    fn firsts<'b>(&self, pieces: &'b RecordBatch) -> &'b Int64Array {
        pieces.column(self.held.state_columns() - 2).as_primitive::<Int64Type>()
    }

    fn lasts<'b>(&self, pieces: &'b RecordBatch) -> &'b Int64Array {
        pieces.column(self.held.state_columns() - 1).as_primitive::<Int64Type>()
    }

    /// The sessions that some pieces make.
    fn walk(&self, pieces: &RecordBatch, keys: &[usize]) -> Walk {
        let (firsts, lasts) = (self.firsts(pieces).values(), self.lasts(pieces).values());
        let given = self.revised.map(|_| pieces.column(self.held.state_columns()).as_primitive::<Int64Type>());
        let given = |row: usize| given.and_then(|given| given.is_valid(row).then(|| given.value(row)));
        let piece = |(row, &key): (usize, &usize)| Piece {
            key,
            first: firsts[row],
            last: lasts[row],
            row: u32::try_from(row).expect("fewer than 2^32 pieces"),
            given: given(row),
        };
        Walk::along(keys.iter().enumerate().map(piece).collect(), self.window)
    }

    /// Marks the sessions that the pane goes on with in which the end of time that is over lies.
    fn mark_going_on(&mut self, walk: &mut Walk, keys: &mut Keys, over: EventTime) -> Result<(), PaneError> {
        let next_pane = self.held.first_start().unwrap_or(i64::MAX);
        let window = self.window;
        let may_go_on = |session: &Found| {
            let end = window.end(session.last);
            next_pane < end && end <= over.0
        };
        if !walk.found.iter().any(may_go_on) {
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
            session.goes_on = may_go_on(session) && earliest[session.key] < window.end(session.last);
        }
        Ok(())
    }

    /// What becomes of each session, in `walk`'s order.
    fn fates(&mut self, walk: &Walk, at: Reached) -> Vec<Fate> {
        let allowed = self.revised.map_or(Micros(0), |revised| revised.allowed);
        let of_each = walk.found.iter().map(|session| Fate::of(session, &self.window, allowed, at));
        let (fates, next): (Vec<Fate>, Vec<EventTime>) = of_each.unzip();
        self.look_again = next.into_iter().min().unwrap_or(EventTime::MAX);
        fates
    }

    /// The pieces that stay.
    fn kept(
        &self,
        pieces: &RecordBatch,
        walk: &Walk,
        fates: &[Fate],
        at: Reached,
    ) -> Result<Option<RecordBatch>, PaneError> {
        let (mut joined, mut given, mut as_they_are) = (Vec::new(), Vec::new(), Vec::new());
        let numbers = numbers(pieces);
        let is_as_it_was = |session: &Found| walk.rows(session).all(|row| numbers.is_valid(row as usize));
        for (session, fate) in walk.found.iter().zip(fates) {
            match fate {
                Fate::Wait if session.given.is_some() || is_as_it_was(session) => {
                    as_they_are.extend(walk.rows(session));
                }
                Fate::Wait | Fate::Withdraw => {
                    joined.push(session);
                    given.push(None);
                }
                Fate::Give { stays: true } => {
                    joined.push(session);
                    given.push(Some(at.over.0));
                }
                Fate::Give { stays: false } | Fate::Drop => {}
            }
        }
        let mut parts = Vec::new();
        if !joined.is_empty() {
            parts.push(self.join(pieces, walk, &joined, &given)?);
        }
        if !as_they_are.is_empty() {
            parts.push(taken(pieces, &as_they_are));
        }
        Ok((!parts.is_empty()).then(|| self.held.together(&parts)))
    }

    /// The sessions that were given, of those whose fate is to be given anew, or no more.
    fn replaced(&self, pieces: &RecordBatch, walk: &Walk, fates: &[Fate]) -> Option<MadeWindows> {
        let (mut windows, mut heads) = (Vec::new(), Vec::new());
        for (session, fate) in walk.found.iter().zip(fates) {
            if matches!(fate, Fate::Give { .. } | Fate::Withdraw) {
                for shown in walk.given_of(session, self.window) {
                    windows.push(self.window.window(shown.first, shown.last));
                    heads.push(shown.row);
                }
            }
        }
        if windows.is_empty() {
            return None;
        }
        let heads = UInt32Array::from(heads);
        let keys = pieces.columns()[..self.window.partition_keys].iter();
        let keys = keys.map(|key| take(key, &heads, None).expect("row numbers are in range"));
        Some(MadeWindows::new(windows, &self.partition, keys.collect()))
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

    /// Over are those with `last + gap <= over`.
    fn settle(&mut self, at: Reached) -> Result<Settled, PaneError> {
        let mut parts = Vec::new();
        while let Some((_, pieces)) = self.held.take_first(at.over.minus(self.window.gap))? {
            parts.push(pieces);
        }
        if parts.is_empty() && (self.held.aside().is_none() || at.over < self.look_again) {
            return Ok(Settled::default());
        }
        parts.extend(self.held.set_aside(None));
        let pieces = self.held.together(&parts);
        let mut keys = Keys { identities: Identities::new(&self.partition)?, numbers: Vec::new() };
        let columns = &pieces.columns()[..self.window.partition_keys];
        keys.identities.resolve(columns, pieces.num_rows(), &mut keys.numbers)?;
        let mut walk = self.walk(&pieces, &keys.numbers);
        self.mark_going_on(&mut walk, &mut keys, at.over)?;
        let fates = self.fates(&walk, at);
        let kept = self.kept(&pieces, &walk, &fates, at)?;
        self.held.set_aside(kept);
        let over = walk.found.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Give { .. }));
        let over: Vec<&Found> = over.map(|(session, _)| session).collect();
        let given = self.evaluate(&pieces, &walk, &over)?.into_iter().collect();
        Ok(Settled { given, replaced: self.replaced(&pieces, &walk, &fates) })
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
        self.look_again = EventTime::MIN;
        let Some(revised) = self.revised.filter(|_| pane == ASIDE) else { return self.held.restore(pane, rows) };
        // All that is held of sessions that were given may still change, so they end behind what is settled.
        let is_shown = |given: i64| EventTime(given) <= revised.published_below;
        self.held.restore(pane, &self.held.with_own_where(rows, |_, given| is_shown(given))?)
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn sizes(&self) -> impl Iterator<Item = (EventTime, usize)> {
        self.held.sizes(|pieces| self.firsts(pieces).values().iter().copied().min())
    }
}

/// The keys of pieces, and the number of each piece's key.
struct Keys {
    identities: Identities,
    numbers: Vec<usize>,
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
