//! The project: where it is, and what its `kappa.toml` says about brokers, catalog, state and runs.
//!
//! Settings come in layers that are laid over each other key by key, each value with its origin, and are read into types
//! only then: so a message can always name the line that a value came from. From the bottom up: defaults, the tables of
//! `kappa.toml`, the chosen profile, the environment, `--set`. Invariant: every problem is found in one go, no key is
//! silently ignored, and no message shows a secret. Connects to nothing.

mod duration;
mod effective;
mod environment;
mod expand;
mod file;
mod known;
mod listing;
mod mask;
mod operating;
mod overrides;
mod problem;
mod project;
mod settings;
mod size;
#[cfg(test)]
mod tests;

pub use duration::{DurationText, DurationTextError};
pub use listing::{Listed, ListedOrigin};
pub use overrides::{Overrides, SetError};
pub use problem::{ConfigError, ConfigProblem, Place};
pub use project::{
    CHECKPOINT_INTERVAL_ARCHIVE, CHECKPOINT_INTERVAL_RUN, CatalogKind, CatalogSettings, LogFormat, PROJECT_FILE,
    Project, RunSettings, Share, StateSettings,
};
pub use size::{SizeText, SizeTextError};
