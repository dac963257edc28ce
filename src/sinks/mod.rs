//! Where rows go: layouts of the tables, staging of files, and the durable order in which they become visible.

mod change;
pub mod layout;
mod pause;
mod progress;
mod publish;
mod stage;
mod targets;
mod tidy;

pub use layout::future_rejects;
pub use progress::HistoryProgress;
pub use publish::{PublishError, Publisher, Taken, Target, take};
pub use stage::{split_by_partition, stage};
pub use targets::{rejects_table, targets};
pub use tidy::{Rewrite, Tidy};
