//! Two sets of rows, compared as multisets. Values are equal if their bits are, but for NaN, of which there is one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::job::Insert;

/// The order in which rows of a table are compared.
#[derive(Clone, Debug)]
pub struct RowOrder {
    /// Columns of the rows.
    pub schema: SchemaRef,
    /// All columns (indices), outermost first.
    pub sort: Vec<usize>,
    /// How many of the sort columns tell which row is which: those of the window and the keys.
    pub keys: usize,
}

impl RowOrder {
    /// That of an INSERT's result.
    pub fn of_result(insert: &Insert) -> RowOrder {
        RowOrder { schema: insert.result_schema.clone(), sort: insert.sort.clone(), keys: insert.identity }
    }

    /// The rows in this order, as one batch.
    ///
    /// # Errors
    /// If they aren't laid out as it says.
    pub fn sorted(&self, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
        Ok(Side::new(self, batches)?.rows)
    }

    fn columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.sort.iter().map(|&column| rows.column(column).clone()).collect()
    }
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The recomputation gives it, but it isn't published.
    Missing,
    /// It is published, but the recomputation doesn't give it.
    Extra,
    /// Both have a row of its window and key, with other values.
    Changed,
}

/// One differing row.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Differing {
    /// How.
    pub kind: Kind,
    /// Column names and values as published; empty if it isn't.
    #[serde(serialize_with = "as_object")]
    pub published: Vec<(String, String)>,
    /// Column names and values as recomputed; empty if it isn't.
    #[serde(serialize_with = "as_object")]
    pub recomputed: Vec<(String, String)>,
}

/// A row as an object, in the order of its columns; null if there is none.
fn as_object<S: serde::Serializer>(row: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    match row {
        [] => serializer.serialize_none(),
        row => serializer.collect_map(row.iter().map(|(name, value)| (name, value))),
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// How many rows differ, by kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The first of them.
    pub rows: Vec<Differing>,
}

impl Compared {
    /// Whether no row differs.
    pub fn is_equal(&self) -> bool {
        self.counts.values().all(|&count| count == 0)
    }
}

/// Rows sorted by all their columns, those of the window and the keys first.
struct Side {
    rows: RecordBatch,
    keys: Rows,
    all: Rows,
}

impl Side {
    fn new(order: &RowOrder, batches: &[RecordBatch]) -> Result<Side, ArrowError> {
        let rows = concat_batches(&order.schema, &batches_of(order, batches)?)?;
        let all = encode(&order.columns(&rows))?;
        let mut sorted: Vec<u32> = (0..rows.num_rows() as u32).collect();
        sorted.sort_unstable_by(|&left, &right| all.row(left as usize).cmp(&all.row(right as usize)));
        let rows = take_record_batch(&rows, &UInt32Array::from(sorted))?;
        let columns = order.columns(&rows);
        Ok(Side { keys: encode(&columns[..order.keys])?, all: encode(&columns)?, rows })
    }

    /// The end of the rows with the key of this one.
    fn end_of_key(&self, row: usize) -> usize {
        let differs = |&other: &usize| self.keys.row(other) != self.keys.row(row);
        (row..self.rows.num_rows()).find(differs).unwrap_or(self.rows.num_rows())
    }

    fn show(&self, row: usize) -> Result<Vec<(String, String)>, ArrowError> {
        let options = FormatOptions::default().with_null("NULL");
        let fields = self.rows.schema();
        let values = fields.fields().iter().zip(self.rows.columns()).map(|(field, column)| {
            let text = ArrayFormatter::try_new(column, &options)?.value(row).try_to_string()?;
            Ok((field.name().clone(), text))
        });
        values.collect()
    }
}

/// The batches in the order's own schema, as tables may say less about nulls.
fn batches_of(order: &RowOrder, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    batches.iter().map(|batch| RecordBatch::try_new(order.schema.clone(), batch.columns().to_vec())).collect()
}

fn encode(columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let columns: Vec<ArrayRef> = columns.iter().map(one_nan).collect();
    RowConverter::new(fields)?.convert_columns(&columns)
}

/// The column with all NaN alike; other values keep their bits.
fn one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value }))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value }))
        }
        _ => column.clone(),
    }
}

/// Walks both sides in order, key by key. Rows of one key that are on one side only are paired as changed, as far as
/// there are two. The first `limit` differing rows are kept.
///
/// # Errors
/// If rows aren't laid out as the order says.
pub fn compare(
    rows: &RowOrder,
    published: &[RecordBatch],
    recomputed: &[RecordBatch],
    limit: usize,
) -> Result<Compared, ArrowError> {
    let (published, recomputed) = (Side::new(rows, published)?, Side::new(rows, recomputed)?);
    let mut compared = Compared {
        counts: BTreeMap::from([(Kind::Missing, 0), (Kind::Extra, 0), (Kind::Changed, 0)]),
        rows: Vec::new(),
    };
    let (mut left, mut right) = (0, 0);
    while left < published.rows.num_rows() || right < recomputed.rows.num_rows() {
        let by_key = order(row(&published.keys, left), row(&recomputed.keys, right));
        let left_group = if by_key.is_le() { left..published.end_of_key(left) } else { left..left };
        let right_group = if by_key.is_ge() { right..recomputed.end_of_key(right) } else { right..right };
        (left, right) = (left_group.end, right_group.end);
        let (only_left, only_right) = apart(&published.all, left_group, &recomputed.all, right_group);
        for pair in 0..only_left.len().max(only_right.len()) {
            let (left, right) = (only_left.get(pair), only_right.get(pair));
            let kind = match (left, right) {
                (Some(_), Some(_)) => Kind::Changed,
                (Some(_), None) => Kind::Extra,
                (None, _) => Kind::Missing,
            };
            *compared.counts.entry(kind).or_default() += 1;
            if compared.rows.len() < limit {
                let show = |side: &Side, row: Option<&usize>| row.map_or(Ok(Vec::new()), |&row| side.show(row));
                let (published, recomputed) = (show(&published, left)?, show(&recomputed, right)?);
                compared.rows.push(Differing { kind, published, recomputed });
            }
        }
    }
    Ok(compared)
}

/// The rows of two sorted groups that the other group doesn't have.
fn apart(left: &Rows, mut lefts: Range<usize>, right: &Rows, mut rights: Range<usize>) -> (Vec<usize>, Vec<usize>) {
    let (mut only_left, mut only_right) = (Vec::new(), Vec::new());
    while !lefts.is_empty() && !rights.is_empty() {
        match left.row(lefts.start).cmp(&right.row(rights.start)) {
            Ordering::Less => only_left.extend(lefts.next()),
            Ordering::Greater => only_right.extend(rights.next()),
            Ordering::Equal => {
                lefts.next();
                rights.next();
            }
        }
    }
    only_left.extend(lefts);
    only_right.extend(rights);
    (only_left, only_right)
}

fn row(rows: &Rows, index: usize) -> Option<arrow::row::Row<'_>> {
    (index < rows.num_rows()).then(|| rows.row(index))
}

/// A side that has ended comes after everything.
fn order(left: Option<arrow::row::Row<'_>>, right: Option<arrow::row::Row<'_>>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => Ordering::Less,
        (None, _) => Ordering::Greater,
    }
}
