//! What all kinds of windows have in common before rows travel.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Literal;

use super::adjacent::InOneWindow;
use super::by_data::InTime;
use super::each::AtOnce;
use super::overlapping::InOverlappingWindows;
use super::unnest::unnested;
use super::{LateRows, Placing};
use crate::engine::epoch::Late;
use crate::event::{EventBatch, EventTime, Stream};
use crate::job::{GroupingSet, Input, Insert, Leg, Unnest};
use crate::windows::{Places, PublishRange, Window};

/// Where an aggregate finds an argument: shipped with the rows, or the same for all of them.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Argument {
    /// A column of the prepared rows.
    Column(usize),
    /// A literal, as in `count(*)`; never shipped.
    Constant(ScalarValue),
}

/// How records of one stream become rows of one leg.
pub(in crate::engine) struct Preparation {
    /// Index of the INSERT.
    pub(in crate::engine) insert: usize,
    /// Number of the leg.
    pub(in crate::engine) leg: usize,
    stream_index: usize,
    stream: Arc<Stream>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    placing: Box<dyn Placing>,
    unnest: Option<Unnest>,
    result: String,
    /// Keys, then the distinct arguments, then the distinct FILTERs; their values follow the window's columns.
    shipped: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// Grouping sets, if there are several.
    sets: Vec<GroupingSet>,
    /// Columns of the group keys.
    pub(in crate::engine) keys: std::ops::Range<usize>,
    /// Those of them by which rows are dealt out to workers; `None`: where nothing is kept, they aren't.
    pub(in crate::engine) dealt_by: Option<std::ops::Range<usize>>,
    /// For each aggregate its arguments.
    pub(in crate::engine) arguments: Vec<Vec<Argument>>,
    /// For each aggregate its FILTER's column.
    pub(in crate::engine) filters: Vec<Option<usize>>,
}

/// What became of a batch.
#[derive(Default)]
pub(in crate::engine) struct Prepared {
    /// Rows for the keeper: the window's columns, keys, arguments, filters.
    pub(in crate::engine) rows: Vec<RecordBatch>,
    /// Rows for the late table.
    pub(in crate::engine) late: Vec<Late>,
    pub(in crate::engine) late_count: u64,
}

impl Preparation {
    /// `leg` of `insert`, each with its number, takes records of `input` that fall in windows of `publish`.
    pub(in crate::engine) fn new(
        (insert_index, insert): (usize, &Insert),
        (leg_index, leg): (usize, &Leg),
        (input, stream): (&Input, &Arc<Stream>),
        (publish, places): (PublishRange, Places),
    ) -> Result<Self, DataFusionError> {
        let placing = placing(insert, leg, stream.clone(), (insert.marks_of(leg, publish), places));
        let mut fields = placing.fields();
        let before = fields.len();
        let mut shipped: Vec<Arc<dyn PhysicalExpr>> = input.keys.iter().map(|key| key.expression.clone()).collect();
        let keys = before..before + shipped.len();
        // Equal arguments of several aggregates travel once, but never as a key: a key column may be normalised. Where a leg
        // has several inputs, what is equal in one may differ in another, and all rows are laid out alike.
        let first_argument = shipped.len();
        let is_only = leg.inputs.len() == 1;
        let mut ship = |expression: &Arc<dyn PhysicalExpr>| {
            let known = shipped[first_argument..].iter().position(|other| is_only && other == expression);
            before
                + first_argument
                + known.unwrap_or_else(|| {
                    shipped.push(expression.clone());
                    shipped.len() - 1 - first_argument
                })
        };
        let mut arguments = Vec::with_capacity(input.aggregates.len());
        let mut filters = Vec::with_capacity(input.aggregates.len());
        for aggregate in &input.aggregates {
            let place = |expression: &Arc<dyn PhysicalExpr>| match expression.downcast_ref::<Literal>() {
                Some(literal) if is_only => Argument::Constant(literal.value().clone()),
                _ => Argument::Column(ship(expression)),
            };
            arguments.push(aggregate.arguments.iter().map(place).collect());
            filters.push(aggregate.filter.as_ref().map(&mut ship));
        }
        let records = input.unnest.as_ref().map_or_else(|| stream.record_schema(), |unnest| unnest.schema.clone());
        for (index, expression) in shipped.iter().enumerate() {
            fields.push(Field::new(format!("c{index}"), expression.data_type(&records)?, true));
        }
        Ok(Preparation {
            insert: insert_index,
            leg: leg_index,
            stream_index: input.stream,
            stream: stream.clone(),
            filter: input.filter.clone(),
            sets: leg.sets.clone(),
            placing,
            unnest: input.unnest.clone(),
            result: insert.table.to_string(),
            shipped,
            schema: Arc::new(Schema::new(fields)),
            dealt_by: (!leg.window.is_without_end()).then(|| keys.start..keys.start + leg.partition_keys()),
            keys,
            arguments,
            filters,
        })
    }

    /// The layout of prepared rows.
    pub(in crate::engine) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Index of the stream whose records it takes.
    pub(in crate::engine) fn stream_index(&self) -> usize {
        self.stream_index
    }

    /// Judges and prepares a batch. A record on which an expression fails is late with reason `expression`; the others
    /// of its batch are not touched by it.
    pub(in crate::engine) fn prepare(&self, batch: &EventBatch) -> Prepared {
        let mut prepared = Prepared::default();
        self.prepare_or_split(&batch.records, batch.closed_below, &mut prepared);
        prepared
    }

    fn prepare_or_split(&self, records: &RecordBatch, closed_below: EventTime, into: &mut Prepared) {
        if records.num_rows() == 0 {
            return;
        }
        let before = (into.rows.len(), into.late.len(), into.late_count);
        if self.try_prepare(records, closed_below, into).is_ok() {
            return;
        }
        into.rows.truncate(before.0);
        into.late.truncate(before.1);
        into.late_count = before.2;
        let rows = records.num_rows();
        if rows == 1 {
            if let Some(late) = self.placing.failed(records) {
                self.add_late(late, into);
            }
            return;
        }
        let half = rows / 2;
        self.prepare_or_split(&records.slice(0, half), closed_below, into);
        self.prepare_or_split(&records.slice(half, rows - half), closed_below, into);
    }

    fn try_prepare(
        &self,
        records: &RecordBatch,
        closed_below: EventTime,
        into: &mut Prepared,
    ) -> Result<(), DataFusionError> {
        let selected;
        let records = match &self.filter {
            None => records,
            Some(filter) => {
                selected = select(records, filter)?;
                &selected
            }
        };
        let placed = self.placing.place(records, closed_below)?;
        for late in placed.late {
            self.add_late(late, into);
        }
        let (mut taken, mut columns) = (placed.taken, placed.columns);
        if let Some(unnest) = &self.unnest {
            (taken, columns) = unnested(unnest, &taken, &columns)?;
        }
        if taken.num_rows() == 0 {
            return Ok(());
        }
        for expression in &self.shipped {
            columns.push(expression.evaluate(&taken)?.into_array(taken.num_rows())?);
        }
        if self.sets.is_empty() {
            into.rows.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            return Ok(());
        }
        for set in &self.sets {
            into.rows.push(RecordBatch::try_new(self.schema.clone(), self.of_set(set, &columns))?);
        }
        Ok(())
    }

    /// Prepared columns as rows of one grouping set: they differ from others in their keys alone.
    fn of_set(&self, set: &GroupingSet, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        let mut columns = columns.to_vec();
        let rows = columns[0].len();
        let (id, keys) = columns[self.keys.clone()].split_last_mut().expect("the last key tells sets apart");
        for (key, _) in keys.iter_mut().zip(&set.holds).filter(|(_, holds)| !**holds) {
            *key = new_null_array(key.data_type(), rows);
        }
        *id = Arc::new(Int64Array::from_value(set.id, rows));
        columns
    }

    fn add_late(&self, late: LateRows, into: &mut Prepared) {
        let rows = late.records.num_rows();
        let mut columns = late.records.columns().to_vec();
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.result, rows))));
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(late.reason.as_str(), rows))));
        columns.extend(late.windows);
        let batch = RecordBatch::try_new(self.stream.late_schema(), columns)
            .expect("the late layout is a record's and six more");
        into.late.push(Late { stream: self.stream_index, rows: batch });
        into.late_count += late.late_for_all;
    }
}

fn placing(
    insert: &Insert,
    leg: &Leg,
    stream: Arc<Stream>,
    (publish, places): (PublishRange, Places),
) -> Box<dyn Placing> {
    let allowed = insert.allowed;
    match leg.window {
        Window::Tumbling(window) => Box::new(InOneWindow { window, stream, allowed, publish }),
        Window::Calendar(window) => Box::new(InOneWindow { window, stream, allowed, publish }),
        Window::Hopping(window) => Box::new(InOverlappingWindows { window, stream, allowed, publish }),
        Window::Cumulating(window) => Box::new(InOverlappingWindows { window, stream, allowed, publish }),
        Window::EachRecord => Box::new(AtOnce { stream, publish, places }),
        Window::ByData(_) => {
            Box::new(InTime { stream, allowed, publish, with_positions: leg.window.goes_by_positions() })
        }
    }
}

fn select(records: &RecordBatch, filter: &Arc<dyn PhysicalExpr>) -> Result<RecordBatch, DataFusionError> {
    let mask = filter.evaluate(records)?.into_array(records.num_rows())?;
    Ok(filter_record_batch(records, mask.as_boolean())?)
}
