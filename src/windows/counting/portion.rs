//! The groups of some windows: those that are given, or those that stay.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;

use super::Counting;
use super::course::OnItsWay;
use super::layout::{BOOKKEEPING, COUNT, FIRST, LAST, OWN_NUMBER, WHOLE, bookkeeping, open_schema};
use crate::windows::identities::Identities;
use crate::windows::numbered::Numbered;
use crate::windows::{Aggregation, Fed, Made, MadeWindows, PaneError, Reason};

/// What was open and what comes, row by row, the former first.
pub(super) struct Input<'a> {
    pub(super) carried: &'a RecordBatch,
    pub(super) fed: &'a Fed,
    pub(super) window_of: &'a [usize],
    pub(super) keys: &'a [ArrayRef],
    /// The group of each row ([`groups`]).
    pub(super) groups: &'a [usize],
}

/// The group of each row: one a window, or several where further keys split it.
pub(super) fn groups(
    aggregation: &Aggregation,
    partition_keys: usize,
    window_of: &[usize],
    keys: &[ArrayRef],
) -> Result<Vec<usize>, PaneError> {
    let others = &keys[partition_keys..];
    if others.is_empty() {
        return Ok(window_of.to_vec());
    }
    let mut fields = vec![Field::new("window", DataType::Int64, false)];
    let of_others = &aggregation.keys.fields()[partition_keys..];
    fields.extend(of_others.iter().map(|field| field.as_ref().clone()));
    let mut groups = Identities::new(&Arc::new(Schema::new(fields)))?;
    let windows = window_of.iter().map(|&window| i64::try_from(window).expect("fewer than 2^63 windows"));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(windows))];
    columns.extend(others.iter().cloned());
    let mut numbers = Vec::new();
    groups.resolve(&columns, window_of.len(), &mut numbers)?;
    Ok(numbers)
}

/// Some groups: their accumulators, keys and windows.
pub(super) struct Portion {
    accumulators: Numbered,
    keys: Vec<ArrayRef>,
    windows: Vec<usize>,
    /// Of the groups' first rows; those that come have none.
    numbers: Vec<Option<i64>>,
}

impl Portion {
    /// The groups of the windows that are wanted. Accumulators must meet each group first in the call that brings its number,
    /// so these are numbered by their first rows, those of open windows before those that come.
    pub(super) fn of(
        aggregation: &Arc<Aggregation>,
        input: &Input<'_>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Portion, PaneError> {
        let count = input.groups.iter().max().map_or(0, |most| most + 1);
        let mut number_of: Vec<Option<usize>> = vec![None; count];
        let (mut windows, mut heads) = (Vec::new(), Vec::new());
        let mut number = |rows: Range<usize>| {
            let (mut chosen, mut numbers) = (Vec::new(), Vec::new());
            for row in rows.clone().filter(|&row| wanted(input.window_of[row])) {
                numbers.push(*number_of[input.groups[row]].get_or_insert_with(|| {
                    windows.push(input.window_of[row]);
                    heads.push(place(row));
                    windows.len() - 1
                }));
                chosen.push(place(row - rows.start));
            }
            (UInt32Array::from(chosen), numbers, windows.len())
        };
        let open = input.carried.num_rows();
        let (open_rows, open_numbers, open_groups) = number(0..open);
        let (new_rows, new_numbers, groups) = number(open..input.groups.len());
        let mut accumulators = Numbered::new(aggregation)?;
        let keys = aggregation.keys.fields().len();
        let states = &input.carried.columns()[keys..input.carried.num_columns() - BOOKKEEPING];
        accumulators.merge(&open_numbers, open_groups, &taken(states, &open_rows))?;
        if !new_numbers.is_empty() {
            let arguments: Vec<Vec<ArrayRef>> =
                input.fed.arguments.iter().map(|of_one| taken(of_one, &new_rows)).collect();
            let filter = |filter: &BooleanArray| {
                take(filter, &new_rows, None).expect("row numbers are in range").as_boolean().clone()
            };
            let filters: Vec<Option<BooleanArray>> =
                input.fed.filters.iter().map(|of_one| of_one.as_ref().map(filter)).collect();
            accumulators.update(&new_numbers, groups, &arguments, &filters)?;
        }
        let number = |&head: &u32| {
            let head = head as usize;
            (head < open).then(|| bookkeeping(input.carried, OWN_NUMBER).value(head))
        };
        let numbers = heads.iter().map(number).collect();
        Ok(Portion { accumulators, keys: taken(input.keys, &UInt32Array::from(heads)), windows, numbers })
    }

    /// The rows of closed windows.
    pub(super) fn give(
        mut self,
        aggregation: &Aggregation,
        window: Counting,
        windows: &[OnItsWay],
    ) -> Result<Option<MadeWindows>, PaneError> {
        if self.windows.is_empty() {
            return Ok(None);
        }
        let results = self.accumulators.take_results(EmitTo::All, &self.keys)?;
        let made = self.windows.iter().map(|&of_group| {
            let of_group = &windows[of_group];
            let reason = of_group.reason.expect("only closed windows are given");
            let end = match reason {
                Reason::Full => of_group.last + 1,
                Reason::Timeout => window.deadline(of_group.first),
            };
            Made { start: of_group.first, end, reason: Some(reason), whole: of_group.whole }
        });
        let columns = self.keys.into_iter().chain(results).collect();
        Ok(Some(MadeWindows::new(made.collect(), &aggregation.closed_schema(), columns)))
    }

    /// The state of windows that stay; none: there are none.
    pub(super) fn keep(
        mut self,
        aggregation: &Aggregation,
        windows: &[OnItsWay],
    ) -> Result<Option<RecordBatch>, PaneError> {
        if self.windows.is_empty() {
            return Ok(None);
        }
        let mut columns = self.keys;
        columns.extend(self.accumulators.take_states(EmitTo::All)?);
        let mut bookkeeping: [Int64Builder; BOOKKEEPING] = std::array::from_fn(|_| Int64Builder::new());
        for (&window, number) in self.windows.iter().zip(self.numbers) {
            let window = &windows[window];
            bookkeeping[OWN_NUMBER].append_option(number.filter(|_| window.is_as_it_was()));
            let count = if window.reason.is_some() { 0 } else { window.count };
            bookkeeping[FIRST].append_value(window.first);
            bookkeeping[LAST].append_value(window.last);
            bookkeeping[COUNT].append_value(i64::try_from(count).expect("it is below n"));
            bookkeeping[WHOLE].append_value(i64::from(window.whole));
        }
        columns.extend(bookkeeping.map(|mut column| -> ArrayRef { Arc::new(column.finish()) }));
        let open = RecordBatch::try_new(open_schema(aggregation), columns);
        Ok(Some(open.expect("accumulators emit what their state fields say")))
    }
}

fn place(row: usize) -> u32 {
    u32::try_from(row).expect("fewer than 2^32 rows at a time")
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Vec<ArrayRef> {
    columns.iter().map(|column| take(column, rows, None).expect("row numbers are in range")).collect()
}
