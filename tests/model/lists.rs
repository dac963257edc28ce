//! Aggregates of values in their order, and lists of them.

use std::cmp::Ordering;

use super::Value;
use super::aggregate::Fields;
use super::condition::field;
use super::results::Cell;

/// ORDER BY inside of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// What it goes by.
    pub column: String,
    /// DESC; nulls then come first, else last.
    pub descending: bool,
}

impl By {
    /// From the least on.
    pub fn ascending(column: &str) -> By {
        By { column: column.to_owned(), descending: false }
    }

    /// From the greatest on.
    pub fn descending(column: &str) -> By {
        By { column: column.to_owned(), descending: true }
    }
}

/// Which values of a group are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `first_value(c)`
    First,
    /// `last_value(c)`
    Last,
    /// `nth_value(c, n)`, from 1; below 0 from the end
    Nth(i64),
    /// `first_value(c) IGNORE NULLS`
    FirstNotNull,
    /// `array_agg(c)`
    All,
    /// `array_agg(DISTINCT c)`
    Distinct,
    /// `string_agg(c, '|')`
    Joined,
    /// `string_agg(DISTINCT c, '|')`
    JoinedDistinct,
}

/// `which` values of `column`, the rows by ORDER BY; ties, and everything without it, in the canonical order that they come in.
pub(super) fn listed(which: Which, column: &str, order: Option<&By>, mut rows: Vec<&Fields>) -> Cell {
    if let Some(By { column, descending }) = order {
        rows.sort_by(|left, right| {
            let order = nulls_last(&field(left, column), &field(right, column));
            if *descending { order.reverse() } else { order }
        });
    }
    let values: Vec<Value> = rows.iter().map(|row| field(row, column)).collect();
    let not_null = || values.iter().filter(|value| !value.is_null()).cloned().collect::<Vec<_>>();
    let at = |place: Option<usize>| place.and_then(|place| values.get(place).cloned()).unwrap_or(Value::Null);
    Cell::exactly(match which {
        Which::First => at(Some(0)),
        Which::Last => at(values.len().checked_sub(1)),
        Which::Nth(n) if n > 0 => at(usize::try_from(n - 1).ok()),
        Which::Nth(n) => at(usize::try_from(-n).ok().and_then(|back| values.len().checked_sub(back))),
        Which::FirstNotNull => not_null().into_iter().next().unwrap_or(Value::Null),
        Which::All => list(&values),
        Which::Distinct => list(&once(values)),
        Which::Joined => joined(&not_null()),
        Which::JoinedDistinct => joined(&once(not_null())),
    })
}

fn nulls_last(left: &Value, right: &Value) -> Ordering {
    left.is_null().cmp(&right.is_null()).then_with(|| left.cmp(right))
}

/// Each value where it comes first.
fn once(values: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// An array as tests show it; NULL for none.
fn list(values: &[Value]) -> Value {
    let item = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        other => panic!("no generated array holds {other:?}"),
    };
    let items: Vec<String> = values.iter().map(item).collect();
    if items.is_empty() { Value::Null } else { Value::Text(format!("[{}]", items.join(", "))) }
}

fn joined(values: &[Value]) -> Value {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    };
    let texts: Vec<String> = values.iter().map(text).collect();
    if texts.is_empty() { Value::Null } else { Value::Text(texts.join("|")) }
}
