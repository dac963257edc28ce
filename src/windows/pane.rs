//! A pane: the accumulators of one window, for all its keys.
//!
//! It has two parts: an open set that takes rows, and frozen deltas: immutable Arrow batches of partial states that a
//! checkpoint holds too. Freezing turns the open set into a delta, so a checkpoint costs what changed since the last.
//!
//! Invariant: what a pane evaluates to is a function of the set of its rows, however they were spread over batches,
//! deltas and restores. It never drops or orders anything: rows come out in no promised order.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use thiserror::Error;

use super::groups::Groups;

/// Deltas that a pane keeps; one more, and they are merged into one. Bounds the files of a checkpoint.
pub(super) const DELTAS_MAX: usize = 8;
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

/// What [`Pane::freeze`] gives a checkpoint to write.
#[derive(Clone, Debug)]
pub enum Frozen {
    /// Nothing changed since the last freeze: what is stored is still the whole.
    Nothing,
    /// Add this to what is stored.
    Delta(RecordBatch),
    /// This replaces everything stored of the pane.
    Whole(RecordBatch),
}

/// The accumulators of one window.
#[derive(Debug)]
pub struct Pane {
    aggregation: Arc<Aggregation>,
    open: Groups,
    /// Partial states; a key may be in several.
    deltas: Vec<RecordBatch>,
    /// How many of them, from the first, were given to a checkpoint.
    written: usize,
}

impl Pane {
    /// A pane without rows. Fails if an accumulator can't be made for the types at hand.
    pub fn new(aggregation: &Arc<Aggregation>) -> Result<Pane, PaneError> {
        let open = Groups::new(aggregation)?;
        Ok(Pane { aggregation: Arc::clone(aggregation), open, deltas: Vec::new(), written: 0 })
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

    /// Turns what came since the last freeze into an immutable delta, which the pane keeps (a cheap clone) and the
    /// caller stores. When deltas are many, or hold the same keys again and again, they are merged into one, and the
    /// answer says so.
    pub fn freeze(&mut self) -> Result<Frozen, PaneError> {
        let Some(delta) = self.take_delta()? else { return Ok(Frozen::Nothing) };
        if !self.should_merge() {
            return Ok(if self.deltas.len() == 1 { Frozen::Whole(delta) } else { Frozen::Delta(delta) });
        }
        let whole = self.merge_deltas()?.expect("there is the delta that was just taken");
        Ok(Frozen::Whole(whole))
    }

    /// What came since the last freeze, as a delta that the pane keeps.
    pub(super) fn take_delta(&mut self) -> Result<Option<RecordBatch>, PaneError> {
        self.seal()?;
        let unwritten = &self.deltas[self.written..];
        let delta = match unwritten {
            [] => return Ok(None),
            [one] => one.clone(),
            several => concat_batches(&self.aggregation.state_schema, several).expect("all have the same layout"),
        };
        self.written = self.deltas.len();
        Ok(Some(delta))
    }

    /// Merges all deltas into one, which replaces everything stored of the pane; none: there is nothing in it.
    pub(super) fn merge_deltas(&mut self) -> Result<Option<RecordBatch>, PaneError> {
        self.seal()?;
        if self.deltas.is_empty() {
            return Ok(None);
        }
        let whole = self.merged()?.take_state()?;
        self.deltas.clear();
        self.deltas.push(whole.clone());
        self.written = 1;
        Ok(Some(whole))
    }

    /// Adds all that it holds to another set; whether that is anything. For panes that no row comes to any more, as what
    /// is open becomes a delta.
    pub(super) fn merge_into(&mut self, groups: &mut Groups) -> Result<bool, PaneError> {
        self.seal()?;
        self.deltas.iter().try_for_each(|delta| groups.merge(delta))?;
        Ok(!self.deltas.is_empty())
    }

    /// Turns the open set into a delta.
    fn seal(&mut self) -> Result<(), PaneError> {
        if self.open.len() > 0 {
            let delta = self.open.take_state()?;
            self.deltas.push(delta);
        }
        Ok(())
    }

    /// Adds a delta that a checkpoint holds already: later freezes don't give it again. Fails with
    /// [`PaneError::Layout`] if it is of another layout.
    pub fn restore(&mut self, delta: RecordBatch) -> Result<(), PaneError> {
        self.aggregation.check_layout(&delta)?;
        self.deltas.insert(self.written, delta);
        self.written += 1;
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
        if self.open.len() == 0 && self.deltas.len() == 1 {
            return Ok(self.deltas.remove(0));
        }
        for delta in std::mem::take(&mut self.deltas) {
            self.open.merge(&delta)?;
        }
        self.open.take_state()
    }

    /// The partial states of all rows; a group may be in several. What the pane holds, and what the next freeze gives, stay
    /// as they were.
    pub(super) fn states(&mut self) -> Result<Vec<RecordBatch>, PaneError> {
        self.seal()?;
        Ok(self.deltas.clone())
    }

    /// The result of all rows: keys, then aggregates, laid out as [`Aggregation::closed_schema`]. One row a group, in no
    /// promised order.
    /// Fails with [`PaneError::Overflow`] if a result doesn't fit its type.
    pub fn close(mut self) -> Result<RecordBatch, PaneError> {
        for delta in std::mem::take(&mut self.deltas) {
            self.open.merge(&delta)?;
        }
        self.open.take_results()
    }

    /// As [`Pane::close`], but the pane goes on: for windows that are published again when a late record changes them.
    /// What it holds, and what the next freeze gives, stay as they were.
    pub fn evaluate(&mut self) -> Result<RecordBatch, PaneError> {
        let mut all = self.merged()?;
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
        self.open.len() + self.deltas.iter().map(RecordBatch::num_rows).sum::<usize>()
    }

    /// Whether no row and no delta has come.
    pub fn is_empty(&self) -> bool {
        self.groups() == 0
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.open.bytes() + self.deltas.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }

    /// More than [`DELTAS_MAX`] deltas, or more than twice the rows of the largest: then most keys are held several
    /// times. The rows of the whole at least double between two merges of fresh keys, so writing stays linear.
    pub(super) fn should_merge(&self) -> bool {
        let rows: usize = self.deltas.iter().map(RecordBatch::num_rows).sum();
        let largest = self.deltas.iter().map(RecordBatch::num_rows).max().unwrap_or(0);
        self.deltas.len() > DELTAS_MAX || rows > (2 * largest).max(MERGE_ROWS_MIN)
    }

    /// All deltas in one set; the open set isn't touched.
    fn merged(&self) -> Result<Groups, PaneError> {
        let mut merged = Groups::new(&self.aggregation)?;
        for delta in &self.deltas {
            merged.merge(delta)?;
        }
        Ok(merged)
    }
}

fn describe(schema: &Schema) -> String {
    let fields = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    fields.collect::<Vec<_>>().join(", ")
}
