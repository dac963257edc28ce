//! first_value and last_value: per group the row that stands first or last by its order columns.
//!
//! Rows are compared as bytes of Arrow's row format, which orders by the columns one after the other. Where order
//! columns are equal the value itself decides, so that a result never depends on which row came first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::doubles::emitted;
use super::floats::one_nan;
use super::rows::for_each;

/// Which row of a group is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pick {
    First,
    Last,
}

/// What becomes of rows whose value is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    /// They take part.
    Respect,
    /// They are skipped.
    Ignore,
}

/// The best row of a group so far.
#[derive(Clone, Debug, Default)]
struct Best {
    is_set: bool,
    order: Vec<u8>,
    value: Vec<u8>,
}

/// The best row of each group: its value and its order columns.
pub(super) struct Ranked {
    pick: Pick,
    nulls: Nulls,
    value: RowConverter,
    value_type: DataType,
    /// `None` without order columns.
    order: Option<RowConverter>,
    order_types: Vec<DataType>,
    best: Vec<Best>,
    /// Heap bytes of `best`'s rows.
    heap: usize,
}

impl Ranked {
    /// `order`: type and direction of each order column.
    pub(super) fn new(
        pick: Pick,
        nulls: Nulls,
        value_type: &DataType,
        order: Vec<(DataType, SortOptions)>,
    ) -> Result<Ranked> {
        let order_types = order.iter().map(|(data_type, _)| data_type.clone()).collect();
        let fields: Vec<_> =
            order.into_iter().map(|(data_type, options)| SortField::new_with_options(data_type, options)).collect();
        Ok(Ranked {
            pick,
            nulls,
            value: RowConverter::new(vec![SortField::new(value_type.clone())])?,
            value_type: value_type.clone(),
            order: if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) },
            order_types,
            best: Vec::new(),
            heap: 0,
        })
    }

    fn rows(&self, columns: &[ArrayRef]) -> Result<(Rows, Option<Rows>)> {
        let columns: Vec<ArrayRef> = columns.iter().map(one_nan).collect();
        let values = self.value.convert_columns(&columns[..1])?;
        let orders = self.order.as_ref().map(|order| order.convert_columns(&columns[1..])).transpose()?;
        Ok((values, orders))
    }

    fn take(&mut self, values: &Rows, orders: Option<&Rows>, row: usize, group: usize) {
        let value = values.row(row).data();
        let order = orders.map_or(&[][..], |orders| orders.row(row).data());
        let best = &mut self.best[group];
        let (new, old) = ((order, value), (&best.order[..], &best.value[..]));
        let wins = match self.pick {
            Pick::First => new < old,
            Pick::Last => new > old,
        };
        if wins || !best.is_set {
            let before = best.order.capacity() + best.value.capacity();
            best.is_set = true;
            best.order.clear();
            best.order.extend_from_slice(order);
            best.value.clear();
            best.value.extend_from_slice(value);
            self.heap += (best.order.capacity() + best.value.capacity()).saturating_sub(before);
        }
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Best> {
        let count = emitted(emit_to, self.best.len());
        let best: Vec<Best> = self.best.drain(..count).collect();
        let heap: usize = best.iter().map(|best| best.order.capacity() + best.value.capacity()).sum();
        self.heap = self.heap.saturating_sub(heap);
        best
    }

    fn values(&self, best: &[Best]) -> Result<ArrayRef> {
        let null = self.value.convert_columns(&[new_null_array(&self.value_type, 1)])?;
        let parser = self.value.parser();
        let row = |best| -> &[u8] { if Best::is_set(best) { &best.value } else { null.row(0).data() } };
        let rows = best.iter().map(|best| parser.parse(row(best)));
        Ok(self.value.convert_rows(rows)?.swap_remove(0))
    }

    fn orders(&self, best: &[Best]) -> Result<Vec<ArrayRef>> {
        let Some(order) = &self.order else { return Ok(Vec::new()) };
        let nulls: Vec<ArrayRef> = self.order_types.iter().map(|data_type| new_null_array(data_type, 1)).collect();
        let null = order.convert_columns(&nulls)?;
        let parser = order.parser();
        let row = |best| -> &[u8] { if Best::is_set(best) { &best.order } else { null.row(0).data() } };
        let rows = best.iter().map(|best| parser.parse(row(best)));
        Ok(order.convert_rows(rows)?)
    }
}

impl Best {
    fn is_set(best: &Best) -> bool {
        best.is_set
    }
}

impl GroupsAccumulator for Ranked {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.best.resize(total_num_groups, Best::default());
        let (rows, orders) = self.rows(values)?;
        let nulls = match self.nulls {
            Nulls::Respect => None,
            Nulls::Ignore => values[0].logical_nulls(),
        };
        for_each(group_indices, nulls.as_ref(), opt_filter, |row, group| {
            self.take(&rows, orders.as_ref(), row, group);
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let best = self.emit(emit_to);
        self.values(&best)
    }

    /// The value, its order columns, and whether there is any.
    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let best = self.emit(emit_to);
        let mut columns = vec![self.values(&best)?];
        columns.extend(self.orders(&best)?);
        columns.push(Arc::new(best.iter().map(|best| Some(best.is_set)).collect::<BooleanArray>()));
        Ok(columns)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.best.resize(total_num_groups, Best::default());
        let (is_set, columns) = values.split_last().expect("the state has a value and a flag");
        let (rows, orders) = self.rows(columns)?;
        for_each(group_indices, None, Some(is_set.as_boolean()), |row, group| {
            self.take(&rows, orders.as_ref(), row, group);
        });
        Ok(())
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Best>() + self.heap
    }
}
