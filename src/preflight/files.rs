//! Whether files can be put where tables are or will be, and removed again.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};

use super::PreflightError;
use crate::iceberg::{IcebergError, Table};
use crate::store::Place;

/// Puts an object into the folder where new tables will be, and removes it.
pub(super) async fn probe_place(place: &Place, location: &str) -> Result<(), PreflightError> {
    probe(&*place.store, &Path::from(unused_name()), location).await
}

/// Puts an object beside the metadata of a table, with the keys that its files are written with, and removes it. Not
/// beside its data: that folder may not be there yet.
pub(super) async fn probe_table(table: &Table) -> Result<(), PreflightError> {
    let folder = format!("{}/metadata", table.location().trim_end_matches('/'));
    let located = table.stores.locate(&format!("{folder}/{}", unused_name())).map_err(IcebergError::from)?;
    probe(&*located.store, &located.path, &folder).await
}

fn unused_name() -> String {
    format!("kappa-probe-{}", uuid::Uuid::new_v4().simple())
}

async fn probe(store: &dyn ObjectStore, path: &Path, location: &str) -> Result<(), PreflightError> {
    let failed = |action| {
        let location = location.to_owned();
        move |source: StoreError| PreflightError::Files { action, location, source: source.into() }
    };
    store.put(path, Bytes::from_static(b"probe").into()).await.map_err(failed("put into"))?;
    store.delete(path).await.map_err(failed("removed from"))
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;
    use crate::store::Stores;

    #[tokio::test]
    async fn a_place_that_takes_files_is_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Stores::default().place("warehouse", folder.path()).expect("made");
        probe_place(&place, "warehouse").await.expect("it takes files");
        let left = std::fs::read_dir(folder.path().join("warehouse")).expect("it is there").count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn a_place_that_takes_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Stores::default().place("warehouse", folder.path()).expect("made");
        let warehouse: &FilePath = &folder.path().join("warehouse");
        std::fs::remove_dir(warehouse).expect("it is empty");
        std::fs::write(warehouse, "in the way").expect("a file");
        let error = probe_place(&place, "the warehouse").await.expect_err("a file is in the way");
        assert!(error.to_string().starts_with("no file can be put into the warehouse: "), "{error}");
    }
}
