//! The canonical order of rows.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use super::{POSITION_COLUMNS, times};

/// By time, partition, offset. Rows without a position (a foreign history has none) follow by all their values.
pub(super) fn in_canonical_order(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (times, partitions) = (times(rows).values(), rows.column(1).as_primitive::<Int32Type>());
    let offsets = rows.column(2).as_primitive::<Int64Type>();
    let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).expect("fewer than 2^32 rows wait")).collect();
    let values = if offsets.null_count() > 0 {
        let columns = &rows.columns()[POSITION_COLUMNS..];
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        Some(RowConverter::new(fields)?.convert_columns(columns)?)
    } else {
        None
    };
    let compare = |&a: &u32, &b: &u32| -> Ordering {
        let (left, right) = (a as usize, b as usize);
        let position = |row: usize| (times[row], partitions.value(row), offsets.value(row));
        match &values {
            None => position(left).cmp(&position(right)),
            Some(values) => {
                let known = |row: usize| (times[row], offsets.is_null(row));
                known(left).cmp(&known(right)).then_with(|| {
                    let by_position = position(left).cmp(&position(right));
                    if offsets.is_null(left) { values.row(left).cmp(&values.row(right)) } else { by_position }
                })
            }
        }
    };
    if order.is_sorted_by(|a, b| compare(a, b).is_le()) {
        return Ok(rows.clone());
    }
    order.sort_unstable_by(compare);
    take_record_batch(rows, &UInt32Array::from(order))
}
