//! Rows that are set aside, of which a checkpoint is told what has come and what is gone.
//!
//! ```text
//! freeze   set aside        told
//!      0   1 2 3 4 5 6      1 2 3 4 5 6
//!      1     2 3 4 5 6 7    7, and 1 is gone
//!      2     2 3   5 6 8    8, and 4 and 7 are gone
//! ```
//!
//! A row has a number ([`NUMBER`]) for as long as it stays as it is; one that changes gets another. That a row is gone is told
//! by a row that is empty but for its number, below zero. When more was told than is set aside, all is told anew, so at most
//! twice as much is written as has changed; and at every 65th change, so that a start reads few files.
//!
//! Invariant: what is set aside is each row that was told of since all was told anew, without those that were told to be gone,
//! in whatever order they are found ([`Gone`]).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::deferred::Deferred;
use super::held::FrozenPart;

/// The column with a row's number; null in rows that are in panes.
pub const NUMBER: &str = "_number";

/// How far the numbers of two workers are apart.
const NUMBERS_OF_WORKER: i64 = 1 << 48;
/// Freezes that tell what has changed before one tells all: each is a file that the next start reads.
const CHANGES_MAX: usize = 64;

/// The rows that are set aside on one worker.
#[derive(Debug)]
pub(super) struct Aside {
    /// What the pane is called in checkpoints.
    pane: i64,
    rows: Option<RecordBatch>,
    may_have_changed: bool,
    next_number: i64,
    freezes: u64,
    told: Option<Told>,
}

/// What checkpoints have been told.
#[derive(Debug)]
struct Told {
    /// Of the rows that were set aside at the last freeze.
    numbers: Int64Array,
    /// Greater ones have come since.
    next_number: i64,
    /// How often changes were told since all was, and how many rows they were.
    changes: usize,
    changed_rows: usize,
}

impl Aside {
    /// Nothing yet. Numbers are those of this worker.
    pub(super) fn new(pane: i64, worker: usize) -> Aside {
        let worker = i64::try_from(worker).expect("fewer than 2^15 workers");
        let next_number = worker.checked_mul(NUMBERS_OF_WORKER).expect("fewer than 2^15 workers") + 1;
        Aside { pane, rows: None, may_have_changed: false, next_number, freezes: 0, told: None }
    }

    /// The rows, if there are any.
    pub(super) fn rows(&self) -> Option<&RecordBatch> {
        self.rows.as_ref()
    }

    /// Memory held.
    pub(super) fn bytes(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        rows + self.told.as_ref().map_or(0, |told| told.numbers.get_array_memory_size())
    }

    /// Sets other rows aside; what was there before. Rows without a number are new or have changed, and get one.
    pub(super) fn set(&mut self, rows: Option<RecordBatch>) -> Option<RecordBatch> {
        self.may_have_changed = true;
        let rows = rows.filter(|rows| rows.num_rows() > 0).map(|rows| self.numbered(&rows));
        std::mem::replace(&mut self.rows, rows)
    }

    /// Adds rows that a checkpoint held, of whatever worker.
    pub(super) fn restore(&mut self, rows: &RecordBatch) {
        let rows = with_numbers(rows, new_null_array(&DataType::Int64, rows.num_rows()));
        let parts: Vec<RecordBatch> = self.rows.take().into_iter().chain([rows]).collect();
        self.set(Some(concat_batches(&parts[0].schema(), &parts).expect("parts have one layout")));
    }

    fn numbered(&mut self, rows: &RecordBatch) -> RecordBatch {
        let known = numbers(rows);
        if known.null_count() == 0 {
            return rows.clone();
        }
        let mut number = || {
            self.next_number += 1;
            self.next_number - 1
        };
        let numbers: Int64Array = known.iter().map(|known| Some(known.unwrap_or_else(&mut number))).collect();
        with_numbers(rows, Arc::new(numbers))
    }

    /// What changed since the last call, if anything did. Here it is only counted: who needs the rows works them out.
    pub(super) fn freeze(&mut self) -> Option<FrozenPart> {
        if !std::mem::take(&mut self.may_have_changed) {
            return None;
        }
        let number = self.freezes;
        let before = self.told.take();
        let Some(rows) = &self.rows else { return before.map(|_| FrozenPart::whole(self.pane, None, number)) };
        let now = numbers(rows).clone();
        let next_number = self.next_number;
        let (part, changes, changed_rows) = match before {
            None => (FrozenPart::whole(self.pane, Some(rows.clone()), number), 0, 0),
            Some(before) => {
                let come = now.values().iter().filter(|number| **number >= before.next_number).count();
                let stayed = now.len() - come;
                let gone = before.numbers.len().checked_sub(stayed).expect("what has an old number was there");
                if come + gone == 0 {
                    self.told = Some(before);
                    return None;
                }
                let (changes, changed_rows) = (before.changes + 1, before.changed_rows + come + gone);
                if changes > CHANGES_MAX || changed_rows > now.len() {
                    (FrozenPart::whole(self.pane, Some(rows.clone()), number), 0, 0)
                } else {
                    let rows = rows.clone();
                    let work = move || Ok(changes_of(&rows, &before.numbers, before.next_number));
                    let states = Some(Deferred::new(come + gone, 0, work));
                    let part = FrozenPart { pane: self.pane, states, covers: number..number + 1 };
                    (part, changes, changed_rows)
                }
            }
        };
        self.freezes += 1;
        self.told = Some(Told { numbers: now, next_number, changes, changed_rows });
        Some(part)
    }
}

/// The rows whose numbers aren't below `next_number`, and that those of `before` are gone which aren't there.
fn changes_of(rows: &RecordBatch, before: &Int64Array, next_number: i64) -> RecordBatch {
    let now = numbers(rows).values();
    let has_come = BooleanBuffer::collect_bool(now.len(), |row| now[row] >= next_number);
    let come = filtered(rows, has_come);
    let there: HashSet<i64> = now.iter().copied().collect();
    let gone: Int64Array =
        before.values().iter().filter(|number| !there.contains(number)).map(|number| Some(-number)).collect();
    let schema = rows.schema();
    let empty = schema.fields().iter().map(|field| new_null_array(field.data_type(), gone.len())).collect();
    let empty = RecordBatch::try_new(SchemaRef::clone(&schema), empty).expect("every column may be null");
    let gone = with_numbers(&empty, Arc::new(gone));
    concat_batches(&schema, [&come, &gone]).expect("both have the rows' layout")
}

/// The rows' numbers: null where a row wasn't set aside before, or has changed since.
pub(super) fn numbers(rows: &RecordBatch) -> &Int64Array {
    rows.column_by_name(NUMBER).expect("it is in the layout").as_primitive::<Int64Type>()
}

fn with_numbers(rows: &RecordBatch, numbers: ArrayRef) -> RecordBatch {
    let schema = rows.schema();
    let mut columns = rows.columns().to_vec();
    columns[schema.index_of(NUMBER).expect("it is in the layout")] = numbers;
    RecordBatch::try_new(schema, columns).expect("the layout stays")
}

/// Rows in this layout but for their numbers, as programs wrote them that gave none, with an empty column for these.
pub(super) fn with_column(layout: &Schema, rows: &RecordBatch) -> RecordBatch {
    let (Ok(place), None) = (layout.index_of(NUMBER), rows.column_by_name(NUMBER)) else { return rows.clone() };
    let schema = rows.schema();
    let place = place.min(schema.fields().len());
    let mut fields = schema.fields().to_vec();
    fields.insert(place, Arc::new(Field::new(NUMBER, DataType::Int64, true)));
    let mut columns = rows.columns().to_vec();
    columns.insert(place, new_null_array(&DataType::Int64, rows.num_rows()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("one column more of as many rows")
}

/// The rows that are wanted.
pub(super) fn filtered(rows: &RecordBatch, wanted: BooleanBuffer) -> RecordBatch {
    filter_record_batch(rows, &BooleanArray::new(wanted, None)).expect("the mask is as long as the rows")
}

/// Which rows in the files of a checkpoint are gone, by what others of them say. State of windows that know no such rows is left
/// as it is.
#[derive(Debug, Default)]
pub struct Gone {
    /// Leg, and number.
    rows: HashSet<(usize, i64)>,
}

impl Gone {
    /// Takes note of what rows of a leg's state say to be gone.
    pub fn note(&mut self, leg: usize, rows: &RecordBatch) {
        let Some(numbers) = rows.column_by_name(NUMBER) else { return };
        let numbers = numbers.as_primitive::<Int64Type>().iter().flatten();
        self.rows.extend(numbers.filter(|number| number.is_negative()).map(|number| (leg, -number)));
    }

    /// The rows of a leg's state that are there, once all of it was noted; as they came, where all are.
    pub fn without(&self, leg: usize, rows: RecordBatch) -> RecordBatch {
        let Some(numbers) = rows.column_by_name(NUMBER) else { return rows };
        let numbers = numbers.as_primitive::<Int64Type>();
        let is_there = |row| {
            let number = numbers.value(row);
            numbers.is_null(row) || number.is_positive() && !self.rows.contains(&(leg, number))
        };
        let is_there = BooleanBuffer::collect_bool(rows.num_rows(), is_there);
        if is_there.count_set_bits() == rows.num_rows() { rows } else { filtered(&rows, is_there) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PANE: i64 = i64::MIN;

    /// Rows without numbers, or those of other rows that stay.
    fn rows(values: &[(i64, Option<i64>)]) -> RecordBatch {
        let fields = ["v", NUMBER].map(|name| Field::new(name, DataType::Int64, true));
        let columns: [ArrayRef; 2] = [
            Arc::new(values.iter().map(|(value, _)| Some(*value)).collect::<Int64Array>()),
            Arc::new(values.iter().map(|(_, number)| *number).collect::<Int64Array>()),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns.to_vec()).expect("two columns")
    }

    fn values(rows: &RecordBatch) -> Vec<i64> {
        let mut values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        values.sort_unstable();
        values
    }

    /// The rows with these values stay, and others come.
    fn change(aside: &mut Aside, stay: impl Fn(i64) -> bool, come: impl IntoIterator<Item = i64>) {
        let stood = aside.rows().map_or(Vec::new(), |rows| {
            let of = |column: usize| rows.column(column).as_primitive::<Int64Type>().values().to_vec();
            of(0).into_iter().zip(of(1).into_iter().map(Some)).filter(|(value, _)| stay(*value)).collect()
        });
        let all: Vec<(i64, Option<i64>)> =
            stood.into_iter().chain(come.into_iter().map(|value| (value, None))).collect();
        aside.set(Some(rows(&all)));
    }

    /// As the state of a checkpoint is kept; what it holds and what was written.
    #[derive(Default)]
    struct Kept {
        parts: BTreeMap<u64, RecordBatch>,
        written: usize,
    }

    impl Kept {
        fn take(&mut self, part: Option<FrozenPart>) {
            let Some(FrozenPart { states, covers, .. }) = part else { return };
            let Some(states) = states else { return self.parts.clear() };
            self.parts.retain(|first, _| !covers.contains(first));
            let states = states.get().expect("no accumulator");
            self.written += states.num_rows();
            self.parts.insert(covers.start, states);
        }

        fn values(&self) -> Vec<i64> {
            let mut gone = Gone::default();
            self.parts.values().for_each(|part| gone.note(3, part));
            let there = self.parts.values().map(|part| values(&gone.without(3, part.clone())));
            let mut there: Vec<i64> = there.flatten().collect();
            there.sort_unstable();
            there
        }
    }

    #[test]
    fn a_checkpoint_is_told_what_has_come_and_what_is_gone() {
        let (mut aside, mut kept) = (Aside::new(PANE, 2), Kept::default());
        assert!(aside.freeze().is_none());
        change(&mut aside, |_| true, 0..10);
        let part = aside.freeze().expect("rows have come");
        assert_eq!((part.pane, part.covers.clone()), (PANE, 0..1));
        kept.take(Some(part));
        assert_eq!((kept.written, kept.values()), (10, (0..10).collect()));
        change(&mut aside, |value| value != 4, [20]);
        change(&mut aside, |value| value != 5, [21]);
        change(&mut aside, |value| value != 20, []);
        let part = aside.freeze().expect("rows have come and gone");
        assert_eq!(part.covers, 1..2);
        kept.take(Some(part));
        let rows = aside.rows().map_or(0, RecordBatch::get_array_memory_size);
        assert!(aside.bytes() > rows, "the numbers that were told are held too");
        // 21 has come, 4 and 5 are gone; 20 has come and gone in between.
        assert_eq!((kept.written, kept.values()), (13, vec![0, 1, 2, 3, 6, 7, 8, 9, 21]));
        change(&mut aside, |_| true, []);
        assert!(aside.freeze().is_none(), "all of it stays as it was");
        aside.set(None);
        let part = aside.freeze().expect("it is gone");
        assert!(part.states.is_none());
        assert!(aside.freeze().is_none());
    }

    #[test]
    fn more_changes_than_rows_are_told_as_a_whole() {
        let mut aside = Aside::new(PANE, 0);
        change(&mut aside, |_| true, 0..4);
        let mut covers = vec![aside.freeze().expect("four rows have come").covers];
        for values in [vec![0, 1], vec![2], vec![3]] {
            change(&mut aside, |value| !values.contains(&value), values.clone());
            covers.push(aside.freeze().expect("rows have changed").covers);
        }
        // Two that came and two that went are as many as there are; all was told again with the next.
        assert_eq!(covers, [0..1, 1..2, 0..3, 3..4]);
    }

    #[test]
    fn rows_of_the_same_number_on_another_leg_or_in_panes_are_there() {
        let mut gone = Gone::default();
        gone.note(0, &rows(&[(0, Some(-1))]));
        let there = |leg, number| gone.without(leg, rows(&[(5, number)])).num_rows();
        assert_eq!([there(0, Some(1)), there(1, Some(1)), there(0, Some(2)), there(0, None)], [0, 1, 1, 1]);
        assert_eq!(gone.without(1, rows(&[(0, Some(-1))])).num_rows(), 0, "what tells of others is no row");
    }

    #[test]
    fn numbers_of_workers_differ_and_restored_rows_get_new_ones() {
        let mut asides = [Aside::new(PANE, 0), Aside::new(PANE, 1)];
        asides.iter_mut().for_each(|aside| change(aside, |_| true, 0..100));
        let all: HashSet<i64> =
            asides.iter().flat_map(|aside| numbers(aside.rows().expect("rows")).values().to_vec()).collect();
        assert_eq!(all.len(), 200);
        let [mut one, other] = asides;
        one.restore(other.rows().expect("rows"));
        let rows = one.rows().expect("rows");
        let own: HashSet<i64> = numbers(rows).values().iter().copied().collect();
        assert_eq!((own.len(), rows.num_rows()), (200, 200));
        assert!(own.iter().all(|number| *number < NUMBERS_OF_WORKER));
    }

    #[test]
    fn a_percent_a_freeze_writes_four_percent_and_few_changes_no_more_than_sixty_four_parts() {
        let (mut aside, mut kept) = (Aside::new(PANE, 0), Kept::default());
        change(&mut aside, |_| true, 0..10_000);
        kept.take(aside.freeze());
        kept.written = 0;
        for freeze in 0..200 {
            // One in a hundred changes, all of them others.
            let changes = |value: i64| value % 100 == freeze % 100;
            change(&mut aside, |value| !changes(value), (0..10_000).filter(|&value| changes(value)));
            kept.take(aside.freeze());
            assert_eq!(kept.values(), (0..10_000).collect::<Vec<_>>());
        }
        assert!(kept.written <= 200 * 400, "{}", kept.written);
        let parts = (0..200).map(|_| {
            change(&mut aside, |value| value != 7, [7]);
            kept.take(aside.freeze());
            kept.parts.len()
        });
        assert_eq!(parts.max(), Some(1 + CHANGES_MAX));
    }
}
