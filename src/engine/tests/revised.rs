//! Windows that late records revise, against a model of what shows of them behind each epoch.

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::model::mark_and_name;
use super::run::{Happened, run_with};
use super::*;
use crate::engine::WindowRows;
use crate::windows::REVISION_INTERVAL;

/// What a table shows: count, sum and last value of each group.
type Table = BTreeMap<Group, (i64, i64, i64)>;

/// A window as the model knows it.
struct Known<'a> {
    records: Vec<&'a Record>,
    /// How many of them show, and since which watermark.
    shown: Option<(usize, i64)>,
}

/// The rules, read plainly.
struct Model<'a> {
    case: &'a Case,
    windows: BTreeMap<(i64, i64), Known<'a>>,
    closed_below: i64,
    /// Windows that end at or before it count as published at it: the engine was started anew then.
    restarted_at: i64,
}

impl<'a> Model<'a> {
    fn new(case: &'a Case) -> Model<'a> {
        Model { case, windows: BTreeMap::new(), closed_below: i64::MIN, restarted_at: i64::MIN }
    }

    /// Takes the records of a step, and looks at its watermark.
    fn step(&mut self, step: &'a Step) -> Table {
        let case = self.case;
        let all = case.cut.windows();
        let watermark = step.watermark.0;
        for record in step.batches.iter().flatten() {
            for &(start, end) in all.iter().filter(|(start, end)| *start <= record.time && record.time < *end) {
                let is_late = record.seen.is_some_and(|seen| end + case.allowed <= seen - case.bound);
                let is_closed = self.closed_below != i64::MIN && end.saturating_add(case.allowed) <= self.closed_below;
                let (mark, _) = mark_and_name(case.cut, (start, end));
                if !is_late && !is_closed && case.publish.contains(mark) {
                    let shown = (end <= self.restarted_at).then_some((0, self.restarted_at));
                    let known =
                        self.windows.entry((start, end)).or_insert_with(|| Known { records: Vec::new(), shown });
                    known.records.push(record);
                }
            }
        }
        self.closed_below = watermark;
        for (&(_, end), known) in self.windows.iter_mut().filter(|((_, end), _)| *end <= watermark) {
            let is_due = match known.shown {
                None => true,
                Some((count, _)) if count == known.records.len() => false,
                Some((_, at)) => at + REVISION_INTERVAL.0 <= watermark || end.saturating_add(case.allowed) <= watermark,
            };
            if is_due {
                known.shown = Some((known.records.len(), watermark));
            }
        }
        self.table()
    }

    /// Windows that may still change are taken for changed at the checkpoint's watermark.
    fn restart(&mut self) {
        self.restarted_at = self.closed_below;
        for known in self.windows.values_mut() {
            known.shown = known.shown.map(|(count, _)| (count, self.closed_below));
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        for (&(start, end), known) in &self.windows {
            let Some((count, _)) = known.shown else { continue };
            let mut shown = known.records[..count].to_vec();
            shown.sort_by_key(|record| (record.time, record.partition, record.offset));
            for record in shown {
                let row = table.entry((start, end, record.key)).or_default();
                *row = (row.0 + 1, row.1 + record.number, record.number);
            }
        }
        table
    }
}

/// Replaces a window in a table, as a checkpoint does.
fn publish(table: &mut Table, window: &WindowRows) {
    let rows = groups(&window.rows);
    let (&(start, end, _), _) = rows.first_key_value().expect("a window has a row");
    let before = table.len();
    table.retain(|&(other_start, other_end, _), _| (other_start, other_end) != (start, end));
    assert!(window.again || table.len() == before, "[{start}, {end}) is there and comes as if it were new");
    table.extend(rows);
}

fn groups(rows: &RecordBatch) -> Table {
    let instant = |column: usize, row| rows.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
    let number = |column: usize, row| rows.column(column).as_primitive::<Int64Type>().value(row);
    let keys = rows.column(2).as_primitive::<Int32Type>();
    let row = |row: usize| {
        let key = u8::try_from(keys.value(row)).expect("a small key");
        ((instant(0, row), instant(1, row), key), (number(3, row), number(4, row), number(5, row)))
    };
    (0..rows.num_rows()).map(row).collect()
}

#[test]
fn behind_each_epoch_the_table_shows_what_is_right_for_what_has_come() {
    for (index, call) in calls().iter().enumerate() {
        for round in 0..8 {
            let seed = (index * 1_000 + round) as u64;
            let mut random = StdRng::seed_from_u64(seed);
            let case = case(call, &mut random, round % 2 == 0);
            let allowed = [1, 15, 200][random.random_range(0..3)] * call.2;
            let case = Case { plan: plan(&call.0, case.bound, allowed), allowed, ..case };
            let mut model = Model::new(&case);
            let mut table = Table::new();
            let options = Options { workers: random.random_range(1..4), restarts: 0.3, frozen: 0.4 };
            run_with(&case, &options, &mut random, &mut |number, happened| match happened {
                Happened::Restart => model.restart(),
                Happened::Output(output) => {
                    for insert in &output.inserts {
                        assert!(insert.results.is_empty(), "all windows may come again");
                        insert.windows.iter().for_each(|window| publish(&mut table, window));
                    }
                    let expected = model.step(&case.steps[number]);
                    let what = format!("{} with seed {seed}, step {number}", call.0);
                    let missing: Vec<_> = expected.iter().filter(|(key, row)| table.get(*key) != Some(*row)).collect();
                    let extra: Vec<_> = table.keys().filter(|key| !expected.contains_key(*key)).collect();
                    assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:?}, extra {extra:?}");
                }
            });
        }
    }
}
