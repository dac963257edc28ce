//! Conditions of WHERE and FILTER, with SQL's three truth values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Value;

/// A condition over the columns of a record.
#[derive(Clone, Debug)]
pub enum Condition {
    /// `column IS NULL`
    IsNull(String),
    /// `column <comparison> value`
    Compare(String, Comparison, Value),
    /// `a AND b`
    And(Box<Condition>, Box<Condition>),
    /// `a OR b`
    Or(Box<Condition>, Box<Condition>),
    /// `NOT a`
    Not(Box<Condition>),
    /// `column * factor > 0`, which fails where that doesn't fit a BIGINT; stands alone, as failing isn't unknown
    Product(String, i64),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `>=`
    AtLeast,
}

impl Condition {
    /// True, false, or unknown.
    pub fn holds(&self, fields: &BTreeMap<String, Value>) -> Option<bool> {
        match self {
            Condition::IsNull(column) => Some(field(fields, column).is_null()),
            Condition::Compare(column, comparison, value) => {
                let order = compared(&field(fields, column), value)?;
                Some(match comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::AtLeast => order != Ordering::Less,
                })
            }
            Condition::And(left, right) => match (left.holds(fields), right.holds(fields)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Condition::Or(left, right) => match (left.holds(fields), right.holds(fields)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Condition::Not(inner) => inner.holds(fields).map(|truth| !truth),
            Condition::Product(column, factor) => match field(fields, column) {
                Value::Integer(number) => number.checked_mul(*factor).map(|product| product > 0),
                _ => None,
            },
        }
    }
}

/// A field of a record; NULL when it isn't there.
pub fn field(fields: &BTreeMap<String, Value>, column: &str) -> Value {
    fields.get(column).cloned().unwrap_or(Value::Null)
}

/// Unknown where one is null. Zeros are equal whatever their sign, as in SQL.
fn compared(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        _ => Some(left.cmp(right)),
    }
}
