//! The rows of each group, to be given out in order: columns as they came, sorted only when they are needed.
//!
//! Rows go by their order columns, and where those are equal by the value itself, so that what comes out never depends on
//! which row came first. Memory: the columns, and 4 bytes a row for its group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, concat, filter, take};
use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::{Result, exec_err};

use super::floats::{one_nan, one_zero_one_nan};
use super::ranked::Nulls;
use super::rows::mask;

/// Rows below which sorting out what isn't needed is not worth it.
const FRESH_ROWS_MIN: usize = 8_192;

/// Which rows of a group are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    /// Of equal values the one that comes first. -0.0 is 0.0, all NaN are one, all NULL are one.
    Distinct,
    /// So many from the first on.
    First(usize),
    /// So many up to the last.
    Last(usize),
}

/// Rows of several groups, in any order.
struct Chunk {
    groups: Vec<u32>,
    /// The value, then its order columns.
    columns: Vec<ArrayRef>,
}

impl Chunk {
    fn len(&self) -> usize {
        self.groups.len()
    }

    fn concat(chunks: &[Chunk]) -> Result<Chunk> {
        let first = chunks.first().expect("at least one chunk");
        let columns = (0..first.columns.len()).map(|column| {
            let parts: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.columns[column].as_ref()).collect();
            Ok(concat(&parts)?)
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Chunk { groups: chunks.iter().flat_map(|chunk| chunk.groups.iter().copied()).collect(), columns })
    }

    fn take(&self, rows: &[u32]) -> Result<Chunk> {
        let indices = UInt32Array::from(rows.to_vec());
        let columns = self.columns.iter().map(|column| Ok(take(column, &indices, None)?)).collect::<Result<_>>()?;
        Ok(Chunk { groups: rows.iter().map(|&row| self.groups[row as usize]).collect(), columns })
    }

    fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.get_array_memory_size()).sum();
        self.groups.capacity() * size_of::<u32>() + columns
    }
}

/// The groups taken out: for each the number of its rows, and the columns of all of them, in order.
pub(super) struct Taken {
    pub lengths: Vec<usize>,
    /// The value, then its order columns.
    pub columns: Vec<ArrayRef>,
}

impl Taken {
    /// One list a group for each column.
    pub(super) fn into_lists(self) -> Result<Vec<ArrayRef>> {
        let offsets = offsets(&self.lengths)?;
        let list = |column: ArrayRef| -> Result<ArrayRef> {
            let item = Arc::new(Field::new_list_field(column.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(item, offsets.clone(), column, None)?))
        };
        self.columns.into_iter().map(list).collect()
    }
}

/// Where lists of these lengths begin and end.
pub(super) fn offsets(lengths: &[usize]) -> Result<OffsetBuffer<i32>> {
    if lengths.iter().sum::<usize>() > i32::MAX as usize {
        return exec_err!("the arrays of one window hold more than 2,147,483,647 values together");
    }
    Ok(OffsetBuffer::from_lengths(lengths.iter().copied()))
}

/// The rows of all groups.
pub(super) struct Collected {
    keep: Keep,
    nulls: Nulls,
    /// Type of the value, then types and directions of the order columns.
    value_type: DataType,
    order: Vec<(DataType, SortOptions)>,
    groups: usize,
    /// Rows of which only needed ones are left.
    kept: Chunk,
    /// Rows that came since; each chunk more than twice the next one, so they are few.
    fresh: Vec<Chunk>,
}

impl Collected {
    /// Fails if values of these types have no order.
    pub(super) fn new(
        keep: Keep,
        nulls: Nulls,
        value_type: &DataType,
        order: Vec<(DataType, SortOptions)>,
    ) -> Result<Collected> {
        let types = std::iter::once(value_type).chain(order.iter().map(|(data_type, _)| data_type));
        let kept = Chunk { groups: Vec::new(), columns: types.map(new_empty_array).collect() };
        let collected =
            Collected { keep, nulls, value_type: value_type.clone(), order, groups: 0, kept, fresh: Vec::new() };
        collected.rows(&collected.kept)?;
        Ok(collected)
    }

    /// Adds the value and the order columns of a batch.
    pub(super) fn update(
        &mut self,
        value: &ArrayRef,
        order: &[ArrayRef],
        groups: &[usize],
        chosen: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups = total;
        let nulls = if self.nulls == Nulls::Ignore { value.logical_nulls() } else { None };
        let value = if self.keep == Keep::Distinct { one_zero_one_nan(value) } else { one_nan(value) };
        let columns = std::iter::once(value).chain(order.iter().map(one_nan));
        let number = |group: usize| u32::try_from(group).expect("a pane has fewer than 2^32 groups");
        let chunk = match mask(nulls.as_ref(), chosen) {
            None => Chunk { groups: groups.iter().map(|&group| number(group)).collect(), columns: columns.collect() },
            Some(mask) => {
                let groups = mask.set_indices().map(|row| number(groups[row])).collect();
                let mask = BooleanArray::new(mask, None);
                Chunk { groups, columns: columns.map(|column| Ok(filter(&column, &mask)?)).collect::<Result<_>>()? }
            }
        };
        self.push(chunk)
    }

    /// Adds the lists of a state.
    pub(super) fn merge(&mut self, lists: &[&ListArray], groups: &[usize], total: usize) -> Result<()> {
        self.groups = total;
        let offsets = lists[0].value_offsets();
        let mut group_of_value = Vec::with_capacity(lists[0].values().len());
        for (pair, &group) in offsets.windows(2).zip(groups) {
            let length = (pair[1] - pair[0]).cast_unsigned() as usize;
            let number = u32::try_from(group).expect("a pane has fewer than 2^32 groups");
            group_of_value.resize(group_of_value.len() + length, number);
        }
        let columns = lists.iter().map(|list| {
            let first = list.value_offsets().first().map_or(0, |first| first.cast_unsigned() as usize);
            list.values().slice(first, group_of_value.len())
        });
        let columns = columns.collect();
        self.push(Chunk { groups: group_of_value, columns })
    }

    fn push(&mut self, chunk: Chunk) -> Result<()> {
        if chunk.len() == 0 {
            return Ok(());
        }
        self.fresh.push(chunk);
        while let [.., before, last] = &self.fresh[..]
            && before.len() < 2 * last.len()
        {
            let both = self.fresh.split_off(self.fresh.len() - 2);
            self.fresh.push(Chunk::concat(&both)?);
        }
        if self.fresh.iter().map(Chunk::len).sum::<usize>() >= self.kept.len().max(FRESH_ROWS_MIN) {
            self.settle()?;
        }
        Ok(())
    }

    /// Leaves only the rows that are needed, in one chunk.
    fn settle(&mut self) -> Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let kept = std::mem::replace(&mut self.kept, Chunk { groups: Vec::new(), columns: Vec::new() });
        let chunks: Vec<Chunk> = std::iter::once(kept).chain(self.fresh.drain(..)).collect();
        let all = Chunk::concat(&chunks)?;
        drop(chunks);
        let needed = match self.keep {
            Keep::All => None,
            Keep::Distinct => Some(self.distinct(&all)?),
            Keep::First(most) => Some(ends(&all, &self.in_order(&all)?, |place, _| place < most)),
            Keep::Last(most) => Some(ends(&all, &self.in_order(&all)?, |place, length| place + most >= length)),
        };
        self.kept = match needed {
            None => all,
            Some(rows) => all.take(&rows)?,
        };
        Ok(())
    }

    /// What rows are compared by: the order columns, then the value.
    fn rows(&self, chunk: &Chunk) -> Result<Rows> {
        let order = self.order.iter().cloned();
        let fields = order.map(|(data_type, options)| SortField::new_with_options(data_type, options));
        let fields = fields.chain([SortField::new(self.value_type.clone())]).collect();
        let (value, order) = chunk.columns.split_first().expect("there is a value");
        let columns: Vec<ArrayRef> = order.iter().chain([value]).map(Arc::clone).collect();
        Ok(RowConverter::new(fields)?.convert_columns(&columns)?)
    }

    /// All rows, by group and order.
    fn in_order(&self, chunk: &Chunk) -> Result<Vec<u32>> {
        let rows = self.rows(chunk)?;
        Ok(sorted(chunk, |left, right| rows.row(left).cmp(&rows.row(right))))
    }

    /// For each group and value the row that comes first.
    fn distinct(&self, chunk: &Chunk) -> Result<Vec<u32>> {
        let rows = self.rows(chunk)?;
        let values = RowConverter::new(vec![SortField::new(self.value_type.clone())])?;
        let values = values.convert_columns(&chunk.columns[..1])?;
        let by_value = |left: usize, right: usize| values.row(left).cmp(&values.row(right));
        let mut order =
            sorted(chunk, |left, right| by_value(left, right).then_with(|| rows.row(left).cmp(&rows.row(right))));
        order.dedup_by(|next, first| {
            let (next, first) = (*next as usize, *first as usize);
            chunk.groups[next] == chunk.groups[first] && by_value(next, first).is_eq()
        });
        Ok(order)
    }

    /// Takes the first `count` groups out; those behind them move down.
    pub(super) fn take(&mut self, count: usize) -> Result<Taken> {
        self.settle()?;
        let order = self.in_order(&self.kept)?;
        let split = order.partition_point(|&row| (self.kept.groups[row as usize] as usize) < count);
        let taken = self.kept.take(&order[..split])?;
        let mut rest = self.kept.take(&order[split..])?;
        for group in &mut rest.groups {
            *group -= u32::try_from(count).expect("a pane has fewer than 2^32 groups");
        }
        self.kept = rest;
        self.groups -= count;
        let mut lengths = vec![0; count];
        for group in taken.groups {
            lengths[group as usize] += 1;
        }
        Ok(Taken { lengths, columns: taken.columns })
    }

    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.kept.bytes() + self.fresh.iter().map(Chunk::bytes).sum::<usize>()
    }
}

fn sorted(chunk: &Chunk, compare: impl Fn(usize, usize) -> std::cmp::Ordering) -> Vec<u32> {
    let count = u32::try_from(chunk.len()).expect("a pane holds fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by(|&left, &right| {
        let (left, right) = (left as usize, right as usize);
        chunk.groups[left].cmp(&chunk.groups[right]).then_with(|| compare(left, right))
    });
    order
}

/// Of rows in order those whose place in their group is wanted; `wanted` gets the place and the group's length.
fn ends(chunk: &Chunk, order: &[u32], wanted: impl Fn(usize, usize) -> bool) -> Vec<u32> {
    let same_group = |left: &u32, right: &u32| chunk.groups[*left as usize] == chunk.groups[*right as usize];
    let needed = order.chunk_by(same_group).flat_map(|rows| {
        let wanted = &wanted;
        rows.iter().enumerate().filter(move |(place, _)| wanted(*place, rows.len())).map(|(_, row)| *row)
    });
    needed.collect()
}
