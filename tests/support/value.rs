//! Values as tests compare them: from messages, from the model and from tables. Only std, as the model uses it too.

use std::cmp::Ordering;

/// A value of a column.
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// BOOLEAN
    Boolean(bool),
    /// INT, BIGINT, and DATE as days
    Integer(i64),
    /// TIMESTAMP, microseconds UTC
    Timestamp(i64),
    /// FLOAT, DOUBLE; equal when the bits are
    Double(f64),
    /// TEXT; DECIMAL, UUID and arrays as text
    Text(String),
    /// BYTES
    Bytes(Vec<u8>),
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Boolean(_) => 1,
            Value::Integer(_) => 2,
            Value::Timestamp(_) => 3,
            Value::Double(_) => 4,
            Value::Text(_) => 5,
            Value::Bytes(_) => 6,
        }
    }
}

impl Ord for Value {
    /// A total order of all values, doubles by IEEE's totalOrder; between types by type, NULL first.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
            (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
            (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
            (Value::Double(left), Value::Double(right)) => left.total_cmp(right),
            (Value::Text(left), Value::Text(right)) => left.cmp(right),
            (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Double(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Boolean(truth)
    }
}
