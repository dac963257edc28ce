//! Functions that SQL may call: aggregates whose results don't depend on order, and the scalar functions of DataFusion
//! that depend on nothing but their arguments.
//! Invariant: the result of an aggregate is a function of the set of its rows, to the bit: not of batches, partial
//! states, merges or the order of any of them. Pure: no I/O, no clock.

mod catalog;
mod coercion;
mod distinct;
mod doubles;
mod exact;
mod extremes;
mod floats;
mod limbs;
mod overflow;
mod ranked;
mod rounding;
mod rows;
mod selections;
mod single;
mod sum;
#[cfg(test)]
mod tests;
mod totals;
mod variance;

pub use catalog::{aggregates, scalars};
pub use floats::one_zero_one_nan;
pub use overflow::ResultOverflow;
