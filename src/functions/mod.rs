//! Functions that SQL may call: aggregates whose results don't depend on order, CORRECT_CLOCK, and the scalar functions of
//! DataFusion that depend on nothing but their arguments.
//! Invariant: the result of an aggregate is a function of the set of its rows, to the bit: not of batches, partial
//! states, merges or the order of any of them. Pure: no I/O, no clock.

mod approx_distinct;
mod approx_quantile;
mod catalog;
mod coercion;
mod collected;
mod correct_clock;
mod covariance;
mod ddsketch;
mod distinct;
mod doubles;
mod exact;
mod extremes;
mod floats;
mod hashes;
mod hyperloglog;
mod limbs;
mod lists;
mod overflow;
mod pairs;
mod percentiles;
mod products;
mod ranked;
mod rounding;
mod rows;
mod selections;
mod single;
mod sum;
mod sums;
#[cfg(test)]
mod tests;
mod totals;
mod variance;

pub use catalog::{DISTINCT, DISTINCT_IS_NOTHING, ORDERED, aggregates, scalars};
pub use floats::one_zero_one_nan;
pub use overflow::ResultOverflow;
