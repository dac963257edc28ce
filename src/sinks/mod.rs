//! Where rows go: layouts of the tables, staging of files, and the durable order in which they become visible.

pub mod layout;
mod stage;

pub use stage::{sorted, stage};
