//! A pane that several windows share.
//!
//! Rows that all of its windows take are in one set. A record that is late for the first of them waits in a side set, one
//! for each window that is the first to take it, and must not reach the windows before, even while these are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::event::{TIMESTAMP_ZONE, timestamp_type};
use crate::windows::groups::Groups;
use crate::windows::tiers::Tiers;
use crate::windows::{Aggregation, Deferred, Frozen, Pane, PaneError};

/// The first column of a frozen pane: the end of the first window that takes a row; null: all windows of the pane do.
pub const FROM: &str = "_from";

/// The accumulators of one pane.
#[derive(Debug)]
pub struct SharedPane {
    aggregation: Arc<Aggregation>,
    /// Of rows that all windows take.
    all: Pane,
    /// By the end of the first window that takes them.
    sides: BTreeMap<i64, Pane>,
    tiers: Tiers,
}

impl SharedPane {
    /// A pane without rows. Fails if an accumulator can't be made for the types at hand.
    pub fn new(aggregation: &Arc<Aggregation>) -> Result<SharedPane, PaneError> {
        let all = Pane::new(aggregation)?;
        Ok(SharedPane { aggregation: Arc::clone(aggregation), all, sides: BTreeMap::new(), tiers: Tiers::default() })
    }

    /// Where rows go that the window which ends at `from` is the first to take; `None`: all windows of the pane take them.
    pub fn part(&mut self, from: Option<i64>) -> Result<&mut Pane, PaneError> {
        use std::collections::btree_map::Entry;
        let Some(from) = from else { return Ok(&mut self.all) };
        Ok(match self.sides.entry(from) {
            Entry::Occupied(side) => side.into_mut(),
            Entry::Vacant(free) => free.insert(Pane::new(&self.aggregation)?),
        })
    }

    /// Adds to `groups` what all windows take, and what those from `until` on do.
    pub(super) fn merge_through(&mut self, until: i64, groups: &mut Groups) -> Result<bool, PaneError> {
        let mut any = self.all.merge_into(groups)?;
        for (_, side) in self.sides.range_mut(..=until) {
            any |= side.merge_into(groups)?;
        }
        Ok(any)
    }

    /// Adds to `groups` what joins the pane in windows that end after `after`, up to `until`. Whether there is any.
    pub(super) fn merge_sides(&mut self, after: i64, until: i64, groups: &mut Groups) -> Result<bool, PaneError> {
        let mut any = false;
        if after < until {
            for (_, side) in self.sides.range_mut(after + 1..=until) {
                any |= side.merge_into(groups)?;
            }
        }
        Ok(any)
    }

    /// As [`Pane::freeze`], with [`FROM`] before the columns of the state. Sides are told from the rest by a column only, so
    /// what takes the place of freezes of one part does so of all parts.
    pub fn freeze(&mut self) -> Result<Option<Frozen>, PaneError> {
        let number = self.tiers.next();
        let mut parts: Vec<(Option<i64>, Deferred)> = Vec::new();
        for (from, part) in self.parts() {
            parts.extend(part.take_delta(number)?.map(|states| (from, states)));
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let should_merge = self.parts().any(|(_, part)| part.should_merge());
        let rows = parts.iter().map(|(_, states)| states.rows()).sum();
        let covers = if should_merge { self.tiers.add_to_all() } else { self.tiers.add(rows) };
        if covers.start < number {
            let merged = self.parts().filter_map(|(from, part)| Some((from, part.merge_from(covers.start)?)));
            parts = merged.collect();
        }
        let schema = frozen_schema(&self.aggregation);
        let rows = parts.iter().map(|(_, states)| states.rows()).sum();
        // What the parts hold counts there.
        let states = Deferred::new(rows, 0, move || {
            let rows = parts.iter().map(|(from, states)| Ok(with_from(&states.get()?, *from)));
            let rows = rows.collect::<Result<Vec<RecordBatch>, PaneError>>()?;
            Ok(concat_batches(&schema, &rows).expect("all have the same layout"))
        });
        Ok(Some(Frozen { states, covers }))
    }

    /// The rows that all windows take, then the sides.
    fn parts(&mut self) -> impl Iterator<Item = (Option<i64>, &mut Pane)> {
        let sides = self.sides.iter_mut().map(|(&from, side)| (Some(from), side));
        std::iter::once((None, &mut self.all)).chain(sides)
    }

    /// Takes rows that [`SharedPane::freeze`] gave, as if they came now: the next freeze gives them again. Fails with
    /// [`PaneError::Layout`] if they are of another layout.
    pub fn merge(&mut self, frozen: &RecordBatch) -> Result<(), PaneError> {
        let expected = frozen_schema(&self.aggregation);
        let same = frozen
            .schema()
            .fields()
            .first()
            .is_some_and(|field| field.name() == FROM && *field.data_type() == timestamp_type());
        if !same {
            return Err(PaneError::layout(&expected, &frozen.schema()));
        }
        let froms = frozen.column(0).as_primitive::<TimestampMicrosecondType>();
        let mut rows_of: BTreeMap<Option<i64>, Vec<u32>> = BTreeMap::new();
        for row in 0..froms.len() {
            let from = froms.is_valid(row).then(|| froms.value(row));
            rows_of.entry(from).or_default().push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
        }
        let state: Vec<usize> = (1..frozen.num_columns()).collect();
        let state = frozen.project(&state).expect("columns of the batch");
        for (from, rows) in rows_of {
            let rows = take_record_batch(&state, &UInt32Array::from(rows)).expect("row numbers are in range");
            self.part(from)?.merge(&rows)?;
        }
        Ok(())
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.all.bytes() + self.sides.values().map(Pane::bytes).sum::<usize>()
    }
}

fn frozen_schema(aggregation: &Aggregation) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new(FROM, timestamp_type(), true))];
    fields.extend(aggregation.state_schema().fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

fn with_from(state: &RecordBatch, from: Option<i64>) -> RecordBatch {
    let froms = TimestampMicrosecondArray::from(vec![from; state.num_rows()]).with_timezone(TIMESTAMP_ZONE);
    let mut fields = vec![Arc::new(Field::new(FROM, timestamp_type(), true))];
    fields.extend(state.schema().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(froms)];
    columns.extend(state.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("one more column")
}
