//! From the SELECT of an INSERT to a [`crate::job::plan::Insert`], with DataFusion's planner.
//!
//! What is wrong becomes a [`crate::job::Problem`] with its place; several problems of one query are shown at once.
//! Invariant: every expression of a plan is immutable (no clock, no randomness, no session), typed, and bound to the
//! record schema of its stream or to the schema of closed windows. Nothing here is executed or read from outside.
//!
//! A query without a window is planned by `plain`. One over a window goes through `shape` (which clauses), `select` with `names` (which columns, functions and types; then DataFusion's
//! logical plan), `window`, `output` with `aggregate` and `expression` (that plan taken apart; safe casts and divisions; bound), and
//! `partitions`.

mod aggregate;
mod catalog;
mod composed;
mod computed;
mod error;
mod expression;
mod float_key;
mod insert;
mod lateness;
mod names;
mod output;
mod partitions;
mod plain;
mod refused;
mod select;
mod sets;
mod shape;
mod types;
mod window;

#[cfg(test)]
mod tests;

pub(super) use aggregate::goes_by_order;
pub use computed::{plan_computed, plan_when};
pub(super) use expression::bind;
pub use insert::plan_insert;
pub(super) use sets::Sets;
