//! The functions by name, as the planner registers them.

use std::sync::Arc;

use datafusion_expr::{AggregateUDF, ScalarUDF, Volatility};
use datafusion_functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};

use super::ranked::Pick;
use super::selections::{Count, EndValue, Extreme};
use super::sum::{Average, Sum};
use super::variance::{Divisor, Spread, Variance};

/// The aggregates: `count`, `sum`, `avg`, `min`, `max` (each also DISTINCT), `bool_and`, `bool_or`, `first_value`,
/// `last_value`, `stddev`, `stddev_pop`, `var`, `var_pop` and their aliases; all with FILTER. Each gives the same bits
/// for the same rows, in whatever order, batches and partial states they come.
///
/// `first_value` and `last_value` need the canonical order as their last ORDER BY expressions: the planner adds it.
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
    own.into_iter().map(Arc::new).chain([bool_and_udaf(), bool_or_udaf()]).collect()
}

/// The scalar functions of DataFusion whose result is a function of their arguments alone: not of the clock, of chance,
/// or of the program's version.
pub fn scalars() -> Vec<Arc<ScalarUDF>> {
    let is_pure = |function: &Arc<ScalarUDF>| {
        function.signature().volatility == Volatility::Immutable && function.name() != "version"
    };
    datafusion_functions::all_default_functions().into_iter().filter(is_pure).collect()
}
