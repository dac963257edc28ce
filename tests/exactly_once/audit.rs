//! Every row of a case, held against the model.

use super::Arriving;
use crate::model::{self, Judged, Value, Verdict};
use crate::support::python::{Table, sound_tables};

/// Differing rows that a failure shows.
const SHOWN_MAX: usize = 10;

impl Arriving {
    /// Every row of the result, every late record and every reject, each exactly once.
    pub fn audit_result(&self) {
        let names = ["result", "result_late", self.rejects].map(|table| self.table(table));
        let [result, late, rejects] = sound_tables(&self.project, names.each_ref().map(String::as_str));
        let judged = self.judged();
        let expected = model::results(&judged, &self.case.stream, &self.case.query, i64::MAX);
        assert_eq!(model::differences(&expected, &result.rows(), self.case.key_columns()), Vec::<String>::new());
        let is_late = judged.iter().filter(|record| record.is_in_late_table()).cloned().collect::<Vec<_>>();
        assert_eq!(sorted(late.positions()), positions(&is_late, |_| true));
        assert_eq!(sorted(rejects.positions()), positions(&judged, Verdict::is_rejected));
        let accepted = positions(&judged, Verdict::is_accepted).len();
        assert_eq!(result.newest("kappa.accepted"), Some(i64::try_from(accepted).expect("is small")));
    }

    /// Every record that the topic holds, exactly once: in history with all its values, or in the rejects.
    pub fn audit_history(&self) {
        let names = ["history", self.rejects].map(|table| self.table(table));
        let [history, rejects] = sound_tables(&self.project, names.each_ref().map(String::as_str));
        let (unreadable, readable): (Vec<Judged>, Vec<Judged>) =
            self.judged().into_iter().partition(|record| matches!(record.verdict, Verdict::Broken | Verdict::Null));
        assert_eq!(sorted(rejects.positions()), positions(&unreadable, |_| true));
        let mut expected: Vec<Vec<Value>> = readable.iter().map(|record| self.history_row(&history, record)).collect();
        expected.sort();
        let found = history.rows();
        assert_eq!(found.len(), expected.len(), "rows of history");
        let differing: Vec<_> = expected.iter().zip(&found).filter(|(expected, found)| expected != found).collect();
        assert!(differing.is_empty(), "{} rows: {:#?}", differing.len(), &differing[..SHOWN_MAX.min(differing.len())]);
    }

    fn judged(&self) -> Vec<Judged> {
        model::judge(&self.case.log(), &self.case.stream, &self.case.query)
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

fn positions(judged: &[Judged], wanted: impl Fn(Verdict) -> bool) -> Vec<(i32, i64)> {
    let chosen = judged.iter().filter(|record| wanted(record.verdict));
    chosen.map(|record| (record.partition, record.offset)).collect()
}

fn sorted(mut positions: Vec<(i32, i64)>) -> Vec<(i32, i64)> {
    positions.sort_unstable();
    positions
}
