//! Aggregates over the rows of one group, which come in canonical order.

use std::collections::{BTreeMap, BTreeSet};

use super::Value;
use super::condition::{Condition, field};
use super::exact::{Whole, rounded};
use super::lists::{By, Which, listed};
use super::pairs::{Pairing, paired};
use super::quantiles::{Quantile, quantile};
use super::results::Cell;

/// One aggregate of a query.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which function.
    pub function: Function,
    /// FILTER (WHERE …).
    pub filter: Option<Condition>,
}

/// An aggregate function and the column that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// `count(*)`
    CountAll,
    /// `count(c)`
    Count(String),
    /// `count(DISTINCT c)`
    CountDistinct(String),
    /// `sum(c)`, of integers or doubles
    Sum(String),
    /// `avg(c)`, of integers or doubles
    Average(String),
    /// `min(c)`
    Minimum(String),
    /// `max(c)`
    Maximum(String),
    /// `bool_and(c)`
    All(String),
    /// `bool_or(c)`
    Any(String),
    /// `sum(DISTINCT c)`, of integers
    SumDistinct(String),
    /// `avg(DISTINCT c)`, of integers
    AverageDistinct(String),
    /// `bit_and(c)`
    BitAnd(String),
    /// `bit_or(c)`
    BitOr(String),
    /// `bit_xor(c)`
    BitXor(String),
    /// `approx_distinct(c)`
    ApproxDistinct(String),
    /// Values in an order.
    Listed(Which, String, Option<By>),
    /// A place among all values.
    Quantile(Quantile, String),
    /// Of y and x.
    Paired(Pairing, String, String),
    /// `var_samp(c)`, of doubles
    Variance(String),
    /// `stddev_pop(c)`, of doubles
    Deviation(String),
}

/// A row of a group: the fields of its record.
pub type Fields = BTreeMap<String, Value>;

impl Aggregate {
    /// The result over a group's rows in canonical order.
    pub fn of(&self, rows: &[&Fields]) -> Cell {
        let passes = |row: &&&Fields| self.filter.as_ref().is_none_or(|filter| filter.holds(row) == Some(true));
        let rows: Vec<&Fields> = rows.iter().filter(passes).copied().collect();
        let values = |column: &String| -> Vec<Value> {
            rows.iter().map(|row| field(row, column)).filter(|value| !value.is_null()).collect()
        };
        match &self.function {
            Function::CountAll => Cell::exactly(count(rows.len())),
            Function::Count(column) => Cell::exactly(count(values(column).len())),
            Function::CountDistinct(column) => Cell::exactly(count(distinct(values(column)).len())),
            Function::Sum(column) => sum(&values(column)),
            Function::Average(column) => average(&values(column)),
            Function::Minimum(column) => Cell::exactly(values(column).into_iter().min().unwrap_or(Value::Null)),
            Function::Maximum(column) => Cell::exactly(values(column).into_iter().max().unwrap_or(Value::Null)),
            Function::All(column) => Cell::exactly(truth(&values(column), |truths| truths.iter().all(|truth| *truth))),
            Function::Any(column) => Cell::exactly(truth(&values(column), |truths| truths.iter().any(|truth| *truth))),
            Function::SumDistinct(column) => sum(&distinct(values(column))),
            Function::AverageDistinct(column) => average(&distinct(values(column))),
            Function::BitAnd(column) => bits(&values(column), |left, right| left & right),
            Function::BitOr(column) => bits(&values(column), |left, right| left | right),
            Function::BitXor(column) => bits(&values(column), |left, right| left ^ right),
            // Two values are taken for one once in 2^26.
            Function::ApproxDistinct(column) => {
                Cell::at_most_one_less(i64::try_from(distinct(values(column)).len()).expect("fits in memory"))
            }
            Function::Listed(which, column, order) => listed(*which, column, order.as_ref(), rows),
            Function::Quantile(place, column) => quantile(*place, values(column)),
            Function::Paired(pairing, y, x) => {
                let pairs = rows.iter().map(|row| (field(row, y), field(row, x)));
                let pairs = pairs.filter(|(y, x)| !y.is_null() && !x.is_null());
                paired(*pairing, &pairs.map(|(y, x)| (double(&y), double(&x))).collect::<Vec<_>>())
            }
            Function::Variance(column) => {
                let values = doubles(&values(column));
                if values.len() < 2 { Cell::exactly(Value::Null) } else { variance(&values, values.len() - 1) }
            }
            Function::Deviation(column) => {
                let values = doubles(&values(column));
                if values.is_empty() { Cell::exactly(Value::Null) } else { deviation(&values) }
            }
        }
    }
}

fn count(rows: usize) -> Value {
    Value::Integer(i64::try_from(rows).expect("fits in memory"))
}

/// Integers: exact. Doubles: the exact sum, rounded once.
fn sum(values: &[Value]) -> Cell {
    match values.first() {
        None => Cell::exactly(Value::Null),
        Some(Value::Double(_)) => Cell::exactly(Value::Double(rounded(&exact_sum(&doubles(values)), 1, 1))),
        Some(_) => {
            let sum = integers(values).iter().sum::<i128>();
            Cell::exactly(Value::Integer(i64::try_from(sum).expect("the test's data doesn't overflow BIGINT")))
        }
    }
}

/// The exact mean; a result may be off by the rounding of the sum before the division.
fn average(values: &[Value]) -> Cell {
    let divisor = values.len() as u64;
    match values.first() {
        None => Cell::exactly(Value::Null),
        Some(Value::Double(_)) => Cell::about(rounded(&exact_sum(&doubles(values)), 1, divisor), 2),
        Some(_) => {
            let sum = integers(values).iter().sum::<i128>();
            Cell::about(rounded(&Whole::from(sum), 0, divisor), 2)
        }
    }
}

/// (n Σx² - (Σx)²) / (n * divisor), exact and rounded once.
fn variance(values: &[f64], divisor: usize) -> Cell {
    let squares = values.iter().fold(Whole::default(), |sum, value| {
        let exact = Whole::from_double(*value);
        sum.plus(&exact.times(&exact))
    });
    let sum = exact_sum(values);
    let count = values.len();
    let spread = squares.times(&Whole::from(count as i128)).minus(&sum.times(&sum));
    Cell::about(rounded(&spread, 2, (count * divisor) as u64), 8)
}

fn deviation(values: &[f64]) -> Cell {
    match variance(values, values.len()).value {
        Value::Double(variance) => Cell::about(variance.sqrt(), 8),
        other => panic!("{other:?} is no variance"),
    }
}

fn exact_sum(values: &[f64]) -> Whole {
    values.iter().fold(Whole::default(), |sum, value| sum.plus(&Whole::from_double(*value)))
}

fn truth(values: &[Value], fold: impl Fn(&[bool]) -> bool) -> Value {
    let truths: Vec<bool> = values.iter().map(|value| matches!(value, Value::Boolean(true))).collect();
    if truths.is_empty() { Value::Null } else { Value::Boolean(fold(&truths)) }
}

/// Each value once; both zeros are one.
fn distinct(values: Vec<Value>) -> Vec<Value> {
    let plain = |value| if value == Value::Double(-0.0) { Value::Double(0.0) } else { value };
    values.into_iter().map(plain).collect::<BTreeSet<_>>().into_iter().collect()
}

fn bits(values: &[Value], fold: impl Fn(i64, i64) -> i64) -> Cell {
    let integer = |value: &Value| match value {
        Value::Integer(integer) => *integer,
        other => panic!("{other:?} is no integer"),
    };
    Cell::exactly(values.iter().map(integer).reduce(fold).map_or(Value::Null, Value::Integer))
}

fn doubles(values: &[Value]) -> Vec<f64> {
    values.iter().map(double).collect()
}

fn double(value: &Value) -> f64 {
    match value {
        Value::Double(double) => *double,
        Value::Integer(integer) => *integer as f64,
        other => panic!("{other:?} is no number"),
    }
}

fn integers(values: &[Value]) -> Vec<i128> {
    let integer = |value: &Value| match value {
        Value::Integer(integer) => i128::from(*integer),
        other => panic!("{other:?} is no integer"),
    };
    values.iter().map(integer).collect()
}
