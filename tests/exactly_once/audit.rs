//! Every row of a case, held against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Arriving, Watched};
use crate::model::{self, Cell, Judged, Query, Row, Value, Verdict};
use crate::support::python::{Table, sound_history};

/// Differing rows that a failure shows.
const SHOWN_MAX: usize = 10;

impl Arriving {
    /// Every row of the result, every late record and every reject, each exactly once, when the work has ended.
    pub fn audit_result(&self) {
        let run = Watched::run(self);
        let [result, late, rejects] = self.ended(&run, ["result", "result_late", self.rejects]);
        self.check_result(&result, &late);
        let rejected = self.positions(Verdict::is_rejected);
        assert_eq!(sorted(rejects.positions()), rejected);
        let accepted = self.positions(Verdict::is_accepted).len();
        let counted = ["kappa.accepted", "kappa.late", "kappa.rejected"].map(|key| result.newest(key));
        let expected = [accepted, late.positions().len(), rejected.len()];
        assert_eq!(counted, expected.map(|count| Some(i64::try_from(count).expect("is small"))));
        assert_eq!(
            expected.iter().sum::<usize>() as u64,
            self.message_count(),
            "accepted + late + rejected = produced"
        );
        run.audit_state();
    }

    /// Every record that the topic holds, exactly once: in history with all its values, or in the rejects.
    pub fn audit_history(&self) {
        let archive = Watched::archive(self);
        let [history, rejects] = self.ended(&archive, ["history", self.rejects]);
        let (unreadable, readable): (Vec<Judged>, Vec<Judged>) =
            self.judged().into_iter().partition(|record| is_unreadable(record.verdict));
        assert_eq!(sorted(rejects.positions()), positions(&unreadable, |_| true));
        assert_eq!((unreadable.len() + readable.len()) as u64, self.message_count());
        let mut expected: Vec<Vec<Value>> = readable.iter().map(|record| self.history_row(&history, record)).collect();
        expected.sort();
        let found = history.rows();
        assert_eq!(found.len(), expected.len(), "rows of history");
        let differing: Vec<_> = expected.iter().zip(&found).filter(|(expected, found)| expected != found).collect();
        assert!(differing.is_empty(), "{} rows: {:#?}", differing.len(), &differing[..SHOWN_MAX.min(differing.len())]);
        archive.audit_state();
    }

    /// The result of a backfill of all windows.
    pub fn audit_backfill(&self) {
        let mut tables = sound_history(&self.project, &["result", "result_late"].map(|table| self.table(table)));
        let (late, result) = (tables.pop().flatten(), tables.pop().flatten());
        self.check_result(&result.expect("a result"), &late.expect("late records"));
    }

    /// What a run or an archive has published by now, wherever it was ended: each table holds no less and no more than it says
    /// of itself.
    pub fn audit_published(&self, command: &Watched<'_>) {
        let names: Vec<String> = command.tables().iter().map(|name| self.table(name)).collect();
        let tables = sound_history(&self.project, &names);
        for ((&name, full_name), table) in command.tables().iter().zip(&names).zip(tables) {
            // Ended before it was made.
            let Some(table) = table else { continue };
            command.audit_offsets(&table, full_name, false);
            let taken = command.taken(&table);
            let judged = self.judged_up_to(&taken, &self.case.query);
            if name == "result" {
                let found = table.rows();
                let expected = self.published(&taken, watermark(&table), &found);
                assert_eq!(model::differences(&expected, &found, self.case.key_columns()), Vec::<String>::new());
                let counted = ["kappa.accepted", "kappa.late", "kappa.rejected"].map(|key| table.newest(key));
                let produced = taken.values().sum::<i64>();
                assert_eq!(counted.into_iter().flatten().sum::<i64>(), produced, "accepted + late + rejected");
                continue;
            }
            let wanted: fn(&Judged) -> bool = match name {
                "history" => |record| !is_unreadable(record.verdict),
                "history_rejects" => |record| is_unreadable(record.verdict),
                "result_rejects" => |record| record.verdict.is_rejected(),
                _ => Judged::is_in_late_table,
            };
            let expected = judged.iter().filter(|record| wanted(record));
            let expected: Vec<(i32, i64)> = expected.map(|record| (record.partition, record.offset)).collect();
            assert_eq!(sorted(table.positions()), expected, "{name} at {taken:?}");
        }
    }

    /// Asserts that no data file was written since `begun` that no snapshot knows: only a process that was killed leaves such,
    /// for maintenance. Answers how many there are in all.
    pub fn audit_files(&self, begun: &Path, tables: &[&str]) -> usize {
        let names: Vec<String> = tables.iter().map(|name| self.table(name)).collect();
        let added = sound_history(&self.project, &names).into_iter().flatten().flat_map(|table| table.added);
        let local = |path: String| PathBuf::from(path.strip_prefix("file://").expect("a local file"));
        let known: BTreeSet<PathBuf> = added.map(local).collect();
        let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).expect("it is there");
        let mut unknown = parquet_files(&self.project.path().join(".kappa/warehouse"));
        unknown.retain(|path| !known.contains(path));
        let new: Vec<&PathBuf> = unknown.iter().filter(|path| modified(path) > modified(begun)).collect();
        assert!(new.is_empty(), "no snapshot knows {new:#?}");
        unknown.len()
    }

    /// Tables of a command that has ended, sound, with the newest checkpoint in all of them.
    fn ended<const N: usize>(&self, command: &Watched<'_>, names: [&str; N]) -> [Table; N] {
        let names = names.map(|table| self.table(table));
        let mut tables = sound_history(&self.project, &names).into_iter();
        names.each_ref().map(|name| {
            let table = tables.next().expect("as many as names");
            let table = table.unwrap_or_else(|| panic!("there is no table {name}"));
            command.audit_offsets(&table, name, true);
            table
        })
    }

    fn check_result(&self, result: &Table, late: &Table) {
        let judged = self.judged();
        let expected = model::results(&judged, &self.case.stream, &self.case.query, i64::MAX);
        assert_eq!(model::differences(&expected, &result.rows(), self.case.key_columns()), Vec::<String>::new());
        let is_late = judged.into_iter().filter(Judged::is_in_late_table).collect::<Vec<_>>();
        assert_eq!(sorted(late.positions()), positions(&is_late, |_| true));
    }

    fn judged(&self) -> Vec<Judged> {
        model::judge(&self.case.log(), &self.case.stream, &self.case.query)
    }

    /// The rows of a result that has taken the records below these offsets, where `found` is what it holds.
    ///
    /// A window that has been shown, and may still be revised, shows an accepted late record within a minute: until then it
    /// may be as it was at any time since it was first shown.
    fn published(&self, taken: &BTreeMap<i32, i64>, watermark: i64, found: &[Vec<Value>]) -> Vec<Row> {
        let closed = self.case.published_to(watermark);
        let without_revisions = Query { allowed: 0, ..self.case.query.clone() };
        let [now, first] = [&self.case.query, &without_revisions]
            .map(|query| model::results(&self.judged_up_to(taken, query), &self.case.stream, query, closed));
        let keys = self.case.key_columns();
        let key = |row: &Row| -> Vec<Value> { row[..keys].iter().map(|cell| cell.value.clone()).collect() };
        let first: BTreeMap<Vec<Value>, Row> = first.into_iter().map(|row| (key(&row), row)).collect();
        let found: BTreeMap<&[Value], &Vec<Value>> = found.iter().map(|row| (&row[..keys], row)).collect();
        let settled = Value::Timestamp(watermark.saturating_sub(self.case.query.allowed));
        let shown = |now: Row| {
            let key = key(&now);
            // Its end.
            if key[1] <= settled {
                return Some(now);
            }
            let (first, found) = (first.get(&key), found.get(&key[..]));
            // Records only come to a group, so that their number, which is the first aggregate, tells which it has.
            match (first, found) {
                (None, None) => None,
                (Some(first), Some(found)) if found[keys] == first[keys].value => Some(first.clone()),
                (first, Some(found))
                    if first.is_none_or(|first| first[keys].value < found[keys]) && found[keys] < now[keys].value =>
                {
                    Some(found.iter().cloned().map(Cell::exactly).collect())
                }
                _ => Some(now),
            }
        };
        now.into_iter().filter_map(shown).collect()
    }

    /// What a query decides about the records below these offsets.
    fn judged_up_to(&self, offsets: &BTreeMap<i32, i64>, query: &Query) -> Vec<Judged> {
        let mut log = self.case.log();
        for (partition, records) in &mut log {
            records.retain(|record| offsets.get(partition).is_some_and(|&end| record.offset < end));
        }
        model::judge(&log, &self.case.stream, query)
    }

    fn positions(&self, wanted: impl Fn(Verdict) -> bool) -> Vec<(i32, i64)> {
        positions(&self.judged(), wanted)
    }

    /// A record as history keeps it.
    fn history_row(&self, history: &Table, record: &Judged) -> Vec<Value> {
        let partition = usize::try_from(record.partition).expect("isn't negative");
        let message = &self.case.partitions[partition][usize::try_from(record.offset).expect("isn't negative")];
        let value = |name: &str| match name {
            "_partition" => i64::from(record.partition).into(),
            "_offset" => record.offset.into(),
            "_timestamp" => Value::Timestamp(message.timestamp_ms * 1_000),
            "_seen" => record.seen.map_or(Value::Null, Value::Timestamp),
            name => record.fields.get(name).cloned().unwrap_or(Value::Null),
        };
        history.columns.iter().map(|column| value(&column.name)).collect()
    }
}

/// The watermark of the newest checkpoint that changed a result.
fn watermark(result: &Table) -> i64 {
    let text = result.snapshots.iter().rev().find_map(|snapshot| snapshot.summary.get("kappa.watermark"));
    match text.map(String::as_str) {
        None | Some("the beginning") => i64::MIN,
        Some("the end") => i64::MAX,
        Some(text) => chrono::DateTime::parse_from_rfc3339(text).expect("an instant").timestamp_micros(),
    }
}

/// Whether history doesn't have it. What comes from the future it has: another job may take it.
fn is_unreadable(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Broken | Verdict::Null)
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder is readable");
    let paths = entries.map(|entry| entry.expect("folder is readable").path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| parquet_files(folder));
    files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")).chain(below).collect()
}

fn positions(judged: &[Judged], wanted: impl Fn(Verdict) -> bool) -> Vec<(i32, i64)> {
    let chosen = judged.iter().filter(|record| wanted(record.verdict));
    chosen.map(|record| (record.partition, record.offset)).collect()
}

fn sorted(mut positions: Vec<(i32, i64)>) -> Vec<(i32, i64)> {
    positions.sort_unstable();
    positions
}
