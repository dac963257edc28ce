//! The functions by name, as the planner registers them.

use std::sync::Arc;

use datafusion_expr::{AggregateUDF, ScalarUDF, Volatility};
use datafusion_functions_aggregate::bit_and_or_xor::{bit_and_udaf, bit_or_udaf, bit_xor_udaf};
use datafusion_functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};

use super::approx_distinct::ApproxDistinct;
use super::approx_quantile::ApproxQuantile;
use super::correct_clock::CorrectClock;
use super::covariance::PairFunction;
use super::lists::{ListFunction, Making};
use super::percentiles::{Percentile, Place};
use super::ranked::Pick;
use super::selections::{Count, EndValue, Extreme};
use super::sum::{Average, Sum};
use super::variance::{Divisor, Spread, Variance};

/// The aggregates: `count`, `sum`, `avg`, `min`, `max`, `median`, `percentile_cont`, `array_agg`, `string_agg` (each also
/// DISTINCT), `bool_and`, `bool_or`, `bit_and`, `bit_or`, `bit_xor`, `first_value`, `last_value`, `nth_value`, `stddev`,
/// `stddev_pop`, `var`, `var_pop`, `covar_samp`, `covar_pop`, `corr`, the `regr_…` family, `approx_distinct`, `approx_quantile` and their aliases; all with
/// FILTER. Each gives the same bits for the same rows, in whatever order, batches and partial states they come.
///
/// Those in [`ORDERED`] need the canonical order as their last ORDER BY expressions: the planner adds it.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let variance = |spread, divisor| AggregateUDF::new_from_impl(Variance::new(spread, divisor));
    let own = [
        AggregateUDF::new_from_impl(Count::new()),
        AggregateUDF::new_from_impl(Sum::new()),
        AggregateUDF::new_from_impl(Average::new()),
        AggregateUDF::new_from_impl(Extreme::new(Pick::First)),
        AggregateUDF::new_from_impl(Extreme::new(Pick::Last)),
        AggregateUDF::new_from_impl(EndValue::new(Pick::First)),
        AggregateUDF::new_from_impl(EndValue::new(Pick::Last)),
        variance(Spread::Deviation, Divisor::Sample),
        variance(Spread::Deviation, Divisor::Population),
        variance(Spread::Variance, Divisor::Sample),
        variance(Spread::Variance, Divisor::Population),
    ];
    let lists = [Making::Array, Making::Text, Making::Nth].map(ListFunction::new).map(AggregateUDF::new_from_impl);
    let percentiles = [Place::Median, Place::Share].map(Percentile::new).map(AggregateUDF::new_from_impl);
    let sketches =
        [AggregateUDF::new_from_impl(ApproxDistinct::new()), AggregateUDF::new_from_impl(ApproxQuantile::new())];
    let pairs = PairFunction::all().map(AggregateUDF::new_from_impl);
    let own = own.into_iter().chain(lists).chain(percentiles).chain(sketches).chain(pairs);
    // What DataFusion has already, and gives the same in any order.
    let stock = [bool_and_udaf(), bool_or_udaf(), bit_and_udaf(), bit_or_udaf(), bit_xor_udaf()];
    own.map(Arc::new).chain(stock).collect()
}

/// Aggregates whose answer depends on an order of the records; all others drop ORDER BY.
pub const ORDERED: [&str; 5] = ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// Aggregates that can leave out equal values.
pub const DISTINCT: [&str; 7] = ["array_agg", "avg", "count", "median", "percentile_cont", "string_agg", "sum"];

/// Aggregates that DISTINCT leaves as they are.
pub const DISTINCT_IS_NOTHING: [&str; 5] = ["approx_distinct", "bool_and", "bool_or", "max", "min"];

/// CORRECT_CLOCK, and the scalar functions of DataFusion whose result is a function of their arguments alone: not of the
/// clock, of chance, or of the program's version.
pub fn scalars() -> Vec<Arc<ScalarUDF>> {
    let is_pure = |function: &Arc<ScalarUDF>| {
        function.signature().volatility == Volatility::Immutable && function.name() != "version"
    };
    let own = Arc::new(ScalarUDF::new_from_impl(CorrectClock::new()));
    datafusion_functions::all_default_functions().into_iter().filter(is_pure).chain([own]).collect()
}
