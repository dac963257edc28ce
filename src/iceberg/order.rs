//! The order of rows that lie in several batches.
//! Invariant: ascending by the named columns, nulls first; equal rows in the order in which they were given. The batches
//! themselves are neither put together nor copied: memory is what the sort keys need.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Rows that are copied together at a time.
const PIECE_ROWS: usize = 65_536;

/// Rows of several batches, in order.
#[derive(Debug)]
pub struct Sorted<'a> {
    batches: Vec<&'a RecordBatch>,
    /// Batch, and row in it.
    order: Vec<(u32, u32)>,
}

/// What stands for a row while sorting.
#[derive(Clone, Copy)]
struct SortKey {
    /// The bytes of its key behind those that all keys begin with.
    head: [u64; 2],
    row: u32,
}

impl<'a> Sorted<'a> {
    /// Sorts the rows of `batches`, which share one schema, by the columns `by`, outermost first. Fails if a column isn't
    /// there or has a type without an order.
    pub fn new(batches: &'a [RecordBatch], by: &[String]) -> Result<Sorted<'a>, ArrowError> {
        let rows_of = |(batch, rows): (u32, &RecordBatch)| (0..rows.num_rows() as u32).map(move |row| (batch, row));
        let places: Vec<(u32, u32)> = (0..).zip(batches).flat_map(rows_of).collect();
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let Some(keys) = keys(&batches, by, places.len())? else { return Ok(Sorted { batches, order: places }) };
        if (1..places.len()).all(|row| keys.row(row - 1) <= keys.row(row)) {
            return Ok(Sorted { batches, order: places });
        }
        let shared = shared_bytes(&keys);
        let mut sorting: Vec<SortKey> = Vec::with_capacity(places.len());
        for (row, key) in (0..).zip(keys.iter()) {
            sorting.push(SortKey { head: head(&key.as_ref()[shared..]), row });
        }
        sorting.sort_unstable_by(|left, right| {
            let by_key = || keys.row(left.row as usize).cmp(&keys.row(right.row as usize));
            left.head.cmp(&right.head).then_with(by_key).then_with(|| left.row.cmp(&right.row))
        });
        let order = sorting.iter().map(|key| places[key.row as usize]).collect();
        Ok(Sorted { batches, order })
    }

    /// The rows, in batches of a good size.
    pub fn pieces(&self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        self.order.chunks(PIECE_ROWS).map(|places| {
            let places: Vec<(usize, usize)> =
                places.iter().map(|&(batch, row)| (batch as usize, row as usize)).collect();
            interleave_record_batch(&self.batches, &places)
        })
    }
}

/// Keys of all rows, whose bytes compare as the rows do; `None` if nothing is to be sorted by.
fn keys(batches: &[&RecordBatch], by: &[String], rows: usize) -> Result<Option<Rows>, ArrowError> {
    let Some(first) = batches.first().filter(|_| !by.is_empty()) else { return Ok(None) };
    let schema = first.schema();
    let columns = by.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<usize>, ArrowError>>()?;
    let fields = columns.iter().map(|&column| SortField::new(schema.field(column).data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let mut keys = converter.empty_rows(rows, 0);
    for batch in batches {
        let columns: Vec<_> = columns.iter().map(|&column| batch.column(column).clone()).collect();
        converter.append(&mut keys, &columns)?;
    }
    Ok(Some(keys))
}

/// How many bytes all keys begin with alike.
fn shared_bytes(keys: &Rows) -> usize {
    let Some(first) = keys.iter().next() else { return 0 };
    let first = first.as_ref();
    keys.iter().fold(first.len(), |shared, key| {
        let same = first[..shared].iter().zip(key.as_ref()).take_while(|(one, other)| one == other);
        same.count()
    })
}

/// The first bytes as numbers that compare as they do, as far as they go: shorter keys are filled up with zeroes.
fn head(key: &[u8]) -> [u64; 2] {
    let mut bytes = [0; 16];
    let length = key.len().min(16);
    bytes[..length].copy_from_slice(&key[..length]);
    let number = u128::from_be_bytes(bytes);
    [(number >> 64) as u64, number as u64]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(Option<i64>, &str, i64)]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
        let places: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
        RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true), ("place", places, true)])
            .expect("columns have one length")
    }

    fn places(sorted: &Sorted<'_>) -> Vec<i64> {
        let pieces: Vec<RecordBatch> = sorted.pieces().collect::<Result<_, _>>().expect("rows are in range");
        let Some(first) = pieces.first() else { return Vec::new() };
        let all = concat_batches(&first.schema(), &pieces).expect("pieces share one schema");
        all.column(2).as_primitive::<Int64Type>().values().to_vec()
    }

    proptest! {
        #[test]
        fn rows_come_as_a_plain_stable_sort_has_them(
            rows in prop::collection::vec((prop::option::of(-3_i64..3), "[a-c]{0,20}"), 0..60),
            cuts in prop::collection::vec(0_usize..60, 0..4),
        ) {
            let rows: Vec<(Option<i64>, &str, i64)> =
                (0..).zip(&rows).map(|(place, (number, text))| (*number, text.as_str(), place)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).chain([0, rows.len()]).collect();
            cuts.sort_unstable();
            let batches: Vec<RecordBatch> = cuts.windows(2).map(|cut| batch(&rows[cut[0]..cut[1]])).collect();
            let mut expected = rows;
            expected.sort_by_key(|row| (row.0, row.1));
            let sorted = Sorted::new(&batches, &["n".to_owned(), "t".to_owned()]).expect("both columns are there");
            prop_assert_eq!(places(&sorted), expected.iter().map(|row| row.2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_columns_to_sort_by_rows_stay_as_they_were_given() {
        let batches = [batch(&[(Some(2), "b", 0)]), batch(&[(Some(1), "a", 1)])];
        assert_eq!(places(&Sorted::new(&batches, &[]).expect("nothing is looked up")), [0, 1]);
    }

    #[test]
    fn a_column_that_is_not_there_is_an_error() {
        let batches = [batch(&[(Some(2), "b", 0)])];
        assert!(Sorted::new(&batches, &["x".to_owned()]).is_err());
    }
}
