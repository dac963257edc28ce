//! Looking at checkpoints from outside: whose there are, and when they were made. Reads only, and claims nothing.

use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};

use super::{CheckpointError, CheckpointStore, ManifestId};
use crate::event::EventTime;

impl CheckpointStore {
    /// All jobs and archives that have ever claimed at the same location, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn owners(&self) -> Result<Vec<String>, CheckpointError> {
        let folders = self.folders(&Path::default()).await?;
        let name = |folder: &Path| Path::from_url_path(folder.filename()?).ok().map(String::from);
        let mut owners: Vec<String> = folders.iter().filter_map(name).collect();
        owners.sort();
        Ok(owners)
    }

    /// When a manifest was put, by the store's clock; `None`: it is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn written_at(&self, id: ManifestId) -> Result<Option<EventTime>, CheckpointError> {
        let path = self.layout().manifest(id);
        match self.objects().head(&path).await {
            Ok(object) => Ok(Some(EventTime(object.last_modified.timestamp_micros()))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(source) => Err(CheckpointError::Read { path: path.to_string(), source: source.into() }),
        }
    }
}
