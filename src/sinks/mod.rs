//! Where rows go: layouts of the tables, staging of files, and the durable order in which they become visible.

mod change;
#[cfg(test)]
mod conformance;
mod error;
pub mod layout;
mod outage;
mod pause;
mod progress;
mod publish;
mod rollback;
mod stage;
mod take;
mod targets;
#[cfg(test)]
mod testing;
mod tidy;

pub use change::{file_value, staged_change};
pub use error::PublishError;
pub use layout::future_rejects;
pub use outage::is_outage;
pub use progress::HistoryProgress;
pub use publish::Publisher;
pub use rollback::WATERMARK;
pub use stage::{split_by_partition, stage};
pub use take::{Taken, Target, take};
pub use targets::{rejects_table, targets};
pub use tidy::{Rewrite, Tidy};
