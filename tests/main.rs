//! The one test binary: one crate to link instead of one a folder.

mod architecture;
mod servers;
mod support;
