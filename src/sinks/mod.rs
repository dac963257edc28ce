//! Where rows go: layouts of the tables, staging of files, and the durable order in which they become visible.

pub mod layout;
mod pause;
mod progress;
mod publish;
mod stage;
mod tidy;

pub use layout::future_rejects;
pub use progress::HistoryProgress;
pub use publish::{PublishError, Publisher, Taken, Target, take};
pub use stage::{split_by_partition, stage};
pub use tidy::{Rewrite, Tidy};
