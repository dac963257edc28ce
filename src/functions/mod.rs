//! Functions that SQL may call: aggregates whose results don't depend on order, and the scalar functions of DataFusion
//! that depend on nothing but their arguments.
//! Invariant: the result of an aggregate is a function of the set of its rows, to the bit: not of batches, partial
//! states, merges or the order of any of them. Pure: no I/O, no clock.

mod overflow;

pub use overflow::ResultOverflow;
