//! How the state of count windows is laid out: open windows, and rows that wait.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::super::aside::NUMBER;
use super::super::pane::Aggregation;
use super::POSITION_COLUMNS;

/// Columns behind the partial states of open windows, and where each stands.
pub(super) const BOOKKEEPING: usize = 5;
pub(super) const FIRST: usize = 0;
pub(super) const LAST: usize = 1;
pub(super) const COUNT: usize = 2;
pub(super) const WHOLE: usize = 3;
/// Where [`NUMBER`] stands.
pub(super) const OWN_NUMBER: usize = 4;

/// A column of the bookkeeping of open windows.
pub(super) fn bookkeeping(open: &RecordBatch, column: usize) -> &Int64Array {
    open.column(open.num_columns() - BOOKKEEPING + column).as_primitive::<Int64Type>()
}

pub(super) fn open_schema(aggregation: &Aggregation) -> SchemaRef {
    let mut fields: Vec<Field> = nullable(&aggregation.state_schema());
    fields.extend(["_first", "_last", "_count", "_whole", NUMBER].map(|name| Field::new(name, DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

pub(super) fn state_schema(aggregation: &Aggregation, shipped: &Schema) -> SchemaRef {
    let mut fields = nullable(&open_schema(aggregation));
    let keys = POSITION_COLUMNS..POSITION_COLUMNS + aggregation.keys.fields().len();
    for (index, field) in shipped.fields().iter().enumerate().filter(|(index, _)| !keys.contains(index)) {
        fields.push(Field::new(format!("w{index}"), field.data_type().clone(), true));
    }
    Arc::new(Schema::new(fields))
}

fn nullable(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect()
}
