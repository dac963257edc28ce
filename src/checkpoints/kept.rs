//! All checkpoints that are kept, for whoever must not take away what they need. Reads only, and claims nothing.

use super::layout::Entry;
use super::{CheckpointError, CheckpointStore, Manifest, ManifestId};

/// How often reading begins again when a running job collects a checkpoint meanwhile. It keeps two, and each attempt takes
/// those that there are.
const LOOKS_MAX: usize = 8;

impl CheckpointStore {
    /// Every manifest that is there, savepoints among them, whether it counts or not. The job may be running: what it puts
    /// later isn't in here.
    ///
    /// # Errors
    /// When the store fails, a file is damaged, or a running job makes checkpoints faster than they can be read.
    pub async fn kept(&self) -> Result<Vec<Manifest>, CheckpointError> {
        let mut look = 1;
        loop {
            match self.kept_now().await {
                Err(CheckpointError::Missing { .. } | CheckpointError::NoSuchSavepoint { .. }) if look < LOOKS_MAX => {
                    look += 1;
                }
                kept => return kept,
            }
        }
    }

    async fn kept_now(&self) -> Result<Vec<Manifest>, CheckpointError> {
        let mut kept: Vec<Manifest> =
            self.savepoints().await?.into_iter().map(|savepoint| savepoint.manifest).collect();
        for generation in self.generations().await? {
            for entry in self.entries(generation).await? {
                if let Entry::Manifest(number) = entry {
                    kept.push(self.read_manifest(ManifestId::new(generation, number), "the folder's listing").await?);
                }
            }
        }
        Ok(kept)
    }
}
