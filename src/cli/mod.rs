//! The command line: what users type and what scripts rely on.
//!
//! One file a command: its arguments, what they mean together, and the call of the driver that does it. Beside them what
//! all commands share: where output goes ([`terminal`], [`output`], [`progress`], [`log`]), how the program ends
//! ([`exit`], [`mod@panic`], [`signal`]), and times as arguments ([`time`]). Decides nothing about results.

pub mod archive;
pub mod arguments;
pub mod backfill;
pub mod command;
pub mod completions;
pub mod config;
pub mod connect;
pub mod demo;
pub mod diff;
pub mod exit;
mod failure;
pub mod explain;
pub mod job;
pub mod log;
pub mod log_json;
pub mod maintain;
pub mod man;
pub mod moving;
pub mod offsets;
pub mod output;
pub mod panic;
pub mod progress;
pub mod range;
mod redact;
pub mod run;
pub mod savepoint;
pub mod signal;
pub mod start;
pub mod status;
pub mod terminal;
pub mod test;
pub mod time;
pub mod validate;
pub mod watch;
