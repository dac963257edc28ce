//! Quantiles, of all values sorted.

use super::Value;
use super::results::Cell;

/// `approx_quantile` is off by so much of its size at most.
const APPROXIMATELY: f64 = 0.01;

/// Which quantile of a column; shares in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// `median(c)`
    Median,
    /// `median(DISTINCT c)`
    MedianDistinct,
    /// `percentile_cont(c, share)`
    Between(u32),
    /// `approx_quantile(c, share)`
    Approximately(u32),
}

/// The result over values that aren't null.
pub(super) fn quantile(quantile: Quantile, mut values: Vec<Value>) -> Cell {
    values.sort();
    if quantile == Quantile::MedianDistinct {
        values.dedup();
    }
    let Some(last) = values.len().checked_sub(1) else { return Cell::exactly(Value::Null) };
    match quantile {
        Quantile::Median | Quantile::MedianDistinct => {
            let (lower, upper) = (&values[last / 2], &values[last.div_ceil(2)]);
            Cell::exactly(Value::Double(match (lower, upper) {
                (Value::Integer(lower), Value::Integer(upper)) => {
                    (i128::from(*lower) + i128::from(*upper)) as f64 / 2.0
                }
                _ => (double(lower) + double(upper)) / 2.0,
            }))
        }
        Quantile::Between(percent) => {
            let place = share(percent) * last as f64;
            let (lower, part) = (place.floor() as usize, place - place.floor());
            let (lower, upper) = (double(&values[lower]), double(&values[(lower + 1).min(last)]));
            // Both ways to say it round differently: the size that counts is that of the values.
            let point = if part == 0.0 { lower } else { lower + part * (upper - lower) };
            if part == 0.0 { Cell::exactly(Value::Double(point)) } else { Cell::about(point, 2) }
        }
        Quantile::Approximately(percent) => {
            let rank = ((share(percent) * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = double(&values[rank - 1]) + 0.0;
            let is_extreme = rank == 1 || rank == values.len();
            if is_extreme { Cell::exactly(Value::Double(exact)) } else { Cell::within(exact, APPROXIMATELY) }
        }
    }
}

fn share(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

fn double(value: &Value) -> f64 {
    match value {
        Value::Double(double) => *double,
        Value::Integer(integer) => *integer as f64,
        other => panic!("{other:?} is no number"),
    }
}
