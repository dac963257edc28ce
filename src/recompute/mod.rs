//! Recomputing windows from history: what a backfill publishes and `diff` compares.
//!
//! The same plan and engine as live; only the records come from another face. Nothing is written here.

mod behind;
mod check;
mod failing;
mod memory;
mod pass;
mod run;
mod warm_up;

pub use behind::behind_watermark;
pub use check::{HistoryState, Incomplete, RangeError, Requested, ResultState, Scope, check, covering, scope};
pub use memory::{MemoryExhausted, check_memory};
pub use run::{Counted, RecomputeError, RecomputeOptions, recompute};
