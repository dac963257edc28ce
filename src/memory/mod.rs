//! Memory: what the process holds, what it may hold, and what a driver does about it.
//!
//! The system says what is held, as everything counts: accumulators, batches under way, librdkafka's queues, what the
//! allocator keeps. What is *known* (state, rows that wait) only names the culprit. Results don't depend on any of it: it
//! decides how much is taken at a time.

mod held;
mod relief;
mod system;

pub use held::{Bytes, Held, HeldByOperator, Kept};
pub use relief::Relief;
pub use system::{Memory, Pressure, available_bytes};
