//! The engine: epochs of records go in, rows of closed windows come out. One engine; it knows no mode.
//!
//! timely runs the same dataflow on any number of threads: each worker *prepares* the batches it is given (WHERE,
//! lateness, keys, arguments), the rows are *exchanged* by the hash of their keys, and each worker *keeps* the panes
//! of its keys. Where a query goes on above its windows, their closed rows are exchanged once more, by window, and each
//! worker runs the rest for its windows. An epoch is complete when all its rows have arrived everywhere; then windows up to the epoch's
//! watermark close, and a barrier freezes what is left.
//!
//! Invariants: the rows of an epoch are a function of the records fed into it and before it; a user's error travels
//! as a value to the driver and never panics; timely has no back-pressure, so at most [`EPOCHS_IN_FLIGHT_MAX`] epochs
//! are under way.
//!
//! Never: read a source, write a sink, look at a clock.

mod container;
mod epoch;
mod exchange;
mod given;
mod judged;
mod keep;
mod prepare;
mod result;
#[cfg(test)]
mod tests;
mod worker;

pub use epoch::{
    Counts, EPOCHS_IN_FLIGHT_MAX, Engine, EngineError, EngineOptions, Epoch, EpochOutput, FailPoint, FrozenPane,
    InsertOutput, Late, OpenWindows, RestoredPane, WindowRows,
};
