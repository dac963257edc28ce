//! Recomputing windows from history: what a backfill publishes and `diff` compares.
//!
//! The same plan and engine as live; only the records come from another face. Nothing is written here.

mod check;
mod run;

pub use check::{HistoryState, RangeError, Requested, Scope, check, scope};
pub use run::{Counted, RecomputeError, RecomputeOptions, recompute};
