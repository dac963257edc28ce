//! What is kept of open windows between runs, and its bytes.
//! Pure: it turns frozen panes into files' contents and back; who stores them is somebody else's affair.

mod bytes;
mod files;
mod savepoint;

pub use bytes::{PANE, StateError, decode, encode};
pub use files::{LiveFile, StateFiles};
pub use savepoint::{LegColumns, from_parquet, to_parquet};
