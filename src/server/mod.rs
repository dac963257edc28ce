//! What a run shows over HTTP: `/metrics`, `/healthz`, `/readyz`.
//! Invariant: answers come from the numbers that the drivers have put on the [`Board`]; a request never waits for a driver,
//! nor a driver for a request.

mod board;
mod health;
mod http;

pub use board::{Board, Place};
pub use health::{CHECKPOINT_MAX, EPOCH_MAX, OUTAGE_MAX, STUCK_MAX, judge, judge_ready};
pub use http::{ServeError, Server};
