//! Aggregates over pairs of numbers (y, x), from exact sums of exact products.

use super::Value;
use super::exact::{Whole, rounded};
use super::results::Cell;

/// Roundings of a result whose numerator and denominator are each rounded once.
const STEPS: u64 = 8;

/// What is made of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `covar_samp(y, x)`
    CovarianceSample,
    /// `covar_pop(y, x)`
    CovariancePopulation,
    /// `corr(y, x)`
    Correlation,
    /// `regr_slope(y, x)`
    Slope,
    /// `regr_intercept(y, x)`
    Intercept,
    /// `regr_r2(y, x)`
    Determination,
    /// `regr_count(y, x)`
    Count,
    /// `regr_avgx(y, x)`
    AverageX,
    /// `regr_sxx(y, x)`
    DeviationsXX,
    /// `regr_syy(y, x)`
    DeviationsYY,
    /// `regr_sxy(y, x)`
    DeviationsXY,
}

/// Sums over pairs; each of products counts squares of what a sum of doubles counts.
struct Sums {
    count: u64,
    y: Whole,
    x: Whole,
    xy: Whole,
    xx: Whole,
    yy: Whole,
}

impl Sums {
    fn of(pairs: &[(f64, f64)]) -> Sums {
        let total = |part: &dyn Fn(&Whole, &Whole) -> Whole| {
            let exact = pairs.iter().map(|(y, x)| (Whole::from_double(*y), Whole::from_double(*x)));
            exact.fold(Whole::default(), |sum, (y, x)| sum.plus(&part(&y, &x)))
        };
        Sums {
            count: pairs.len() as u64,
            y: total(&|y, _| y.clone()),
            x: total(&|_, x| x.clone()),
            xy: total(&|y, x| y.times(x)),
            xx: total(&|_, x| x.times(x)),
            yy: total(&|y, _| y.times(y)),
        }
    }

    /// `n * sum of products - product of sums`.
    fn deviations(&self, products: &Whole, left: &Whole, right: &Whole) -> Whole {
        products.times(&Whole::from(i128::from(self.count))).minus(&left.times(right))
    }
}

/// The result over those pairs of which neither is null.
pub(super) fn paired(pairing: Pairing, pairs: &[(f64, f64)]) -> Cell {
    let sums = Sums::of(pairs);
    let count = sums.count;
    let null = Cell::exactly(Value::Null);
    match pairing {
        Pairing::Count => return Cell::exactly(Value::Integer(i64::try_from(count).expect("fits in memory"))),
        _ if count == 0 => return null,
        Pairing::CovarianceSample if count == 1 => return null,
        Pairing::AverageX => return Cell::about(rounded(&sums.x, 1, count), 2),
        _ => {}
    }
    let xy = sums.deviations(&sums.xy, &sums.x, &sums.y);
    let xx = sums.deviations(&sums.xx, &sums.x, &sums.x);
    let yy = sums.deviations(&sums.yy, &sums.y, &sums.y);
    let over = |numerator: &Whole, divisor: u64| Cell::about(rounded(numerator, 2, divisor), STEPS);
    let double = |whole: &Whole| rounded(whole, 2, 1);
    match pairing {
        Pairing::CovarianceSample => over(&xy, count * (count - 1)),
        Pairing::CovariancePopulation => over(&xy, count * count),
        Pairing::DeviationsXX => over(&xx, count),
        Pairing::DeviationsYY => over(&yy, count),
        Pairing::DeviationsXY => over(&xy, count),
        _ if xx == Whole::default() => null,
        Pairing::Slope => Cell::about(double(&xy) / double(&xx), STEPS),
        Pairing::Intercept => {
            let numerator = sums.y.times(&sums.xx).minus(&sums.x.times(&sums.xy));
            Cell::about(rounded(&numerator, 3, 1) / double(&xx), STEPS)
        }
        Pairing::Determination if yy == Whole::default() => Cell::exactly(Value::Double(1.0)),
        Pairing::Correlation if yy == Whole::default() => null,
        Pairing::Determination => Cell::about(double(&xy) * double(&xy) / double(&xx) / double(&yy), STEPS),
        Pairing::Correlation => Cell::about(double(&xy) / (double(&xx).sqrt() * double(&yy).sqrt()), STEPS),
        Pairing::Count | Pairing::AverageX => unreachable!("done"),
    }
}
