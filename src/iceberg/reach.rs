//! Which files a table needs: all that its snapshots lead to, and the metadata files that name those.
//! Invariant: a file that is needed is never taken for one that isn't. Files are known by a hash of their path: two paths of
//! one hash keep a file that nobody needs, and that in one of 10^12 tables.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{StreamExt, TryStreamExt};
use iceberg::spec::{ManifestFile, SnapshotRef};
use xxhash_rust::xxh3::xxh3_64;

use super::{Folder, IcebergError, Table};

/// Manifest lists and manifests read at a time: enough to hide a store's latency.
const PARALLEL_MAX: usize = 8;

/// The files that a table needs.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Of their paths in the store, whatever the bucket: the same path in another bucket is kept, too.
    needed: HashSet<u64>,
    /// Of the newest snapshot's data files below the table's folder, those that nobody has shown to be there.
    unseen: HashSet<u64>,
}

impl Reach {
    /// Whether the table needs the file at this path of its store. Notes that it is there.
    pub fn sees(&mut self, path: &str) -> bool {
        let key = xxh3_64(path.as_bytes());
        self.unseen.remove(&key);
        self.needed.contains(&key)
    }

    /// Whether the table needs the file at this path of its store.
    pub fn needs(&self, path: &str) -> bool {
        self.needed.contains(&xxh3_64(path.as_bytes()))
    }

    /// Data files of the newest snapshot that should be below the table's folder and that nobody has shown to be there.
    pub fn unseen(&self) -> usize {
        self.unseen.len()
    }
}

impl Table {
    /// All files that the table needs once these snapshots have gone, and those at `more` locations.
    pub async fn reach(&self, without: &BTreeSet<i64>, more: &[String]) -> Result<Reach, IcebergError> {
        let metadata = self.metadata();
        let mut reach = Reach::default();
        let log = metadata.metadata_log().iter().map(|entry| entry.metadata_file.as_str());
        let statistics = metadata.statistics_iter().map(|file| file.statistics_path.as_str());
        let of_partitions = metadata.partition_statistics_iter().map(|file| file.statistics_path.as_str());
        let named = log.chain(statistics).chain(of_partitions).chain(self.inner.metadata_location());
        for location in named.chain(more.iter().map(String::as_str)) {
            reach.needed.insert(self.key(location)?);
        }
        let stay = metadata.snapshots().filter(|snapshot| !without.contains(&snapshot.snapshot_id()));
        let newest = metadata.current_snapshot_id();
        // By path: neighbouring snapshots share most of them. With whether the newest snapshot has it.
        let mut manifests: BTreeMap<String, (ManifestFile, bool)> = BTreeMap::new();
        let mut lists = futures::stream::iter(stay.map(|snapshot| self.list(snapshot))).buffer_unordered(PARALLEL_MAX);
        while let Some((snapshot, list)) = lists.try_next().await? {
            reach.needed.insert(self.key(snapshot.manifest_list())?);
            for manifest in list {
                let known = manifests.entry(manifest.manifest_path.clone()).or_insert((manifest, false));
                known.1 |= Some(snapshot.snapshot_id()) == newest;
            }
        }
        let folder = format!("{}/", self.folder(Folder::Data)?.path);
        let files = manifests.into_values().map(|(manifest, is_newest)| self.files(manifest, is_newest));
        let mut files = futures::stream::iter(files).buffer_unordered(PARALLEL_MAX);
        while let Some((manifest, paths, is_newest)) = files.try_next().await? {
            reach.needed.insert(self.key(&manifest)?);
            for path in paths {
                let key = xxh3_64(path.as_bytes());
                reach.needed.insert(key);
                if is_newest && path.starts_with(&folder) {
                    reach.unseen.insert(key);
                }
            }
        }
        Ok(reach)
    }

    async fn list<'a>(&self, snapshot: &'a SnapshotRef) -> Result<(&'a SnapshotRef, Vec<ManifestFile>), IcebergError> {
        let list = self.inner.manifest_list_reader(snapshot).load().await;
        let list = list.map_err(IcebergError::metadata(self.name(), "read a manifest list"))?;
        Ok((snapshot, list.entries().to_vec()))
    }

    /// The paths of a manifest's live files.
    async fn files(
        &self,
        manifest: ManifestFile,
        is_newest: bool,
    ) -> Result<(String, Vec<String>, bool), IcebergError> {
        let loaded = manifest.load_manifest(self.inner.file_io()).await;
        let loaded = loaded.map_err(IcebergError::metadata(self.name(), "read a manifest"))?;
        let live = loaded.entries().iter().filter(|entry| entry.is_alive());
        let paths = live.map(|entry| self.path(entry.data_file().file_path()));
        Ok((manifest.manifest_path.clone(), paths.collect::<Result<_, _>>()?, is_newest))
    }

    /// A location as a path in its store.
    fn path(&self, location: &str) -> Result<String, IcebergError> {
        Ok(self.stores.locate(location)?.path.to_string())
    }

    fn key(&self, location: &str) -> Result<u64, IcebergError> {
        Ok(xxh3_64(self.path(location)?.as_bytes()))
    }
}
