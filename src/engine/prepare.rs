//! The first half of an INSERT, on whichever worker a batch lands: WHERE, lateness, keys, arguments.
//! Invariant: row-local. What becomes of a record depends on the record, its `_seen` and the stated watermark alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Literal;

use crate::event::{EventBatch, EventTime, Micros, Stream, TIMESTAMP_ZONE};
use crate::job::Insert;
use crate::time::late;
use crate::windows::{PublishRange, Window};

/// Column of prepared rows that holds the start of a row's pane, in microseconds.
pub(super) const PANE_COLUMN: usize = 0;

/// Why a record went to the late table. The names stand in its `reason` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LateReason {
    /// By its own partition.
    Late,
    /// In time by its own partition, but the job had closed its window.
    BehindWatermark,
    /// An expression of the query fails on it.
    Expression,
}

impl LateReason {
    fn as_str(self) -> &'static str {
        match self {
            LateReason::Late => "late",
            LateReason::BehindWatermark => "behind_watermark",
            LateReason::Expression => "expression",
        }
    }
}

/// Where an aggregate finds an argument: shipped with the rows, or the same for all of them.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    /// A column of the prepared rows.
    Column(usize),
    /// A literal, as in `count(*)`; never shipped.
    Constant(ScalarValue),
}

/// How records of one stream become rows of one INSERT.
pub(super) struct Preparation {
    stream_index: usize,
    stream: Arc<Stream>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    window: Window,
    allowed: Micros,
    publish: PublishRange,
    result: String,
    /// Keys, then the distinct arguments, then the distinct FILTERs; their values follow the pane column.
    shipped: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    pub(super) keys: std::ops::Range<usize>,
    /// For each aggregate its arguments.
    pub(super) arguments: Vec<Vec<Argument>>,
    /// For each aggregate its FILTER's column.
    pub(super) filters: Vec<Option<usize>>,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Prepared {
    /// Rows for the panes: pane start, keys, arguments, filters.
    pub(super) rows: Vec<RecordBatch>,
    /// Rows for the late table ([`Stream::late_schema`]).
    pub(super) late: Vec<RecordBatch>,
    pub(super) late_count: u64,
}

impl Preparation {
    pub(super) fn new(insert: &Insert, stream: &Arc<Stream>, publish: PublishRange) -> Result<Self, DataFusionError> {
        let mut shipped: Vec<Arc<dyn PhysicalExpr>> = insert.keys.iter().map(|key| key.expression.clone()).collect();
        let keys = 1..1 + shipped.len();
        // Equal arguments of several aggregates travel once, but never as a key: a key column may be normalised.
        let first_argument = shipped.len();
        let mut ship = |expression: &Arc<dyn PhysicalExpr>| {
            let known = shipped[first_argument..].iter().position(|other| other == expression);
            1 + first_argument
                + known.unwrap_or_else(|| {
                    shipped.push(expression.clone());
                    shipped.len() - 1 - first_argument
                })
        };
        let mut arguments = Vec::with_capacity(insert.aggregates.len());
        let mut filters = Vec::with_capacity(insert.aggregates.len());
        for aggregate in &insert.aggregates {
            let place = |expression: &Arc<dyn PhysicalExpr>| match expression.downcast_ref::<Literal>() {
                Some(literal) => Argument::Constant(literal.value().clone()),
                None => Argument::Column(ship(expression)),
            };
            arguments.push(aggregate.arguments.iter().map(place).collect());
            filters.push(aggregate.filter.as_ref().map(&mut ship));
        }
        let records = stream.record_schema();
        let mut fields = vec![Field::new("pane", DataType::Int64, false)];
        for (index, expression) in shipped.iter().enumerate() {
            fields.push(Field::new(format!("c{index}"), expression.data_type(&records)?, true));
        }
        Ok(Preparation {
            stream_index: insert.stream,
            stream: stream.clone(),
            filter: insert.filter.clone(),
            window: insert.window,
            allowed: insert.allowed,
            publish,
            result: insert.table.to_string(),
            shipped,
            schema: Arc::new(Schema::new(fields)),
            keys,
            arguments,
            filters,
        })
    }

    /// Index of the stream whose records it takes.
    pub(super) fn stream_index(&self) -> usize {
        self.stream_index
    }

    /// Judges and prepares a batch. A record on which an expression fails is late with reason `expression`; the others
    /// of its batch are not touched by it.
    pub(super) fn prepare(&self, batch: &EventBatch) -> Prepared {
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
            let (starts, _) = self.windows_of(records);
            if self.publish.contains(starts[0]) {
                self.add_late(records, &starts, LateReason::Expression, into);
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
        let mut records = match &self.filter {
            None => records,
            Some(filter) => {
                selected = select(records, filter)?;
                &selected
            }
        };
        let (mut starts, mut ends) = self.windows_of(records);
        let inside;
        if !self.publish.is_all() {
            let keep = BooleanBuffer::collect_bool(starts.len(), |row| self.publish.contains(starts[row]));
            inside = retain(records, &keep)?;
            records = &inside;
            (starts, ends) = self.windows_of(records);
        }
        let seen = records.column(self.stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        let verdicts = late(&ends, seen, self.stream.bound, self.allowed, closed_below);
        if verdicts.all_in_time() {
            return self.add_rows(records, starts, into);
        }
        for (mask, reason) in [(&verdicts.late, LateReason::Late), (&verdicts.behind, LateReason::BehindWatermark)] {
            let rows = retain(records, mask)?;
            self.add_late(&rows, &self.windows_of(&rows).0, reason, into);
        }
        let in_time = retain(records, &!&(&verdicts.late | &verdicts.behind))?;
        let starts = self.windows_of(&in_time).0;
        self.add_rows(&in_time, starts, into)
    }

    fn add_rows(&self, records: &RecordBatch, starts: Vec<i64>, into: &mut Prepared) -> Result<(), DataFusionError> {
        if starts.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(starts))];
        for expression in &self.shipped {
            columns.push(expression.evaluate(records)?.into_array(records.num_rows())?);
        }
        into.rows.push(RecordBatch::try_new(self.schema.clone(), columns)?);
        Ok(())
    }

    fn add_late(&self, records: &RecordBatch, starts: &[i64], reason: LateReason, into: &mut Prepared) {
        let rows = records.num_rows();
        if rows == 0 {
            return;
        }
        let start: ArrayRef = Arc::new(TimestampMicrosecondArray::from(starts.to_vec()).with_timezone(TIMESTAMP_ZONE));
        let mut columns = records.columns().to_vec();
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.result, rows))));
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(reason.as_str(), rows))));
        // A tumbling record has one window, and is late for it.
        columns.push(Arc::new(Int32Array::from_value(1, rows)));
        columns.push(Arc::new(Int32Array::from_value(1, rows)));
        columns.push(start.clone());
        columns.push(start);
        let late = RecordBatch::try_new(self.stream.late_schema(), columns)
            .expect("the late layout is a record's and six more");
        into.late.push(late);
        into.late_count += rows as u64;
    }

    /// Starts and ends of the records' windows.
    fn windows_of(&self, records: &RecordBatch) -> (Vec<i64>, Vec<i64>) {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
        match self.window {
            Window::Tumbling(tumbling) => {
                let starts = tumbling.starts(times.values());
                let ends = starts.iter().map(|start| start + tumbling.size.0).collect();
                (starts, ends)
            }
        }
    }
}

fn select(records: &RecordBatch, filter: &Arc<dyn PhysicalExpr>) -> Result<RecordBatch, DataFusionError> {
    let mask = filter.evaluate(records)?.into_array(records.num_rows())?;
    Ok(filter_record_batch(records, mask.as_boolean())?)
}

fn retain(records: &RecordBatch, rows: &BooleanBuffer) -> Result<RecordBatch, DataFusionError> {
    if rows.count_set_bits() == rows.len() {
        return Ok(records.clone());
    }
    Ok(filter_record_batch(records, &BooleanArray::new(rows.clone(), None))?)
}
