//! Rows that later ones take the place of: those that nobody has seen yet are left out, the others go from the table.
//! Invariant: what tells the rows of a window tells those of one giving at a time, in the table and what waits for it: the
//! last that came. Pure.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::event::EventTime;
use crate::iceberg::{LikeRows, RowCut, TimeCut};

/// What tells rows that later ones take the place of.
#[derive(Clone, Debug)]
pub(super) struct Replaced {
    /// Columns of the result ([`crate::job::Insert::told_by`]).
    pub(super) told_by: RecordBatch,
    /// How many batches of results had come before: rows in these are meant, or rows that are published.
    pub(super) before: usize,
}

/// What is left of the results of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The rows that nothing has taken the place of.
    pub(super) results: Vec<RecordBatch>,
    /// The published rows that go.
    pub(super) cut: Option<RowCut>,
    /// How many windows of a key they are of.
    pub(super) windows: usize,
}

/// Leaves out of `results`, in the order in which they came, what was replaced by later ones.
pub(super) fn settle(results: Vec<RecordBatch>, mut replaced: Vec<Replaced>) -> Result<Left, ArrowError> {
    let Some(first) = replaced.first() else { return Ok(Left { results, ..Left::default() }) };
    let telling = Telling::new(first.told_by.schema())?;
    let mut gone: BTreeSet<Box<[u8]>> = BTreeSet::new();
    let mut left = Vec::with_capacity(results.len());
    // From the last to the first: who is replaced is the nearest before.
    for (index, rows) in results.into_iter().enumerate().rev() {
        while let Some(replaced) = replaced.pop_if(|last| last.before > index) {
            telling.add(&replaced.told_by, &mut gone)?;
        }
        left.push(telling.without(rows, &mut gone)?);
    }
    for replaced in &replaced {
        telling.add(&replaced.told_by, &mut gone)?;
    }
    left.retain(|rows| rows.num_rows() > 0);
    left.reverse();
    Ok(Left { results: left, cut: telling.cut(&gone)?, windows: gone.len() })
}

/// Tells rows by the values of some columns.
struct Telling {
    schema: SchemaRef,
    converter: RowConverter,
}

impl Telling {
    fn new(schema: SchemaRef) -> Result<Telling, ArrowError> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Telling { converter: RowConverter::new(fields.collect())?, schema })
    }

    fn told(&self, rows: &RecordBatch) -> Result<Rows, ArrowError> {
        let column = |name: &str| rows.column_by_name(name).expect("results have the columns that tell them").clone();
        let columns: Vec<ArrayRef> = self.schema.fields().iter().map(|field| column(field.name())).collect();
        self.converter.convert_columns(&columns)
    }

    fn add(&self, told_by: &RecordBatch, to: &mut BTreeSet<Box<[u8]>>) -> Result<(), ArrowError> {
        to.extend(self.told(told_by)?.iter().map(|row| Box::from(row.as_ref())));
        Ok(())
    }

    /// The rows that aren't `gone`; those that are have been found, and are no more.
    fn without(&self, rows: RecordBatch, gone: &mut BTreeSet<Box<[u8]>>) -> Result<RecordBatch, ArrowError> {
        if gone.is_empty() {
            return Ok(rows);
        }
        let told = self.told(&rows)?;
        let stays = BooleanBuffer::collect_bool(rows.num_rows(), |row| !gone.contains(told.row(row).as_ref()));
        for (row, _) in stays.iter().enumerate().filter(|(_, stays)| !stays) {
            gone.remove(told.row(row).as_ref());
        }
        filter_record_batch(&rows, &BooleanArray::new(stays, None))
    }

    /// The published rows that these tell.
    fn cut(&self, told: &BTreeSet<Box<[u8]>>) -> Result<Option<RowCut>, ArrowError> {
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(told.iter().map(|row| parser.parse(row)))?;
        let rows = RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?;
        // The column that ranges go by: files are found by it.
        let times = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let (Some(&least), Some(&most)) = (times.iter().min(), times.iter().max()) else { return Ok(None) };
        let column = self.schema.field(0).name().clone();
        let times = TimeCut { column, from: EventTime(least), to: EventTime(most.saturating_add(1)) };
        Ok(Some(RowCut { times: vec![times], like: Some(LikeRows::new(&rows)), ..RowCut::default() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::event::{TIMESTAMP_ZONE, timestamp_type};

    /// Rows of one window each: its end, its key and a number.
    fn rows(rows: &[(i64, Option<&str>, i64)]) -> RecordBatch {
        let fields = [("window_end", timestamp_type()), ("user", DataType::Utf8), ("n", DataType::Int64)];
        let fields: Vec<Field> = fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec();
        let ends = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ends.with_timezone(TIMESTAMP_ZONE)),
            Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit the schema")
    }

    fn replaced(before: usize, told: &[(i64, Option<&str>)]) -> Replaced {
        let told: Vec<_> = told.iter().map(|&(end, user)| (end, user, 0)).collect();
        Replaced { told_by: rows(&told).project(&[0, 1]).expect("columns of its own"), before }
    }

    fn numbers(left: &Left) -> Vec<i64> {
        left.results.iter().flat_map(|rows| rows.column(2).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn rows_that_nobody_has_seen_are_left_out_and_the_others_go_from_the_table() {
        let results = vec![rows(&[(10, Some("a"), 1), (10, Some("b"), 2)]), rows(&[(10, None, 3)])];
        // The first was published before, the second comes in these results; NULL is a key like any other.
        let gone = vec![replaced(0, &[(9, Some("a"))]), replaced(1, &[(10, Some("b"))]), replaced(2, &[(10, None)])];
        let left = settle(results, gone).expect("keys that compare");
        assert_eq!((numbers(&left), left.windows), (vec![1], 1));
        let cut = left.cut.expect("one is published");
        assert_eq!(cut.times, [TimeCut { column: "window_end".into(), from: EventTime(9), to: EventTime(10) }]);
    }

    #[test]
    fn a_window_that_is_given_three_times_is_there_once_and_takes_the_place_of_the_published_one() {
        let given = |n| rows(&[(10, Some("a"), n)]);
        let again = |before| replaced(before, &[(10, Some("a"))]);
        let left = settle(vec![given(1), given(2), given(3)], vec![again(0), again(1), again(2)]);
        let left = left.expect("keys that compare");
        assert_eq!((numbers(&left), left.windows), (vec![3], 1));
        // Without the first, none is published.
        let left = settle(vec![given(1), given(2)], vec![again(1)]).expect("keys that compare");
        assert_eq!((numbers(&left), left.windows, left.cut), (vec![2], 0, None));
    }

    #[test]
    fn a_window_with_rows_for_several_groups_goes_as_a_whole() {
        let results = vec![rows(&[(10, Some("a"), 1), (10, Some("a"), 2)]), rows(&[(12, Some("a"), 3)])];
        let left = settle(results, vec![replaced(1, &[(10, Some("a"))])]).expect("keys that compare");
        assert_eq!((numbers(&left), left.windows), (vec![3], 0));
    }
}
