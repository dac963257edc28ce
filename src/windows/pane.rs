//! A pane: the accumulators of one window, for all its keys.
//!
//! It has two parts: an open set that takes rows, and frozen deltas: immutable Arrow batches of partial states that a
//! checkpoint holds too. Freezing turns the open set into a delta, so a checkpoint costs what changed since the last; what
//! the delta holds is worked out by the checkpoint's writer, so records don't wait for it.
//!
//! Invariant: what a pane evaluates to is a function of the set of its rows, however they were spread over batches,
//! deltas and restores. It never drops or orders anything: rows come out in no promised order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use thiserror::Error;

use super::deferred::Deferred;
use super::groups::Groups;
use super::tiers::Tiers;

/// Rows below which deltas are not worth merging for their memory's sake.
const MERGE_ROWS_MIN: usize = 4_096;

/// What every pane of one INSERT has in common.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// Key columns, names and types.
    pub keys: SchemaRef,
    /// Aggregate functions, in the order of the result.
    pub functions: Vec<Arc<AggregateFunctionExpr>>,
    /// Whether equal keys are one group. Else each row stays by itself, its columns as they came; then there are no
    /// functions.
    pub groups: bool,
    state_schema: SchemaRef,
    state_widths: Vec<usize>,
    closed_schema: SchemaRef,
}

impl Aggregation {
    /// Works out the layouts. Fails with [`PaneError::Aggregate`] if a function can't say what its state looks like.
    pub fn new(keys: SchemaRef, functions: Vec<Arc<AggregateFunctionExpr>>) -> Result<Aggregation, PaneError> {
        let mut state: Vec<Field> = Vec::new();
        for (index, key) in keys.fields().iter().enumerate() {
            state.push(Field::new(format!("k{index}"), key.data_type().clone(), true));
        }
        let mut state_widths = Vec::with_capacity(functions.len());
        for (index, function) in functions.iter().enumerate() {
            let failed = |source| PaneError::Aggregate { aggregate: function.name().to_owned(), source };
            let fields = function.state_fields().map_err(failed)?;
            state_widths.push(fields.len());
            for (part, field) in fields.iter().enumerate() {
                state.push(Field::new(format!("a{index}_{part}"), field.data_type().clone(), true));
            }
        }
        let mut closed: Vec<Arc<Field>> = keys.fields().iter().cloned().collect();
        closed.extend(functions.iter().map(|function| function.field()));
        let state_schema = Arc::new(Schema::new(state));
        let closed_schema = Arc::new(Schema::new(closed));
        Ok(Aggregation { keys, functions, groups: true, state_schema, state_widths, closed_schema })
    }

    /// One that keeps rows of these columns, each by itself.
    pub fn of_rows(columns: SchemaRef) -> Aggregation {
        let rows = Aggregation::new(columns, Vec::new()).expect("no function can fail to say what its state is");
        Aggregation { groups: false, ..rows }
    }

    /// Layout of frozen deltas: keys (`k0`, `k1`, …), then every state field of every aggregate (`a0_0`, `a0_1`, …).
    pub fn state_schema(&self) -> SchemaRef {
        Arc::clone(&self.state_schema)
    }

    /// Layout of what a pane evaluates to: keys, then one column an aggregate, under its name.
    pub fn closed_schema(&self) -> SchemaRef {
        Arc::clone(&self.closed_schema)
    }

    /// Fails with [`PaneError::Layout`] unless `state` is laid out as [`Aggregation::state_schema`].
    pub(super) fn check_layout(&self, state: &RecordBatch) -> Result<(), PaneError> {
        PaneError::unless_laid_out_as(&self.state_schema, state)
    }

    /// State columns of each aggregate.
    pub(super) fn state_widths(&self) -> &[usize] {
        &self.state_widths
    }
}

/// What a pane couldn't do.
#[derive(Debug, Error)]
pub enum PaneError {
    /// An aggregate failed on its input; a fault of plan or program rather than of the data.
    #[error("aggregate {aggregate} failed")]
    Aggregate {
        /// Name of the aggregate's column.
        aggregate: String,
        /// What it says.
        source: DataFusionError,
    },
    /// The data's result doesn't fit its type. Nothing wrong was published; the job must be changed.
    #[error("{aggregate} overflows its type for {key}; cast its argument to a wider DECIMAL or to DOUBLE")]
    Overflow {
        /// Name of the aggregate's column.
        aggregate: String,
        /// The group, as `name = value, …`.
        key: String,
    },
    /// Keys couldn't be grouped.
    #[error("the group keys can't be used")]
    Keys(#[source] DataFusionError),
    /// States that were to be worked out when they are needed couldn't be.
    #[error(transparent)]
    Deferred(Arc<PaneError>),
    /// A restored delta isn't laid out as this aggregation's state.
    #[error("state of another layout: expected {expected}, found {found}; it belongs to another version of the job")]
    Layout {
        /// Columns of [`Aggregation::state_schema`].
        expected: String,
        /// Columns of the batch.
        found: String,
    },
}

impl PaneError {
    /// Fails with [`PaneError::Layout`] unless the columns have these names and types.
    pub(super) fn unless_laid_out_as(expected: &Schema, state: &RecordBatch) -> Result<(), PaneError> {
        let found = state.schema();
        let columns = expected.fields().iter().zip(found.fields());
        let mut same = columns.map(|(a, b)| a.name() == b.name() && a.data_type().equals_datatype(b.data_type()));
        if expected.fields().len() != found.fields().len() || !same.all(|same| same) {
            return Err(PaneError::layout(expected, &found));
        }
        Ok(())
    }

    /// State of another layout than expected.
    pub(super) fn layout(expected: &Schema, found: &Schema) -> PaneError {
        PaneError::Layout { expected: describe(expected), found: describe(found) }
    }
}

/// What a checkpoint is to write of a pane.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Partial states.
    pub states: Deferred,
    /// The freezes of the pane, counted from 0, whose changes they hold: they take the place of what these gave.
    pub covers: Range<u64>,
}

/// The accumulators of one window.
#[derive(Debug)]
pub struct Pane {
    aggregation: Arc<Aggregation>,
    open: Groups,
    /// Partial states, oldest first; a key may be in several.
    deltas: Vec<Delta>,
    tiers: Tiers,
}

/// What came between two freezes, or over several.
#[derive(Clone, Debug)]
struct Delta {
    states: Deferred,
    /// The first freeze that it holds; `None`: no checkpoint has it.
    first: Option<u64>,
}

impl Pane {
    /// A pane without rows. Fails if an accumulator can't be made for the types at hand.
    pub fn new(aggregation: &Arc<Aggregation>) -> Result<Pane, PaneError> {
        let open = Groups::new(aggregation)?;
        Ok(Pane { aggregation: Arc::clone(aggregation), open, deltas: Vec::new(), tiers: Tiers::default() })
    }

    /// Adds the rows of one batch: the key columns, for each aggregate its arguments (then its ORDER BY columns), and
    /// its FILTER if it has one (a null drops the row). Without keys all rows are one group; without any column at all
    /// the batch counts as one row. -0.0 and 0.0 are one key, all NaN are one key, NULL is a key.
    pub fn update(
        &mut self,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<(), PaneError> {
        let functions = self.aggregation.functions.len();
        assert_eq!((arguments.len(), filters.len()), (functions, functions), "arguments and filters per aggregate");
        self.open.update(keys, arguments, filters)
    }

    /// Turns what came since the last freeze into an immutable delta, which the pane keeps and the caller stores; nothing:
    /// none came. Where deltas are many ([`Tiers`]), or hold the same keys again and again, it is put together with those
    /// before it. It takes no time here: who needs the states first works them out.
    pub fn freeze(&mut self) -> Result<Option<Frozen>, PaneError> {
        let Some(delta) = self.take_delta(self.tiers.next())? else { return Ok(None) };
        let covers = if self.should_merge() { self.tiers.add_to_all() } else { self.tiers.add(delta.rows()) };
        let states = match covers.end - covers.start {
            1 => delta,
            _ => self.merge_from(covers.start).expect("there is the delta that was just taken"),
        };
        Ok(Some(Frozen { states, covers }))
    }

    /// What came since the last call, as a delta that the pane keeps: that of freeze `number`.
    pub(super) fn take_delta(&mut self, number: u64) -> Result<Option<Deferred>, PaneError> {
        self.seal()?;
        let known = self.deltas.iter().take_while(|delta| delta.first.is_some()).count();
        let fresh: Vec<Deferred> = self.deltas.drain(known..).map(|delta| delta.states).collect();
        let states = match fresh.as_slice() {
            [] => return Ok(None),
            [one] => one.clone(),
            _ => self.together(fresh),
        };
        self.deltas.push(Delta { states: states.clone(), first: Some(number) });
        Ok(Some(states))
    }

    /// Makes one delta of all from freeze `first` on; none: there is nothing of them.
    pub(super) fn merge_from(&mut self, first: u64) -> Option<Deferred> {
        let before = self.deltas.iter().take_while(|delta| delta.first.is_some_and(|from| from < first)).count();
        let several: Vec<Deferred> = self.deltas.drain(before..).map(|delta| delta.states).collect();
        let states = match several.as_slice() {
            [] => return None,
            [one] => one.clone(),
            _ => self.together(several),
        };
        self.deltas.push(Delta { states: states.clone(), first: Some(first) });
        Some(states)
    }

    /// Several deltas as one, in which a key comes once.
    fn together(&self, deltas: Vec<Deferred>) -> Deferred {
        let aggregation = Arc::clone(&self.aggregation);
        let rows = deltas.iter().map(Deferred::rows).sum();
        let bytes = deltas.iter().map(Deferred::bytes).sum();
        Deferred::new(rows, bytes, move || {
            let mut merged = Groups::new(&aggregation)?;
            for delta in deltas {
                merged.merge(&delta.get()?)?;
            }
            merged.take_state()
        })
    }

    /// Adds all that it holds to another set; whether that is anything. For panes that no row comes to any more, as what
    /// is open becomes a delta.
    pub(super) fn merge_into(&mut self, groups: &mut Groups) -> Result<bool, PaneError> {
        self.seal()?;
        self.deltas.iter().try_for_each(|delta| groups.merge(&delta.states.get()?))?;
        Ok(!self.deltas.is_empty())
    }

    /// Turns the open set into a delta.
    fn seal(&mut self) -> Result<(), PaneError> {
        if self.open.len() > 0 {
            let mut sealed = std::mem::replace(&mut self.open, Groups::new(&self.aggregation)?);
            let states = Deferred::new(sealed.len(), sealed.bytes(), move || sealed.take_state());
            self.deltas.push(Delta { states, first: None });
        }
        Ok(())
    }

    /// Adds a delta as if its rows came now: the next freeze gives it again. For panes that are dealt out anew to
    /// another number of workers. Fails with [`PaneError::Layout`] if it is of another layout.
    pub fn merge(&mut self, delta: &RecordBatch) -> Result<(), PaneError> {
        self.aggregation.check_layout(delta)?;
        self.open.merge(delta)
    }

    /// All rows as one batch of partial states, a group in one row.
    pub(super) fn into_state(mut self) -> Result<RecordBatch, PaneError> {
        if self.open.len() == 0
            && let [delta] = self.deltas.as_slice()
        {
            return delta.states.get();
        }
        self.open_all()?;
        self.open.take_state()
    }

    /// Puts all deltas into the open set.
    fn open_all(&mut self) -> Result<(), PaneError> {
        for delta in std::mem::take(&mut self.deltas) {
            self.open.merge(&delta.states.get()?)?;
        }
        Ok(())
    }

    /// The partial states of all rows; a group may be in several. What the pane holds, and what the next freeze gives, stay
    /// as they were.
    pub(super) fn states(&mut self) -> Result<Vec<RecordBatch>, PaneError> {
        self.seal()?;
        self.deltas.iter().map(|delta| delta.states.get()).collect()
    }

    /// The result of all rows: keys, then aggregates, laid out as [`Aggregation::closed_schema`]. One row a group, in no
    /// promised order.
    /// Fails with [`PaneError::Overflow`] if a result doesn't fit its type.
    pub fn close(mut self) -> Result<RecordBatch, PaneError> {
        self.open_all()?;
        self.open.take_results()
    }

    /// As [`Pane::close`], but the pane goes on: for windows that are published again when a late record changes them.
    /// What it holds, and what the next freeze gives, stay as they were.
    pub fn evaluate(&mut self) -> Result<RecordBatch, PaneError> {
        let mut all = Groups::new(&self.aggregation)?;
        self.deltas.iter().try_for_each(|delta| all.merge(&delta.states.get()?))?;
        if self.open.len() > 0 {
            // Emitting state empties an accumulator, so it is put back.
            let state = self.open.take_state()?;
            self.open.merge(&state)?;
            all.merge(&state)?;
        }
        all.take_results()
    }

    /// Number of groups; a key that is in several deltas counts in each.
    pub fn groups(&self) -> usize {
        self.open.len() + self.rows_of_deltas().sum::<usize>()
    }

    /// Whether no row and no delta has come.
    pub fn is_empty(&self) -> bool {
        self.groups() == 0
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.open.bytes() + self.deltas.iter().map(|delta| delta.states.bytes()).sum::<usize>()
    }

    /// More than twice the rows of the largest delta: then most keys are held several times. The rows of the whole at least
    /// double between two merges of fresh keys, so writing stays linear.
    pub(super) fn should_merge(&self) -> bool {
        let rows: usize = self.rows_of_deltas().sum();
        let largest = self.rows_of_deltas().max().unwrap_or(0);
        rows > (2 * largest).max(MERGE_ROWS_MIN)
    }

    fn rows_of_deltas(&self) -> impl Iterator<Item = usize> {
        self.deltas.iter().map(|delta| delta.states.rows())
    }
}

fn describe(schema: &Schema) -> String {
    let fields = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    fields.collect::<Vec<_>>().join(", ")
}
