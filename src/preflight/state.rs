//! Whether the place of the state takes files, and none twice.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};

use super::PreflightError;
use crate::checkpoints::CheckpointError;
use crate::store::Place;

/// Puts an object under a name that nobody has, tries to put it again, and removes it.
pub(super) async fn probe(place: &Place) -> Result<(), PreflightError> {
    let path = Path::from(format!("kappa-probe-{}", uuid::Uuid::new_v4().simple()));
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let put = |content: &'static [u8]| place.store.put_opts(&path, Bytes::from_static(content).into(), create());
    let failed = |source: StoreError| {
        PreflightError::State(CheckpointError::Write { path: path.to_string(), source: source.into() })
    };
    put(b"first").await.map_err(failed)?;
    let again = put(b"second").await;
    let removed = place.store.delete(&path).await;
    match again {
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
        Ok(_) => return Err(PreflightError::NoConditionalPut),
        Err(source) => return Err(failed(source)),
    }
    removed.map_err(|source| {
        PreflightError::State(CheckpointError::Remove { path: path.to_string(), source: source.into() })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::local::LocalFileSystem;

    use super::*;

    #[tokio::test]
    async fn a_place_that_takes_files_is_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).expect("a store"));
        probe(&Place { store, folder: Some(folder.path().to_owned()) }).await.expect("it can be written");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[tokio::test]
    async fn a_place_that_is_gone_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("state");
        std::fs::create_dir(&inner).expect("a folder");
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(&inner).expect("a store"));
        std::fs::remove_dir(&inner).expect("it is empty");
        std::fs::write(&inner, "in the way").expect("a file");
        let error = probe(&Place { store, folder: Some(inner) }).await.expect_err("a file is in the way");
        assert!(error.to_string().contains("can't write kappa-probe-"), "{error}");
    }
}
