//! The second half of an INSERT, on the worker that keeps a key: panes, and their closing.
//! Invariant: a pane is created by a row and gone when its window closes; rows reach it only before that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::epoch::{EngineError, FrozenPane, OpenWindows};
use super::prepare::{Argument, PANE_COLUMN, Preparation};
use crate::event::{EventTime, TIMESTAMP_ZONE};
use crate::job::{Insert, Plan};
use crate::windows::pane::{Frozen, PaneError};
use crate::windows::tumbling::Split;
use crate::windows::{Aggregation, Pane, WINDOW_COLUMNS, Window};

/// The open windows of one INSERT on one worker.
pub(super) struct Keeper {
    index: usize,
    plan: Arc<Plan>,
    aggregation: Arc<Aggregation>,
    keys: Range<usize>,
    arguments: Vec<Vec<Argument>>,
    filters: Vec<Option<usize>>,
    panes: BTreeMap<i64, Pane>,
}

impl Keeper {
    pub(super) fn new(plan: &Arc<Plan>, index: usize, preparation: &Preparation) -> Result<Keeper, EngineError> {
        let insert = &plan.inserts[index];
        let window_columns = WINDOW_COLUMNS.len();
        let keys = &insert.closed_schema.fields()[window_columns..window_columns + insert.keys.len()];
        let functions = insert.aggregates.iter().map(|aggregate| aggregate.function.clone()).collect();
        let aggregation = Aggregation::new(Arc::new(Schema::new(keys.to_vec())), functions).map_err(|source| {
            EngineError::Aggregate { table: insert.table.clone(), window: None, source: Box::new(source) }
        })?;
        Ok(Keeper {
            index,
            plan: plan.clone(),
            aggregation: Arc::new(aggregation),
            keys: preparation.keys.clone(),
            arguments: preparation.arguments.clone(),
            filters: preparation.filters.clone(),
            panes: BTreeMap::new(),
        })
    }

    fn insert(&self) -> &Insert {
        &self.plan.inserts[self.index]
    }

    /// Adds prepared rows to their panes.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        let starts = rows.column(PANE_COLUMN).as_primitive::<Int64Type>();
        let Window::Tumbling(tumbling) = self.insert().window;
        match tumbling.split(starts.values()) {
            Split::One(start) => self.add_to(start.0, rows),
            Split::Several(parts) => parts.into_iter().try_for_each(|(start, indices)| {
                let part = take_record_batch(rows, &indices).expect("row numbers are in range");
                self.add_to(start.0, &part)
            }),
        }
    }

    fn add_to(&mut self, start: i64, rows: &RecordBatch) -> Result<(), EngineError> {
        let count = rows.num_rows();
        let argument = |argument: &Argument| -> Result<ArrayRef, DataFusionError> {
            match argument {
                Argument::Column(index) => Ok(rows.column(*index).clone()),
                Argument::Constant(value) => value.to_array_of_size(count),
            }
        };
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for of_aggregate in &self.arguments {
            let values: Result<Vec<ArrayRef>, DataFusionError> = of_aggregate.iter().map(argument).collect();
            arguments.push(values.map_err(|source| self.evaluation(Some(start), source))?);
        }
        let filters: Vec<Option<BooleanArray>> =
            self.filters.iter().map(|filter| filter.map(|index| rows.column(index).as_boolean().clone())).collect();
        let keys = &rows.columns()[self.keys.clone()];
        let updated = match self.panes.get_mut(&start) {
            Some(pane) => pane.update(keys, &arguments, &filters),
            None => Pane::new(&self.aggregation).and_then(|mut pane| {
                pane.update(keys, &arguments, &filters)?;
                self.panes.insert(start, pane);
                Ok(())
            }),
        };
        updated.map_err(|source| self.aggregate(Some(start), source))
    }

    /// Takes rows of a frozen pane, of this worker's keys only.
    pub(super) fn restore(&mut self, start: i64, rows: &RecordBatch) -> Result<(), EngineError> {
        let restored = match self.panes.get_mut(&start) {
            Some(pane) => pane.merge(rows),
            None => Pane::new(&self.aggregation).and_then(|mut pane| {
                pane.merge(rows)?;
                self.panes.insert(start, pane);
                Ok(())
            }),
        };
        restored.map_err(|source| self.aggregate(Some(start), source))
    }

    /// Closes every window that ends at or before `watermark`, earliest first, and gives the result's rows.
    pub(super) fn close(&mut self, watermark: EventTime) -> Result<Vec<RecordBatch>, EngineError> {
        let mut results = Vec::new();
        while let Some((&start, _)) = self.panes.first_key_value() {
            let end = self.end_of(start);
            if end.plus(self.insert().allowed) > watermark {
                break;
            }
            let pane = self.panes.remove(&start).expect("the first pane was just there");
            let closed = pane.close().map_err(|source| self.aggregate(Some(start), source))?;
            let rows = self.result_rows(start, &closed).map_err(|source| self.evaluation(Some(start), source))?;
            if rows.num_rows() > 0 {
                results.push(rows);
            }
        }
        Ok(results)
    }

    /// What changed in the open panes since the last call.
    pub(super) fn freeze(&mut self) -> Result<Vec<FrozenPane>, EngineError> {
        let mut frozen = Vec::new();
        let mut failed = None;
        for (&start, pane) in &mut self.panes {
            let (rows, whole) = match pane.freeze() {
                Ok(Frozen::Nothing) => continue,
                Ok(Frozen::Delta(rows)) => (rows, false),
                Ok(Frozen::Whole(rows)) => (rows, true),
                Err(source) => {
                    failed = Some((start, source));
                    break;
                }
            };
            frozen.push(FrozenPane { insert: self.index, start: EventTime(start), rows, whole });
        }
        match failed {
            Some((start, source)) => Err(self.aggregate(Some(start), source)),
            None => Ok(frozen),
        }
    }

    /// What the open panes hold.
    pub(super) fn open(&self) -> OpenWindows {
        let mut open = OpenWindows { windows: self.panes.len(), ..OpenWindows::default() };
        for (&start, pane) in &self.panes {
            let bytes = pane.bytes();
            open.bytes += bytes;
            if open.largest.is_none_or(|(_, most)| bytes > most) {
                open.largest = Some((EventTime(start), bytes));
            }
        }
        open
    }

    fn end_of(&self, start: i64) -> EventTime {
        match self.insert().window {
            Window::Tumbling(tumbling) => tumbling.end(EventTime(start)),
        }
    }

    /// Puts the window's columns before a closed pane's rows, then HAVING, then the SELECT list.
    fn result_rows(&self, start: i64, closed: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let insert = self.insert();
        let rows = closed.num_rows();
        let end = self.end_of(start).0;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(insert.closed_schema.fields().len());
        for instant in [start, end, end - 1] {
            let column = TimestampMicrosecondArray::from_value(instant, rows).with_timezone(TIMESTAMP_ZONE);
            columns.push(Arc::new(column));
        }
        columns.extend(closed.columns().iter().cloned());
        let mut batch = RecordBatch::try_new(insert.closed_schema.clone(), columns)?;
        if let Some(having) = &insert.having {
            let mask = having.evaluate(&batch)?.into_array(rows)?;
            batch = filter_record_batch(&batch, mask.as_boolean())?;
        }
        let selected: Result<Vec<ArrayRef>, DataFusionError> = insert
            .columns
            .iter()
            .map(|column| column.expression.evaluate(&batch)?.into_array(batch.num_rows()))
            .collect();
        Ok(RecordBatch::try_new(insert.result_schema.clone(), selected?)?)
    }

    fn aggregate(&self, start: Option<i64>, source: PaneError) -> EngineError {
        EngineError::Aggregate {
            table: self.insert().table.clone(),
            window: start.map(EventTime),
            source: Box::new(source),
        }
    }

    fn evaluation(&self, start: Option<i64>, source: DataFusionError) -> EngineError {
        EngineError::Evaluate {
            table: self.insert().table.clone(),
            window: start.map(EventTime),
            source: Box::new(source),
        }
    }
}
