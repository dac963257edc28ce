//! How a run or an archive stands: plain numbers that a driver fills in now and then, for whoever watches it. The progress
//! line, `/metrics` and health all show these.
//! Invariant: counts never go back while a process lives, also when an attempt is followed by another. Never filled in per
//! record.

mod numbers;
mod observer;

pub use numbers::{
    CheckpointStanding, LastCheckpoint, LogSpan, PartitionStanding, Phase, Standing, StreamStanding, TableStanding,
};
pub use observer::{Observer, Read};
