//! Computed columns: expressions over the declared ones, evaluated batch by batch.
//! Invariant: an expression that fails for one record rejects that record only; the batch is halved until it is found.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion_physical_expr::PhysicalExpr;

use super::decoder::DecoderError;
use super::json::RecordFault;
use super::timestamp;
use crate::event::{Column, Origin, RejectReason, Stream, timestamp_type};

/// The computed columns of a stream.
#[derive(Debug)]
pub(super) struct ComputedColumns {
    columns: Vec<ComputedColumn>,
}

#[derive(Debug)]
struct ComputedColumn {
    /// Place among the declared columns.
    index: usize,
    name: String,
    sql: String,
    required: bool,
    expression: Arc<dyn PhysicalExpr>,
    is_time: bool,
}

/// A batch with its computed columns, and the rows that had to go.
pub(super) struct Computation {
    pub(super) batch: RecordBatch,
    /// Row of the batch as it came in, and what is wrong with it; rows rise.
    pub(super) faults: Vec<(usize, RecordFault)>,
}

impl ComputedColumns {
    /// The computed columns of `stream`. Fails if an expression has another type than its column.
    pub(super) fn new(stream: &Stream) -> Result<ComputedColumns, DecoderError> {
        let schema = stream.declared_schema();
        let mut columns = Vec::new();
        for (index, column) in stream.columns.iter().enumerate() {
            if let Origin::Computed(computed) = &column.origin {
                check_type(column, &computed.expression, &schema)?;
                columns.push(ComputedColumn {
                    index,
                    name: column.name.clone(),
                    sql: computed.sql.clone(),
                    required: column.required,
                    expression: Arc::clone(&computed.expression),
                    is_time: column.column_type.arrow() == timestamp_type(),
                });
            }
        }
        Ok(ComputedColumns { columns })
    }

    /// Fills the computed columns of `batch`, which come in as nulls, over the declared schema.
    pub(super) fn compute(&self, batch: RecordBatch) -> Computation {
        if self.columns.is_empty() || batch.num_rows() == 0 {
            return Computation { batch, faults: Vec::new() };
        }
        let mut faults = Vec::new();
        let filled = self.fill(&batch, &mut faults);
        if let (Some(batch), true) = (filled, faults.is_empty()) {
            return Computation { batch, faults };
        }
        faults.sort_by_key(|(row, _)| *row);
        faults.dedup_by_key(|(row, _)| *row);
        let mut keep = vec![true; batch.num_rows()];
        faults.iter().for_each(|(row, _)| keep[*row] = false);
        let good = filter_record_batch(&batch, &BooleanArray::from(keep))
            .expect("the mask has a bit for each row of the batch");
        let batch = self
            .fill(&good, &mut Vec::new())
            .expect("an expression that passes every record on its own passes them together");
        Computation { batch, faults }
    }

    /// All computed columns of `batch`; `None` if one fails. Collects the rows that are bad.
    fn fill(&self, batch: &RecordBatch, faults: &mut Vec<(usize, RecordFault)>) -> Option<RecordBatch> {
        let mut arrays = batch.columns().to_vec();
        let mut whole = true;
        for column in &self.columns {
            match column.evaluate(batch) {
                Ok(array) => {
                    column.judge(&array, 0, faults);
                    arrays[column.index] = array;
                }
                Err(_) => {
                    whole = false;
                    column.halve(batch, 0, faults);
                }
            }
        }
        whole.then(|| {
            RecordBatch::try_new(batch.schema(), arrays).expect("expressions were checked to have their columns' types")
        })
    }
}

impl ComputedColumn {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let value = self.expression.evaluate(batch).map_err(|error| error.to_string())?;
        value.into_array(batch.num_rows()).map_err(|error| error.to_string())
    }

    /// Finds the bad rows of a piece of a batch that begins at row `start` and fails as a whole.
    fn halve(&self, piece: &RecordBatch, start: usize, faults: &mut Vec<(usize, RecordFault)>) {
        match self.evaluate(piece) {
            Ok(array) => self.judge(&array, start, faults),
            Err(error) if piece.num_rows() <= 1 => {
                let error = error.lines().next().unwrap_or_default().to_owned();
                let detail = format!("{} AS {}: {error}", self.name, self.sql);
                faults.push((start, RecordFault { reason: RejectReason::BadValue, detail }));
            }
            Err(_) => {
                let middle = piece.num_rows() / 2;
                self.halve(&piece.slice(0, middle), start, faults);
                self.halve(&piece.slice(middle, piece.num_rows() - middle), start + middle, faults);
            }
        }
    }

    /// Notes rows that are null or out of range though they must not be.
    fn judge(&self, array: &ArrayRef, start: usize, faults: &mut Vec<(usize, RecordFault)>) {
        if self.required && array.null_count() > 0 {
            for row in (0..array.len()).filter(|row| array.is_null(*row)) {
                let detail = format!("{} AS {} is null, but declared NOT NULL", self.name, self.sql);
                faults.push((start + row, RecordFault { reason: RejectReason::Null, detail }));
            }
        }
        if self.is_time {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let range = timestamp::MICROS_MIN..=timestamp::MICROS_MAX;
            for row in (0..times.len()).filter(|row| times.is_valid(*row) && !range.contains(&times.value(*row))) {
                let detail = format!("{} AS {} is outside the years 1 to 9999", self.name, self.sql);
                faults.push((start + row, RecordFault { reason: RejectReason::BadValue, detail }));
            }
        }
    }
}

fn check_type(column: &Column, expression: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<(), DecoderError> {
    let wanted: DataType = column.column_type.arrow();
    let found = expression
        .data_type(schema)
        .map_err(|error| DecoderError::Expression { column: column.name.clone(), reason: error.to_string() })?;
    if found == wanted {
        return Ok(());
    }
    Err(DecoderError::Expression {
        column: column.name.clone(),
        reason: format!("it gives {found}, the column is {}; add a cast", column.column_type),
    })
}
