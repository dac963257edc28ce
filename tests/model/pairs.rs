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

/// Pairs, exact.
struct Exact {
    pairs: Vec<(Whole, Whole)>,
}

impl Exact {
    fn y(&self) -> Whole {
        self.pairs.iter().fold(Whole::default(), |sum, (y, _)| sum.plus(y))
    }

    fn x(&self) -> Whole {
        self.pairs.iter().fold(Whole::default(), |sum, (_, x)| sum.plus(x))
    }

    /// The sum of products; it counts squares of what a sum of doubles counts.
    fn products(&self, product: impl Fn(&Whole, &Whole) -> Whole) -> Whole {
        self.pairs.iter().fold(Whole::default(), |sum, (y, x)| sum.plus(&product(y, x)))
    }

    /// `n * sum of products - product of sums`.
    fn deviations(&self, products: &Whole, left: &Whole, right: &Whole) -> Whole {
        products.times(&Whole::from(self.pairs.len() as i128)).minus(&left.times(right))
    }

    fn xy(&self) -> Whole {
        self.deviations(&self.products(|y, x| x.times(y)), &self.x(), &self.y())
    }

    fn xx(&self) -> Whole {
        self.deviations(&self.products(|_, x| x.times(x)), &self.x(), &self.x())
    }

    fn yy(&self) -> Whole {
        self.deviations(&self.products(|y, _| y.times(y)), &self.y(), &self.y())
    }
}

/// The result over those pairs of which neither is null.
pub(super) fn paired(pairing: Pairing, pairs: &[(f64, f64)]) -> Cell {
    let pairs: Vec<_> = pairs.iter().map(|(y, x)| (Whole::from_double(*y), Whole::from_double(*x))).collect();
    let exact = Exact { pairs };
    let count = exact.pairs.len() as u64;
    let null = || Cell::exactly(Value::Null);
    let over = |numerator: &Whole, divisor: u64| Cell::about(rounded(numerator, 2, divisor), STEPS);
    let double = |whole: &Whole| rounded(whole, 2, 1);
    match pairing {
        Pairing::Count => Cell::exactly(Value::Integer(i64::try_from(count).expect("fits in memory"))),
        _ if count == 0 => null(),
        Pairing::CovarianceSample if count == 1 => null(),
        Pairing::AverageX => Cell::about(rounded(&exact.x(), 1, count), 2),
        Pairing::CovarianceSample => over(&exact.xy(), count * (count - 1)),
        Pairing::CovariancePopulation => over(&exact.xy(), count * count),
        Pairing::DeviationsXX => over(&exact.xx(), count),
        Pairing::DeviationsYY => over(&exact.yy(), count),
        Pairing::DeviationsXY => over(&exact.xy(), count),
        _ if exact.xx() == Whole::default() => null(),
        Pairing::Slope => Cell::about(double(&exact.xy()) / double(&exact.xx()), STEPS),
        Pairing::Intercept => {
            let (xx, xy) = (exact.products(|_, x| x.times(x)), exact.products(|y, x| x.times(y)));
            let numerator = exact.y().times(&xx).minus(&exact.x().times(&xy));
            Cell::about(rounded(&numerator, 3, 1) / double(&exact.xx()), STEPS)
        }
        Pairing::Determination if exact.yy() == Whole::default() => Cell::exactly(Value::Double(1.0)),
        Pairing::Correlation if exact.yy() == Whole::default() => null(),
        Pairing::Determination | Pairing::Correlation => {
            let [xy, xx, yy] = [exact.xy(), exact.xx(), exact.yy()].map(|whole| double(&whole));
            let correlation = xy / (xx.sqrt() * yy.sqrt());
            Cell::about(if pairing == Pairing::Correlation { correlation } else { xy * xy / xx / yy }, STEPS)
        }
    }
}
