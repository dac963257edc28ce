//! The parts of the demo: a topic that is always the same, an embedded broker that holds it, and a project folder.
//! What is done with them is the command line's; nothing in here knows a driver.

mod broker;
mod folder;
pub mod requests;
mod totals;

use std::path::PathBuf;

use thiserror::Error;

pub use broker::{Broker, TOPIC};
pub use folder::{Folder, JOB, REPAIR, RESULT};
pub use totals::{Totals, totals};

/// Why the demo can't go on.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The folder holds something already.
    #[error("{} isn't empty; name a folder that is, or one that isn't there yet", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder can't be written.
    #[error("{} can't be written: {source}", path.display())]
    Folder {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The embedded broker doesn't start or doesn't take a message.
    #[error("the embedded broker: {0}")]
    Broker(#[from] rdkafka::error::KafkaError),
    /// The result can't be read.
    #[error(transparent)]
    Result(#[from] crate::iceberg::IcebergError),
    /// The result isn't there.
    #[error("there is no table {0}")]
    Missing(crate::event::TableName),
}
