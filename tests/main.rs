//! The one test binary: one crate to link instead of one a folder.

mod architecture;
mod backfill;
mod configuration;
mod coverage;
mod demo;
mod help;
mod messages;
mod exactly_once;
mod fixtures;
mod fuzz;
mod kafka;
mod model;
mod nexmark;
mod operating;
mod replay;
mod servers;
mod signals;
mod stores;
mod stories;
mod support;
mod smoke;
