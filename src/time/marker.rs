//! Marker records: those that move `seen` where a stream's watermark has a WHEN.
//! Invariant: row-local. A record is a marker by what it holds, whatever else is in its batch and wherever it was read.

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;

use crate::event::Stream;

/// True where a record is a marker: WHEN is true of it, which is neither false nor null. `None` without WHEN: every record
/// moves `seen` then.
///
/// A record on which WHEN fails, as a sum that doesn't fit does, is no marker, and that is all: were it rejected, jobs with
/// other conditions would take other records from one history.
pub fn markers(stream: &Stream, records: &RecordBatch) -> Option<BooleanArray> {
    let condition = stream.marker.as_ref()?.expression.as_ref();
    let mut truths = Vec::with_capacity(records.num_rows());
    add_truths(condition, records, &mut truths);
    Some(BooleanArray::new(BooleanBuffer::from(truths), None))
}

/// A record that fails takes its batch with it, so the batch is halved until it stands alone.
fn add_truths(condition: &dyn PhysicalExpr, records: &RecordBatch, truths: &mut Vec<bool>) {
    let rows = records.num_rows();
    let evaluated = condition.evaluate(records).and_then(|value| value.into_array(rows));
    match evaluated {
        Ok(array) => {
            let array = array.as_boolean();
            truths.extend((0..rows).map(|row| array.is_valid(row) && array.value(row)));
        }
        Err(_) if rows <= 1 => truths.resize(truths.len() + rows, false),
        Err(_) => {
            let middle = rows / 2;
            add_truths(condition, &records.slice(0, middle), truths);
            add_truths(condition, &records.slice(middle, rows - middle), truths);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;
    use crate::event::TIMESTAMP_ZONE;
    use crate::job::compile_streams;
    use crate::time::judge;

    fn stream(when: &str) -> Arc<Stream> {
        let text = format!(
            "CREATE STREAM s (kind TEXT, n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t WHEN {when}) LIVE FROM FILE 's.jsonl'"
        );
        compile_streams("job", &text).unwrap_or_else(|errors| panic!("{errors}"))[0].clone()
    }

    fn records(stream: &Stream, rows: &[(Option<&str>, Option<i64>, i64)]) -> RecordBatch {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(times.with_timezone(TIMESTAMP_ZONE)),
        ];
        let schema = stream.record_schema();
        columns.extend(schema.fields()[3..].iter().map(|field| new_null_array(field.data_type(), rows.len())));
        RecordBatch::try_new(schema, columns).expect("the columns fit")
    }

    fn marked(when: &str, rows: &[(Option<&str>, Option<i64>, i64)]) -> Vec<bool> {
        let stream = stream(when);
        let markers = markers(&stream, &records(&stream, rows)).expect("it has a WHEN");
        assert_eq!(markers.null_count(), 0);
        markers.values().iter().collect()
    }

    #[test]
    fn null_is_not_true() {
        let rows = [(Some("tick"), None, 0), (Some("x"), None, 0), (None, None, 0)];
        assert_eq!(marked("kind = 'tick'", &rows), [true, false, false]);
        assert_eq!(marked("NOT kind = 'tick'", &rows), [false, true, false]);
        assert_eq!(marked("kind IS NULL", &rows), [false, false, true]);
    }

    #[test]
    fn a_record_on_which_it_fails_is_no_marker_and_others_of_its_batch_are() {
        // Twice the greatest doesn't fit.
        let n = |n: i64| (Some("x"), Some(n), 0);
        let rows = [n(1), n(i64::MAX), n(-1), n(2), n(i64::MAX), n(i64::MIN), n(3)];
        let expected = [true, false, false, true, false, false, true];
        assert_eq!(marked("n * 2 > 0", &rows), expected);
        for edge in 0..=rows.len() {
            let (front, back) = rows.split_at(edge);
            let parts = [marked("n * 2 > 0", front), marked("n * 2 > 0", back)].concat();
            assert_eq!(parts, expected, "cut at {edge}");
        }
        // What doesn't need the sum isn't hurt by it, whatever else is in the batch.
        let rows = [(Some("tick"), Some(i64::MAX), 0), (Some("x"), Some(i64::MAX), 0), (Some("x"), Some(1), 0)];
        assert_eq!(marked("kind = 'tick' OR n * 2 > 0", &rows), [true, false, true]);
    }

    #[test]
    fn without_when_every_record_moves_what_was_seen() {
        let text =
            "CREATE STREAM s (kind TEXT, n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t) LIVE FROM FILE 's.jsonl'";
        let streams = compile_streams("job", text).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(markers(&streams[0], &records(&streams[0], &[(None, None, 0)])).is_none());
    }

    /// `| offset | kind | t | _seen | … |`, as minutes of the day.
    fn table_of_the_reference() -> Vec<(Option<&'static str>, i64, Option<i64>)> {
        let text = include_str!("../../jobs/README.md");
        let (_, table) = text.split_once("| offset | kind | t | `_seen` |").expect("the reference has the table");
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        let minute = |time: &str| {
            let (hour, minute) = time.split_once(':')?;
            Some(hour.parse::<i64>().ok()? * 60 + minute.parse::<i64>().ok()?)
        };
        let row = |line: &'static str| {
            let cells = cells(line);
            let kind = (cells[1] != "(null)").then_some(cells[1]);
            (kind, minute(cells[2]).expect("each record has a time"), minute(cells[3]))
        };
        table.lines().skip(2).take_while(|line| line.starts_with('|')).map(row).collect()
    }

    #[test]
    fn the_table_of_the_reference_is_right() {
        let table = table_of_the_reference();
        assert_eq!(table.len(), 11);
        let stream = stream("kind = 'tick'");
        let rows: Vec<_> = table.iter().map(|&(kind, time, _)| (kind, None, time)).collect();
        let expected: Vec<Option<i64>> = table.iter().map(|row| row.2).collect();
        for edge in 0..=rows.len() {
            let (mut seen, mut found) = (None, Vec::new());
            for part in [&rows[..edge], &rows[edge..]] {
                let judged = judge(&stream, records(&stream, part), &mut seen);
                let column = judged.records.column(stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
                found.extend(column.iter());
            }
            assert_eq!(found, expected, "batches cut at {edge}");
        }
    }
}
