//! The rows of a result, and how they differ from those that a table holds.

use std::collections::BTreeMap;

use super::aggregate::Fields;
use super::condition::field;
use super::judge::Judged;
use super::{Query, Stream, Value};

/// One row: `window_start`, `window_end`, `window_reason` where windows have one, keys, aggregates.
pub type Row = Vec<Cell>;

/// A value of a result and how far from it a right answer may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The value.
    pub value: Value,
    /// What else is right.
    slack: Slack,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Slack {
    /// Nothing.
    None,
    /// Doubles that so many neighbours lead to.
    Steps(u64),
    /// Doubles within that share of its size.
    Share(f64),
    /// The number below.
    OneLess,
}

impl Cell {
    /// Nothing but this value.
    pub fn exactly(value: Value) -> Cell {
        Cell { value, slack: Slack::None }
    }

    /// This double, give or take `steps` roundings.
    pub fn about(value: f64, steps: u64) -> Cell {
        Cell { value: Value::Double(value), slack: Slack::Steps(steps) }
    }

    /// This double, give or take a share of its size.
    pub fn within(value: f64, share: f64) -> Cell {
        Cell { value: Value::Double(value), slack: Slack::Share(share) }
    }

    /// This whole number or the one below.
    pub fn at_most_one_less(value: i64) -> Cell {
        Cell { value: Value::Integer(value), slack: Slack::OneLess }
    }

    /// Whether `actual` is a right answer.
    pub fn allows(&self, actual: &Value) -> bool {
        match (&self.value, actual, self.slack) {
            (Value::Double(expected), Value::Double(actual), Slack::Steps(steps)) => {
                place(*expected).abs_diff(place(*actual)) <= steps
            }
            (Value::Double(expected), Value::Double(actual), Slack::Share(share)) => {
                (expected - actual).abs() <= expected.abs() * share
            }
            (Value::Integer(expected), Value::Integer(actual), Slack::OneLess) => {
                (expected - 1..=*expected).contains(actual)
            }
            (expected, actual, _) => expected == actual,
        }
    }
}

/// Numbers the doubles in their order, so that neighbours differ by one and both zeros are 0.
fn place(value: f64) -> i64 {
    let magnitude = (value.to_bits() & !(1 << 63)) as i64;
    if value.is_sign_negative() { -magnitude } else { magnitude }
}

/// Start, end, reason and ordinal of a window, and the keys of a group in it.
type Group = ((i64, i64), Option<&'static str>, usize, Vec<Value>);

/// The rows of all windows whose end is at or before `closed`, sorted by window and keys.
pub fn results(judged: &[Judged], stream: &Stream, query: &Query, closed: i64) -> Vec<Row> {
    let mut groups: BTreeMap<Group, Vec<&Judged>> = BTreeMap::new();
    for record in judged {
        for window in record.windows.iter().filter(|(_, end)| *end <= closed) {
            let keys = query.keys.iter().map(|key| grouped(&record.fields, key)).collect();
            groups.entry((*window, record.reason, record.ordinal, keys)).or_default().push(record);
        }
    }
    let mut rows = Vec::new();
    for (((start, end), reason, _, keys), mut records) in groups {
        // Canonical order; one stream, so its name decides nothing.
        records.sort_by_key(|record| (field(&record.fields, &stream.event_time), record.partition, record.offset));
        let fields: Vec<&Fields> = records.iter().map(|record| &record.fields).collect();
        let mut row = vec![Cell::exactly(Value::Timestamp(start)), Cell::exactly(Value::Timestamp(end))];
        row.extend(reason.map(|reason| Cell::exactly(reason.into())));
        row.extend(keys.into_iter().map(Cell::exactly));
        row.extend(query.aggregates.iter().map(|aggregate| aggregate.of(&fields)));
        rows.push(row);
    }
    rows
}

/// A column as a group key: both zeros are one.
pub fn grouped(fields: &Fields, column: &str) -> Value {
    match field(fields, column) {
        Value::Double(double) => Value::Double(if double == 0.0 { 0.0 } else { double }),
        other => other,
    }
}

/// How the rows of a table differ from the expected ones, a line each; empty when they don't. `keys` is how many columns
/// identify a row: window columns and keys. Count windows that begin and end at once have several rows that look the same.
pub fn differences(expected: &[Row], actual: &[Vec<Value>], keys: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: BTreeMap<Vec<Value>, Vec<&Vec<Value>>> = BTreeMap::new();
    for row in actual {
        rest.entry(row[..keys].to_vec()).or_default().push(row);
    }
    let mut wanted: BTreeMap<Vec<Value>, Vec<&Row>> = BTreeMap::new();
    for row in expected {
        let key = row[..keys].iter().map(|cell| cell.value.clone()).collect();
        wanted.entry(key).or_default().push(row);
    }
    for (key, rows) in wanted {
        let mut found = rest.remove(&key).unwrap_or_default();
        match found.len() {
            0 => lines.push(format!("missing: {key:?}")),
            times if times == rows.len() => {
                // What fits one of them exactly may fit another nearly, so the exact ones go first.
                let is_exact = |row: &Row, one: &[Value]| row.iter().map(|cell| &cell.value).eq(one);
                let mut others = Vec::new();
                for row in rows {
                    match found.iter().position(|one| is_exact(row, one)) {
                        Some(place) => {
                            found.remove(place);
                        }
                        None => others.push(row),
                    }
                }
                for row in others {
                    let right = found.iter().position(|one| changes(row, one).is_empty());
                    let one = found.remove(right.unwrap_or(0));
                    lines.extend(changes(row, one).into_iter().map(|change| format!("changed: {key:?}: {change}")));
                }
            }
            times => lines.push(format!("{times} times: {key:?}")),
        }
    }
    lines.extend(rest.keys().map(|key| format!("extra: {key:?}")));
    lines
}

fn changes(row: &Row, one: &[Value]) -> Vec<String> {
    let mut changes = Vec::new();
    for (column, (cell, value)) in row.iter().zip(one).enumerate() {
        if !cell.allows(value) {
            changes.push(format!("column {column} is {value:?}, not {:?}", cell.value));
        }
    }
    if row.len() != one.len() {
        changes.push(format!("{} columns, not {}", one.len(), row.len()));
    }
    changes
}
