//! The project: where it is, and what its `kappa.toml` says about brokers, catalog, state and runs.
//!
//! Settings come in layers that are laid over each other key by key, each value with its origin, and are read into types
//! only then: so a message can always name the line that a value came from. Invariant: every problem of a file is found
//! in one go, and no key is silently ignored. Connects to nothing.

mod duration;
mod known;
mod operating;
mod problem;
mod project;
mod settings;
mod size;

pub use duration::{DurationText, DurationTextError};
pub use problem::{ConfigError, ConfigProblem};
pub use project::{
    CHECKPOINT_INTERVAL_ARCHIVE, CHECKPOINT_INTERVAL_RUN, CatalogKind, CatalogSettings, LogFormat, PROJECT_FILE,
    Project, RunSettings, Share, StateSettings,
};
pub use size::{SizeText, SizeTextError};
