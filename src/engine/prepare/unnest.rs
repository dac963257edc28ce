//! UNNEST: a record becomes a row for each element of a list, in the list's order; none, where the list is empty or null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, UInt32Array};
use arrow::compute::{filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use crate::job::Unnest;

/// `records` with the columns that `unnest` adds, and the `columns` beside them, a row for each element that its condition
/// leaves.
pub(super) fn unnested(
    unnest: &Unnest,
    records: &RecordBatch,
    columns: &[ArrayRef],
) -> Result<(RecordBatch, Vec<ArrayRef>), DataFusionError> {
    let list = unnest.list.evaluate(records)?.into_array(records.num_rows())?;
    let list = as_list(&list)?;
    let (rows, elements, ordinals) = elements(&list);
    let rows = UInt32Array::from(rows);
    let taken = take_record_batch(records, &rows)?;
    let mut all = taken.columns().to_vec();
    all.push(take(list.values(), &UInt32Array::from(elements), None)?);
    if unnest.with_ordinality {
        all.push(Arc::new(Int64Array::from(ordinals)));
    }
    let mut batch = RecordBatch::try_new(unnest.schema.clone(), all)?;
    let mut beside = columns.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
    if let Some(condition) = &unnest.filter {
        let mask = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
        let mask = mask.as_boolean();
        batch = filter_record_batch(&batch, mask)?;
        beside = beside.iter().map(|column| filter(column, mask)).collect::<Result<_, _>>()?;
    }
    Ok((batch, beside))
}

/// Lists of any kind as one kind.
fn as_list(list: &ArrayRef) -> Result<ListArray, DataFusionError> {
    match list.data_type() {
        DataType::List(_) => Ok(list.as_list::<i32>().clone()),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            let to = DataType::List(item.clone());
            Ok(arrow::compute::cast(list, &to)?.as_list::<i32>().clone())
        }
        other => Err(DataFusionError::Execution(format!("UNNEST of {other}"))),
    }
}

/// For each element its row, its place among the values, and its ordinal in its list, from 1.
fn elements(list: &ListArray) -> (Vec<u32>, Vec<u32>, Vec<i64>) {
    let offsets = list.value_offsets();
    let count = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (last - first) as usize);
    let (mut rows, mut elements, mut ordinals) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
        let (start, end) = (offsets[row], offsets[row + 1]);
        for (ordinal, element) in (1..).zip(start..end) {
            rows.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
            elements.push(u32::try_from(element).expect("offsets of a list are not negative"));
            ordinals.push(ordinal);
        }
    }
    (rows, elements, ordinals)
}

#[cfg(test)]
mod tests {
    use arrow::array::ListBuilder;
    use arrow::array::StringBuilder;

    use super::*;

    #[test]
    fn empty_and_null_lists_have_no_elements_and_slices_keep_their_own() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        lists.append_value(Vec::<Option<&str>>::new());
        lists.append_value([Some("b")]);
        let lists = lists.finish();
        assert_eq!(elements(&lists), (vec![0, 0, 3], vec![0, 1, 2], vec![1, 2, 1]));
        assert_eq!(elements(&lists.slice(1, 3)), (vec![2], vec![2], vec![1]));
    }
}
