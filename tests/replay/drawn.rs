//! What a random case asks for: windows of every kind, conditions, aggregates.

use super::random::Random;
use crate::model::{Aggregate, By, Comparison, Condition, Cut, Function, HOUR, Pairing, Quantile, Query, Value, Which};

const DAY: i64 = 24 * HOUR;

/// A query without ALLOW LATENESS, over windows of about that size.
pub(super) fn query(random: &mut Random, size: i64) -> Query {
    let (cut, size) = cut(random, size);
    let aggregate_count = random.below(6) + 1;
    let columns = ["k", "g", "b"].map(str::to_owned);
    let partition_count = if cut.is_by_data() { random.below(3) } else { 0 };
    let mut keys = random.several(&columns, 3);
    let partition_by = keys[..partition_count].to_vec();
    let more = if cut == Cut::Sliding { 0 } else { random.below(3) };
    keys.truncate(partition_count + more);
    Query {
        filter: random.percent(40).then(|| condition(random)),
        cut,
        size,
        offset: match cut {
            Cut::Tumble | Cut::Hop { .. } | Cut::Cumulate { .. } => random.pick(&[0, 0, size / 3, -size / 4]),
            Cut::BerlinDays { .. } => random.pick(&[0, DAY, 4 * DAY]),
            _ => 0,
        },
        allowed: 0,
        partition_by,
        keys,
        aggregates: random
            .several(&functions(), aggregate_count)
            .into_iter()
            .map(|function| Aggregate { function, filter: random.percent(20).then(|| condition(random)) })
            .collect(),
    }
}

/// A kind of window, and its size: as given, or the kind's own.
fn cut(random: &mut Random, size: i64) -> (Cut, i64) {
    match random.below(14) {
        0 | 1 => (Cut::Hop { slide: random.pick(&[size / 4, size / 10 * 3, size, size / 2 * 3]) }, size),
        2 | 3 => (Cut::Cumulate { step: random.pick(&[size / 4, size / 10, size]) }, size),
        4 => match random.below(4) {
            0 => (Cut::Months { count: random.pick(&[1, 3, 12]) }, 31 * DAY),
            1 => (Cut::BerlinMonths { count: random.pick(&[1, 3]) }, 31 * DAY),
            _ => (Cut::BerlinDays { count: random.pick(&[1, 1, 7]) }, DAY),
        },
        5 | 6 => (Cut::Session, size / random.pick(&[2, 10, 20])),
        7 | 8 => (Cut::Sliding, size / random.pick(&[2, 10, 20])),
        9 | 10 => (Cut::Counting { count: random.pick(&[1, 2, 3, 7, 20]) }, size / random.pick(&[2, 10, 20])),
        _ => (Cut::Tumble, size),
    }
}

/// All aggregates.
pub(super) fn functions() -> Vec<Function> {
    let name = str::to_owned;
    let plain = |which, column: &str| Function::Listed(which, name(column), None);
    let by = |which, column: &str, order| Function::Listed(which, name(column), Some(order));
    let quantile = |quantile, column: &str| Function::Quantile(quantile, name(column));
    let pair = |pairing, y: &str, x: &str| Function::Paired(pairing, name(y), name(x));
    vec![
        Function::CountAll,
        Function::Count(name("x")),
        Function::CountDistinct(name("k")),
        Function::CountDistinct(name("x")),
        Function::Sum(name("n")),
        Function::Sum(name("g")),
        Function::Sum(name("x")),
        Function::SumDistinct(name("g")),
        Function::Average(name("n")),
        Function::Average(name("x")),
        Function::AverageDistinct(name("n")),
        Function::Minimum(name("x")),
        Function::Maximum(name("x")),
        Function::Minimum(name("t")),
        Function::Maximum(name("k")),
        Function::All(name("b")),
        Function::Any(name("b")),
        Function::BitAnd(name("g")),
        Function::BitOr(name("n")),
        Function::BitXor(name("n")),
        Function::ApproxDistinct(name("x")),
        Function::ApproxDistinct(name("r")),
        Function::Variance(name("m")),
        Function::Deviation(name("m")),
        plain(Which::First, "x"),
        plain(Which::Last, "k"),
        plain(Which::Nth(2), "n"),
        plain(Which::FirstNotNull, "g"),
        plain(Which::All, "k"),
        plain(Which::Distinct, "g"),
        plain(Which::Joined, "r"),
        plain(Which::JoinedDistinct, "k"),
        by(Which::First, "n", By::ascending("g")),
        by(Which::Last, "r", By::ascending("x")),
        by(Which::Last, "n", By::descending("b")),
        by(Which::Nth(3), "k", By::descending("n")),
        by(Which::Nth(-2), "x", By::ascending("m")),
        by(Which::All, "g", By::descending("k")),
        by(Which::Joined, "k", By::ascending("b")),
        quantile(Quantile::Median, "n"),
        quantile(Quantile::Median, "x"),
        quantile(Quantile::MedianDistinct, "g"),
        quantile(Quantile::Between(25), "m"),
        quantile(Quantile::Approximately(50), "x"),
        quantile(Quantile::Approximately(95), "m"),
        pair(Pairing::CovarianceSample, "m", "n"),
        pair(Pairing::CovarianceSample, "x", "m"),
        pair(Pairing::CovariancePopulation, "m", "m"),
        pair(Pairing::Correlation, "n", "m"),
        pair(Pairing::Slope, "m", "g"),
        pair(Pairing::Intercept, "n", "m"),
        pair(Pairing::Determination, "m", "n"),
        pair(Pairing::Count, "x", "m"),
        pair(Pairing::AverageX, "n", "x"),
        pair(Pairing::DeviationsXX, "n", "m"),
        pair(Pairing::DeviationsYY, "m", "n"),
        pair(Pairing::DeviationsXY, "g", "m"),
    ]
}

/// What tells marker records, true of some in a hundred records or of most.
pub(super) fn marker(random: &mut Random) -> Condition {
    match random.below(4) {
        // Fails on most of those that are far from zero.
        0 => Condition::Product("n".to_owned(), 30_000_000),
        _ => condition(random),
    }
}

pub(super) fn condition(random: &mut Random) -> Condition {
    let compare = |column: &str, comparison, value: Value| Condition::Compare(column.to_owned(), comparison, value);
    let simple = |random: &mut Random| match random.below(5) {
        0 => Condition::IsNull("k".to_owned()),
        1 => compare("k", Comparison::Equal, "a".into()),
        2 => compare("n", Comparison::Less, random.between(-500_000_000_000, 500_000_000_000).into()),
        3 => compare("x", Comparison::AtLeast, random.pick(&[0.0, -1.5, 1e10]).into()),
        _ => compare("g", Comparison::AtLeast, 1.into()),
    };
    let left = simple(random);
    match random.below(5) {
        0 => Condition::And(Box::new(left), Box::new(simple(random))),
        1 => Condition::Or(Box::new(left), Box::new(simple(random))),
        2 => Condition::Not(Box::new(left)),
        _ => left,
    }
}
