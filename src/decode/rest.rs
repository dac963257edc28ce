//! Rows of a history brought to a declaration with more columns than they were archived under.
//!
//! The columns are read from what the history keeps besides: the rest of each message, positions, other columns.
//! Invariant: a row gets the values that decoding its message anew would give, or is left out where that would reject it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, is_not_null};

use super::computed::ComputedColumns;
use super::decoder::DecoderError;
use super::json::{Origins, RecordReader};
use crate::event::{Column, Metadata, Origin, Stream};

/// What stands for a message without a rest.
const NOTHING: &[u8] = b"{}";

/// Widens batches of one stream's history.
#[derive(Debug)]
pub struct Widener {
    stream: Arc<Stream>,
    /// Indices of the columns that rows may not hold.
    added: Vec<usize>,
    /// Whether one of them is computed.
    computes: bool,
    computed: ComputedColumns,
}

impl Widener {
    /// A widener for the columns of `stream` with these names.
    ///
    /// # Errors
    /// If an expression of a computed column doesn't fit it.
    pub fn new(stream: &Arc<Stream>, added: &[String]) -> Result<Widener, DecoderError> {
        let columns = stream.columns.iter().enumerate();
        let added: Vec<usize> =
            columns.filter(|(_, column)| added.contains(&column.name)).map(|(index, _)| index).collect();
        let is_computed = |&index: &usize| matches!(stream.columns[index].origin, Origin::Computed(_));
        let computes = added.iter().any(is_computed);
        Ok(Widener { stream: stream.clone(), added, computes, computed: ComputedColumns::new(stream)? })
    }

    /// The rows of `records`, laid out as [`Stream::record_schema`] with all columns that history has, that the stream
    /// takes, with all columns. `rest` is the rest of each.
    pub fn widen(&self, records: RecordBatch, rest: &StringArray) -> RecordBatch {
        let (schema, mut columns, rows) = records.into_parts();
        let from_rest: Vec<usize> = self.of_origin(|origin| matches!(origin, Origin::Path(_)));
        let (values, bad) = read_rest(&self.stream, &from_rest, rest);
        for (index, value) in from_rest.into_iter().zip(values) {
            columns[index] = either(&columns[index], &value);
        }
        for index in self.of_origin(|origin| matches!(origin, Origin::Metadata(_))) {
            let system = match &self.stream.columns[index].origin {
                Origin::Metadata(Metadata::Partition) => self.stream.partition_index(),
                Origin::Metadata(Metadata::Offset) => self.stream.offset_index(),
                Origin::Metadata(Metadata::Timestamp) => self.stream.timestamp_index(),
                other => {
                    unreachable!("a history isn't read under a declaration with a column it can't tell: {other:?}")
                }
            };
            columns[index] = columns[system].clone();
        }
        let records = RecordBatch::try_new(schema, columns).expect("columns keep their types and lengths");
        let records = if bad.is_empty() { records } else { without(&records, &bad, rows) };
        if self.computes { self.compute(records) } else { records }
    }

    fn of_origin(&self, is: impl Fn(&Origin) -> bool) -> Vec<usize> {
        self.added.iter().copied().filter(|&index| is(&self.stream.columns[index].origin)).collect()
    }

    /// Computes what is computed; for columns that rows hold already this gives what they hold.
    fn compute(&self, records: RecordBatch) -> RecordBatch {
        let declared: Vec<usize> = (0..self.stream.columns.len()).collect();
        let projected = records.project(&declared).expect("declared columns come first");
        let computation = self.computed.compute(projected);
        let bad: Vec<usize> = computation.faults.iter().map(|(row, _)| *row).collect();
        let records = if bad.is_empty() { records } else { without(&records, &bad, records.num_rows()) };
        let (schema, mut columns, _) = records.into_parts();
        columns.splice(0..declared.len(), computation.batch.columns().iter().cloned());
        RecordBatch::try_new(schema, columns).expect("computing leaves out the same rows")
    }
}

/// The columns at `indices` from the rest of messages, and the rows with a value that its column doesn't take: they are
/// null in all of them.
fn read_rest(stream: &Stream, indices: &[usize], rest: &StringArray) -> (Vec<ArrayRef>, Vec<usize>) {
    let columns = indices.iter().filter_map(|&index| match &stream.columns[index] {
        column @ Column { origin: Origin::Path(path), .. } => Some((column, path.as_slice())),
        _ => None,
    });
    let mut reader = RecordReader::new(&Origins { columns: columns.collect(), unit: stream.format().timestamp_unit });
    let mut bad = Vec::new();
    for row in 0..rest.len() {
        let text = if rest.is_valid(row) { rest.value(row).as_bytes() } else { NOTHING };
        if reader.read(text, 0, text.len()).is_err() {
            bad.push(row);
            let empty = reader.read(NOTHING, 0, NOTHING.len());
            empty.expect("columns that were declared later may be null");
        }
    }
    (reader.finish(), bad)
}

/// `held` where it is not null, else `told`.
fn either(held: &ArrayRef, told: &ArrayRef) -> ArrayRef {
    if held.null_count() == held.len() {
        return told.clone();
    }
    if held.null_count() == 0 || told.null_count() == told.len() {
        return held.clone();
    }
    let is_held = is_not_null(held).expect("every array tells its nulls");
    arrow::compute::kernels::zip::zip(&is_held, held, told).expect("both have the column's type and length")
}

/// `records` less the rows `bad`, rising.
fn without(records: &RecordBatch, bad: &[usize], rows: usize) -> RecordBatch {
    let keep = BooleanBuffer::collect_bool(rows, |row| bad.binary_search(&row).is_err());
    filter_record_batch(records, &BooleanArray::new(keep, None)).expect("the mask is as long as the batch")
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, new_null_array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::job::compile_streams;

    #[test]
    fn added_columns_come_from_the_rest_and_bad_values_leave_their_rows_out() {
        let text =
            "CREATE STREAM s (t TIMESTAMP NOT NULL, a BIGINT, b TEXT FROM 'o.b', p INT FROM METADATA 'partition',
            c BIGINT AS 10 / a, WATERMARK FOR t) LIVE FROM KAFKA 's' FORMAT JSON WITH (keep_rest = true);";
        let stream = compile_streams("job", text).unwrap_or_else(|errors| panic!("{errors}")).remove(0);
        let added = ["a", "b", "p", "c"].map(str::to_owned);
        let rest = StringArray::from(vec![
            Some(r#"{"a":5,"o":{"b":"x"}}"#),
            Some(r#"{"a":"five"}"#),
            None,
            Some(r#"{"o":7}"#),
        ]);
        let schema = stream.record_schema();
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), rest.len()));
        let records = RecordBatch::try_new(schema.clone(), columns.collect()).expect("all have four rows");
        let widened = Widener::new(&stream, &added).expect("the declaration is valid").widen(records, &rest);
        assert_eq!(widened.num_rows(), 2);
        let a: Vec<Option<i64>> = widened.column(1).as_primitive::<Int64Type>().iter().collect();
        let b: Vec<Option<&str>> = widened.column(2).as_string::<i32>().iter().collect();
        let c: Vec<Option<i64>> = widened.column(4).as_primitive::<Int64Type>().iter().collect();
        assert_eq!((a, b, c), (vec![Some(5), None], vec![Some("x"), None], vec![Some(2), None]));
    }
}
