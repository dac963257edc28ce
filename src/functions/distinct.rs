//! Distinct values per group, exactly: one hash table for all groups, keyed by group and value.
//! -0.0 and 0.0 are one value, and all NaN are one; NULL is none. States are sorted, so that equal sets have equal bytes.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, ListArray, StringArray, make_array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion_common::Result;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::doubles::emitted;
use super::floats::one_zero_one_nan;
use super::rows::for_each;

/// The state of any DISTINCT aggregate: the sorted values of each group.
pub(super) fn distinct_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let item = Field::new_list_field(args.input_fields[0].data_type().clone(), true);
    vec![Arc::new(Field::new_list(format!("{}[distinct]", args.name), item, true))]
}

/// How values are kept in the table.
enum Encoding {
    /// As 64 bits: values of four or eight bytes.
    Fixed { bytes: usize },
    /// As they are: TEXT and BYTES.
    Raw,
    /// As rows of Arrow's row format: all others.
    Rows(RowConverter),
}

/// A value that is kept as bytes: where it stands in the arena.
#[derive(Clone, Copy)]
struct Slice {
    group: u32,
    length: u32,
    start: usize,
}

impl Slice {
    fn bytes(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..self.start + self.length as usize]
    }
}

/// The distinct values of all groups.
pub(super) struct DistinctSet {
    data_type: DataType,
    encoding: Encoding,
    hasher: DefaultHashBuilder,
    fixed: HashTable<(u32, u64)>,
    slices: HashTable<Slice>,
    arena: Vec<u8>,
    counts: Vec<i64>,
}

impl DistinctSet {
    fn new(data_type: &DataType) -> Result<DistinctSet> {
        let encoding = match data_type {
            DataType::Utf8 | DataType::Binary => Encoding::Raw,
            other => match other.primitive_width() {
                Some(bytes @ (4 | 8)) => Encoding::Fixed { bytes },
                _ => Encoding::Rows(RowConverter::new(vec![SortField::new(other.clone())])?),
            },
        };
        Ok(DistinctSet {
            data_type: data_type.clone(),
            encoding,
            hasher: DefaultHashBuilder::default(),
            fixed: HashTable::new(),
            slices: HashTable::new(),
            arena: Vec::new(),
            counts: Vec::new(),
        })
    }

    fn insert(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.counts.resize(total, 0);
        let nulls = values.logical_nulls();
        let values = one_zero_one_nan(values);
        match &self.encoding {
            Encoding::Fixed { bytes } => {
                let bits = fixed_bits(&values, *bytes);
                for_each(groups, nulls.as_ref(), filter, |row, group| self.insert_fixed(group, bits[row]));
            }
            Encoding::Raw if self.data_type == DataType::Utf8 => {
                let texts: &StringArray = values.as_string();
                for_each(groups, nulls.as_ref(), filter, |row, group| {
                    self.insert_bytes(group, texts.value(row).as_bytes());
                });
            }
            Encoding::Raw => {
                let texts: &BinaryArray = values.as_binary();
                for_each(groups, nulls.as_ref(), filter, |row, group| self.insert_bytes(group, texts.value(row)));
            }
            Encoding::Rows(converter) => {
                let rows = converter.convert_columns(&[values])?;
                for_each(groups, nulls.as_ref(), filter, |row, group| self.insert_bytes(group, rows.row(row).data()));
            }
        }
        Ok(())
    }

    fn insert_fixed(&mut self, group: usize, bits: u64) {
        let key = (number(group), bits);
        let hasher = &self.hasher;
        let entry = self.fixed.entry(hasher.hash_one(key), |&old| old == key, |&old| hasher.hash_one(old));
        if let hashbrown::hash_table::Entry::Vacant(vacant) = entry {
            vacant.insert(key);
            self.counts[group] += 1;
        }
    }

    fn insert_bytes(&mut self, group: usize, bytes: &[u8]) {
        let (number, hasher, arena) = (number(group), &self.hasher, &mut self.arena);
        let entry = self.slices.entry(
            hasher.hash_one((number, bytes)),
            |old| old.group == number && old.bytes(arena) == bytes,
            |old| hasher.hash_one((old.group, old.bytes(arena))),
        );
        if let hashbrown::hash_table::Entry::Vacant(vacant) = entry {
            let length = u32::try_from(bytes.len()).expect("a value is shorter than 4 GiB");
            vacant.insert(Slice { group: number, length, start: arena.len() });
            arena.extend_from_slice(bytes);
            self.counts[group] += 1;
        }
    }

    /// Adds the lists of a state column.
    fn merge(&mut self, lists: &ListArray, groups: &[usize], total: usize) -> Result<()> {
        let offsets = lists.value_offsets();
        let mut group_of_value = Vec::with_capacity(lists.values().len());
        for (pair, &group) in offsets.windows(2).zip(groups) {
            group_of_value.resize(group_of_value.len() + length(pair[0], pair[1]), group);
        }
        let first = offsets.first().map_or(0, |&first| length(0, first));
        let values = lists.values().slice(first, group_of_value.len());
        self.insert(&values, &group_of_value, None, total)
    }

    /// Takes the first `count` groups out: their values, sorted by group and value, and each value's group.
    fn take(&mut self, count: usize) -> Result<(ArrayRef, Vec<usize>)> {
        let taken = number(count);
        self.counts.drain(..count);
        let values = match &self.encoding {
            Encoding::Fixed { bytes } => {
                let (mut out, rest): (Vec<_>, Vec<_>) = self.fixed.drain().partition(|(group, _)| *group < taken);
                out.sort_unstable();
                let hasher = &self.hasher;
                for (group, bits) in rest {
                    let key = (group - taken, bits);
                    self.fixed.insert_unique(hasher.hash_one(key), key, |&old| hasher.hash_one(old));
                }
                let groups = out.iter().map(|(group, _)| *group as usize).collect();
                return Ok((fixed_array(&self.data_type, *bytes, out.iter().map(|(_, bits)| *bits))?, groups));
            }
            Encoding::Raw | Encoding::Rows(_) => self.take_slices(taken),
        };
        let (arena, out) = values;
        let groups = out.iter().map(|slice| slice.group as usize).collect();
        let texts = out.iter().map(|slice| slice.bytes(&arena));
        let array = match &self.encoding {
            Encoding::Rows(converter) => {
                let parser = converter.parser();
                converter.convert_rows(texts.map(|text| parser.parse(text)))?.swap_remove(0)
            }
            _ => {
                let (offsets, bytes, _) = BinaryArray::from_iter_values(texts).into_parts();
                if self.data_type == DataType::Utf8 {
                    Arc::new(StringArray::try_new(offsets, bytes, None)?)
                } else {
                    Arc::new(BinaryArray::new(offsets, bytes, None)) as ArrayRef
                }
            }
        };
        Ok((array, groups))
    }

    /// Takes the byte values of the first groups out, sorted, with the arena that they stand in.
    fn take_slices(&mut self, taken: u32) -> (Vec<u8>, Vec<Slice>) {
        let arena = std::mem::take(&mut self.arena);
        let (mut out, rest): (Vec<_>, Vec<_>) = self.slices.drain().partition(|slice| slice.group < taken);
        out.sort_unstable_by_key(|slice| (slice.group, slice.bytes(&arena)));
        for slice in rest {
            let group = (slice.group - taken) as usize;
            // It is counted already.
            self.counts[group] -= 1;
            self.insert_bytes(group, slice.bytes(&arena));
        }
        (arena, out)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.counts.len());
        let lengths: Vec<usize> = self.counts[..count].iter().map(|&count| length(0, count)).collect();
        let (values, _) = self.take(count)?;
        let item = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), values, None)?))
    }

    fn bytes(&self) -> usize {
        self.fixed.allocation_size()
            + self.slices.allocation_size()
            + self.arena.capacity()
            + self.counts.capacity() * size_of::<i64>()
    }
}

fn number(group: usize) -> u32 {
    u32::try_from(group).expect("a pane has fewer than 2^32 groups")
}

fn length<N: TryInto<usize> + std::ops::Sub<Output = N>>(from: N, to: N) -> usize {
    (to - from).try_into().ok().expect("lengths are not negative")
}

/// The values of a primitive column of four or eight bytes, as 64 bits; whatever stands under a null.
fn fixed_bits(values: &ArrayRef, bytes: usize) -> Vec<u64> {
    let data = values.to_data();
    let (buffer, range) = (&data.buffers()[0], data.offset()..data.offset() + data.len());
    if bytes == 4 {
        buffer.typed_data::<u32>()[range].iter().map(|&bits| u64::from(bits)).collect()
    } else {
        buffer.typed_data::<u64>()[range].to_vec()
    }
}

fn fixed_array(data_type: &DataType, bytes: usize, bits: impl Iterator<Item = u64>) -> Result<ArrayRef> {
    let bits: Vec<u64> = bits.collect();
    let count = bits.len();
    let buffer = if bytes == 4 {
        Buffer::from_vec(bits.iter().map(|&bits| bits as u32).collect())
    } else {
        Buffer::from_vec(bits)
    };
    Ok(make_array(ArrayData::builder(data_type.clone()).len(count).add_buffer(buffer).build()?))
}

/// count(DISTINCT x).
pub(super) struct CountDistinct(DistinctSet);

impl CountDistinct {
    pub(super) fn over(args: &AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(CountDistinct(DistinctSet::new(args.expr_fields[0].data_type())?)))
    }
}

impl GroupsAccumulator for CountDistinct {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.insert(&values[0], group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.0.counts.len());
        let counts = Int64Array::from(self.0.counts[..count].to_vec());
        match emit_to {
            EmitTo::All => {
                self.0.fixed = HashTable::new();
                self.0.slices = HashTable::new();
                self.0.arena = Vec::new();
                self.0.counts = Vec::new();
            }
            EmitTo::First(_) => drop(self.0.take(count)?),
        }
        Ok(Arc::new(counts))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.0.state(emit_to)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.merge(values[0].as_list(), group_indices, total_num_groups)
    }

    fn size(&self) -> usize {
        self.0.bytes()
    }
}

/// Another aggregate over distinct values, as in sum(DISTINCT x).
pub(super) struct DistinctThen {
    set: DistinctSet,
    then: Box<dyn GroupsAccumulator>,
}

impl DistinctThen {
    pub(super) fn over(args: &AccumulatorArgs, then: Box<dyn GroupsAccumulator>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(DistinctThen { set: DistinctSet::new(args.expr_fields[0].data_type())?, then }))
    }
}

impl GroupsAccumulator for DistinctThen {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.set.insert(&values[0], group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.set.counts.len());
        let (values, groups) = self.set.take(count)?;
        // Without a filter, accumulators take it that every group has a row.
        let all = BooleanArray::from(vec![true; groups.len()]);
        self.then.update_batch(&[values], &groups, Some(&all), count)?;
        self.then.evaluate(EmitTo::All)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.set.state(emit_to)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.set.merge(values[0].as_list(), group_indices, total_num_groups)
    }

    fn size(&self) -> usize {
        self.set.bytes() + self.then.size()
    }
}
