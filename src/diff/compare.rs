//! Two sets of rows, compared as multisets. Values are equal if their bits are, but for NaN, of which there is one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::job::Insert;

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
    pub published: Vec<(String, String)>,
    /// Column names and values as recomputed; empty if it isn't.
    pub recomputed: Vec<(String, String)>,
}

/// What was found.
pub(super) struct Compared {
    pub(super) counts: BTreeMap<Kind, u64>,
    pub(super) rows: Vec<Differing>,
}

/// Rows sorted by all their columns, those of the window and the keys first.
struct Side {
    rows: RecordBatch,
    keys: Rows,
    all: Rows,
}

impl Side {
    fn new(insert: &Insert, batches: &[RecordBatch]) -> Result<Side, ArrowError> {
        let rows = concat_batches(&insert.result_schema, &batches_of(insert, batches)?)?;
        let in_order: Vec<ArrayRef> = insert.sort.iter().map(|&column| rows.column(column).clone()).collect();
        let all = encode(&in_order)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_unstable_by(|&left, &right| all.row(left as usize).cmp(&all.row(right as usize)));
        let rows = take_record_batch(&rows, &UInt32Array::from(order))?;
        let in_order: Vec<ArrayRef> = insert.sort.iter().map(|&column| rows.column(column).clone()).collect();
        let keys = encode(&in_order[..key_columns(insert)])?;
        Ok(Side { keys, all: encode(&in_order)?, rows })
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

/// The batches in the result's own schema, as tables may say less about nulls.
fn batches_of(insert: &Insert, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let schema = &insert.result_schema;
    batches.iter().map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec())).collect()
}

/// How many of the sort columns tell a row: the window's and the plain keys.
fn key_columns(insert: &Insert) -> usize {
    let name = |index: usize| insert.columns[index].expression.to_string();
    let is_key = |column: usize| {
        let expression = name(column);
        let window = crate::windows::WINDOW_COLUMNS.iter().any(|window| expression.starts_with(&format!("{window}@")));
        window || insert.keys.iter().any(|key| expression.starts_with(&format!("{}@", key.name)))
    };
    insert.sort.iter().take_while(|&&column| is_key(column)).count()
}

fn encode(columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    RowConverter::new(fields)?.convert_columns(columns)
}

/// Walks both sides in order. Rows of one key that differ on both sides are paired as changed.
pub(super) fn compare(
    insert: &Insert,
    published: &[RecordBatch],
    recomputed: &[RecordBatch],
    limit: usize,
) -> Result<Compared, ArrowError> {
    let (published, recomputed) = (Side::new(insert, published)?, Side::new(insert, recomputed)?);
    let mut compared = Compared {
        counts: BTreeMap::from([(Kind::Missing, 0), (Kind::Extra, 0), (Kind::Changed, 0)]),
        rows: Vec::new(),
    };
    let (mut left, mut right) = (0, 0);
    while left < published.rows.num_rows() || right < recomputed.rows.num_rows() {
        let (l, r) = (row(&published.all, left), row(&recomputed.all, right));
        if l.is_some() && l == r {
            (left, right) = (left + 1, right + 1);
            continue;
        }
        let by_key = order(row(&published.keys, left), row(&recomputed.keys, right));
        let (kind, takes_left, takes_right) = match by_key {
            Ordering::Less => (Kind::Extra, true, false),
            Ordering::Greater => (Kind::Missing, false, true),
            Ordering::Equal => (Kind::Changed, true, true),
        };
        *compared.counts.entry(kind).or_default() += 1;
        if compared.rows.len() < limit {
            compared.rows.push(Differing {
                kind,
                published: if takes_left { published.show(left)? } else { Vec::new() },
                recomputed: if takes_right { recomputed.show(right)? } else { Vec::new() },
            });
        }
        left += usize::from(takes_left);
        right += usize::from(takes_right);
    }
    Ok(compared)
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
