//! Where jobs and archivers stand in their logs, and where a job that isn't running is to go on.
//! Reads only: what [`reset`] works out is done by [`crate::reposition`].

mod get;
pub mod reset;

pub use get::{Offsets, OffsetsError, PartitionOffsets, StreamOffsets, get};
