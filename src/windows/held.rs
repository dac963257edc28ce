//! What is in hand of windows that the data makes: records in panes while others may join them there, and partial states
//! set aside, one batch of them, once their panes are gone.
//!
//! Invariant: what was frozen, put together, is what is held: a checkpoint hears of every pane that is gone and of every
//! change of what is set aside ([`super::aside`]).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::aside::{Aside, NUMBER, with_column};
use super::deferred::Deferred;
use super::pane::{Aggregation, Frozen, Pane, PaneError};
use crate::event::EventTime;

/// Pane number, in checkpoints, of what is set aside.
pub const ASIDE: i64 = i64::MIN;

/// What changed of a pane, or of [`ASIDE`], for a checkpoint.
#[derive(Clone, Debug)]
pub struct FrozenPart {
    /// Start of the pane, in microseconds.
    pub pane: i64,
    /// Partial states; `None`: forget it.
    pub states: Option<Deferred>,
    /// The freezes whose changes they hold, as [`Frozen::covers`].
    pub covers: Range<u64>,
}

impl FrozenPart {
    /// All that there is of a pane, by the freeze of this number; no rows: forget it.
    pub(super) fn whole(pane: i64, rows: Option<RecordBatch>, number: u64) -> FrozenPart {
        let states = rows.filter(|rows| rows.num_rows() > 0).map(Deferred::of);
        FrozenPart { pane, states, covers: 0..number + 1 }
    }

    /// That a pane is gone.
    fn gone(pane: i64) -> FrozenPart {
        FrozenPart { pane, states: None, covers: 0..u64::MAX }
    }
}

/// Panes, and what is set aside.
#[derive(Debug)]
pub(super) struct Held {
    aggregation: Arc<Aggregation>,
    /// Layout of what is set aside and of frozen rows: the aggregation's state, then columns of the kind's own and [`NUMBER`],
    /// BIGINT and null in rows out of panes.
    layout: SchemaRef,
    /// By start, in microseconds.
    panes: BTreeMap<i64, Pane>,
    aside: Aside,
    /// Which panes are gone: a checkpoint must hear of it at the next freeze.
    gone: BTreeSet<i64>,
}

impl Held {
    /// Nothing yet, on this worker. What is set aside has these columns of its own.
    pub(super) fn new(aggregation: &Arc<Aggregation>, own: &[&str], worker: usize) -> Held {
        let state = aggregation.state_schema();
        let own = own.iter().chain(&[NUMBER]).map(|name| Arc::new(Field::new(*name, DataType::Int64, true)));
        let fields: Vec<Arc<Field>> = state.fields().iter().cloned().chain(own).collect();
        Held {
            aggregation: Arc::clone(aggregation),
            layout: Arc::new(Schema::new(fields)),
            panes: BTreeMap::new(),
            aside: Aside::new(ASIDE, worker),
            gone: BTreeSet::new(),
        }
    }

    /// Adds rows to the pane that starts at `start`, as [`Pane::update`].
    pub(super) fn add(
        &mut self,
        start: i64,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<(), PaneError> {
        self.pane(start)?.update(keys, arguments, filters)
    }

    fn pane(&mut self, start: i64) -> Result<&mut Pane, PaneError> {
        Ok(match self.panes.entry(start) {
            Entry::Occupied(pane) => pane.into_mut(),
            Entry::Vacant(place) => place.insert(Pane::new(&self.aggregation)?),
        })
    }

    /// The first pane.
    pub(super) fn first(&mut self) -> Option<(i64, &mut Pane)> {
        self.panes.iter_mut().next().map(|(&start, pane)| (start, pane))
    }

    /// Start of the first pane.
    pub(super) fn first_start(&self) -> Option<i64> {
        self.panes.keys().next().copied()
    }

    /// Layout of what is set aside.
    pub(super) fn layout(&self) -> SchemaRef {
        Arc::clone(&self.layout)
    }

    /// How many columns of it are the aggregation's.
    pub(super) fn state_columns(&self) -> usize {
        self.aggregation.state_schema().fields().len()
    }

    /// Takes the first pane out if it starts at or before `time`.
    pub(super) fn take_first(&mut self, time: EventTime) -> Result<Option<(i64, RecordBatch)>, PaneError> {
        let Some(first) = self.panes.first_entry().filter(|first| *first.key() <= time.0) else { return Ok(None) };
        let (start, pane) = first.remove_entry();
        self.gone.insert(start);
        Ok(Some((start, padded(&self.layout, &pane.into_state()?))))
    }

    /// Gives states out of panes to the pane that starts at `start`.
    pub(super) fn merge(&mut self, start: i64, states: &RecordBatch) -> Result<(), PaneError> {
        let of_pane: Vec<usize> = (0..self.state_columns()).collect();
        self.pane(start)?.merge(&states.project(&of_pane).expect("the layout begins with the state"))
    }

    /// What is set aside.
    pub(super) fn aside(&self) -> Option<&RecordBatch> {
        self.aside.rows()
    }

    /// Sets something else aside; what was there before. What stays as it was keeps its [`NUMBER`], all else has none.
    pub(super) fn set_aside(&mut self, states: Option<RecordBatch>) -> Option<RecordBatch> {
        self.aside.set(states)
    }

    /// Batches of partial states as one.
    pub(super) fn together(&self, parts: &[RecordBatch]) -> RecordBatch {
        match parts {
            [one] => one.clone(),
            several => concat_batches(&self.layout, several).expect("parts have one layout"),
        }
    }

    /// What changed since the last call.
    pub(super) fn freeze(&mut self) -> Result<Vec<FrozenPart>, PaneError> {
        let mut frozen: Vec<FrozenPart> = self.aside.freeze().into_iter().collect();
        frozen.extend(std::mem::take(&mut self.gone).into_iter().map(FrozenPart::gone));
        for (&pane, open) in &mut self.panes {
            if let Some(Frozen { states, covers }) = open.freeze()? {
                let layout = Arc::clone(&self.layout);
                let states = Some(states.map(move |states| padded(&layout, states)));
                frozen.push(FrozenPart { pane, states, covers });
            }
        }
        Ok(frozen)
    }

    /// Frozen rows with only those values of the first own column that `stays` says of, by row and value.
    pub(super) fn with_own_where(
        &self,
        rows: &RecordBatch,
        stays: impl Fn(usize, i64) -> bool,
    ) -> Result<RecordBatch, PaneError> {
        let rows = &with_column(&self.layout, rows);
        PaneError::unless_laid_out_as(&self.layout, rows)?;
        let index = self.state_columns();
        let values = rows.column(index).as_primitive::<Int64Type>().iter().enumerate();
        let values: Int64Array = values.map(|(row, value)| value.filter(|&value| stays(row, value))).collect();
        let mut columns = rows.columns().to_vec();
        columns[index] = Arc::new(values);
        Ok(RecordBatch::try_new(Arc::clone(&self.layout), columns).expect("the layout was checked"))
    }

    /// Takes rows that [`Held::freeze`] gave, as if they came now.
    pub(super) fn restore(&mut self, pane: i64, rows: &RecordBatch) -> Result<(), PaneError> {
        let rows = &with_column(&self.layout, rows);
        PaneError::unless_laid_out_as(&self.layout, rows)?;
        if pane != ASIDE {
            return self.merge(pane, rows);
        }
        self.aside.restore(rows);
        Ok(())
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.aside().is_none()
    }

    /// Memory held by each pane, and by what is set aside under the time that `first` finds in it.
    pub(super) fn sizes(
        &self,
        first: impl Fn(&RecordBatch) -> Option<i64>,
    ) -> impl Iterator<Item = (EventTime, usize)> {
        let aside = self.aside().into_iter().map(move |states| {
            let first = first(states).unwrap_or(ASIDE);
            (EventTime(first), self.aside.bytes())
        });
        aside.chain(self.panes.iter().map(|(&start, pane)| (EventTime(start), pane.bytes())))
    }
}

/// Rows in a layout that goes on behind their columns: null there.
pub(super) fn padded(layout: &SchemaRef, states: &RecordBatch) -> RecordBatch {
    if states.num_columns() == layout.fields().len() {
        return states.clone();
    }
    let mut columns = states.columns().to_vec();
    for field in &layout.fields()[columns.len()..] {
        columns.push(new_null_array(field.data_type(), states.num_rows()));
    }
    RecordBatch::try_new(Arc::clone(layout), columns).expect("the layout begins with the state")
}
