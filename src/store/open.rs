//! The stores of a process, each bucket opened once, at its first use.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::aws::AwsCredentialProvider;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::location::{LocationError, Parsed, folder, parse};
use super::{CutOff, cut_off_puts, make_durable, s3};
use crate::secret::Properties;

/// The stores that the same settings open. Clones share them.
#[derive(Clone, Default)]
pub struct Stores {
    settings: Properties,
    credentials: Option<AwsCredentialProvider>,
    buckets: Arc<Mutex<HashMap<String, Arc<dyn ObjectStore>>>>,
    /// What stands in for the local file system.
    memory: Option<Arc<InMemory>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A location resolved to the store that holds it.
#[derive(Clone, Debug)]
pub struct Located {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The object in it.
    pub path: Path,
    /// Set on the local file system, where durability needs a call of its own.
    local: Option<PathBuf>,
}

impl Located {
    /// Makes a file that was written before survive a crash of the machine. Buckets do so by themselves.
    ///
    /// # Errors
    /// When the file system fails.
    pub async fn make_durable(&self) -> object_store::Result<()> {
        let Some(file) = self.local.clone() else { return Ok(()) };
        let top = file.parent().map_or_else(|| file.clone(), FilePath::to_owned);
        make_durable(file, top)
            .await
            .map_err(|error| object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) })
    }

    /// What puts below it were cut off; none in a bucket.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub async fn cut_off_puts(&self) -> std::io::Result<Vec<CutOff>> {
        match self.local.clone() {
            Some(folder) => cut_off_puts(folder).await,
            None => Ok(Vec::new()),
        }
    }
}

/// A folder, or a prefix of a bucket, as a store of its own: paths in it are relative.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Set on the local file system: files are made durable up to here.
    pub folder: Option<PathBuf>,
}

impl Stores {
    /// Stores with the settings of `[store]`.
    pub fn new(settings: &Properties) -> Stores {
        Stores { settings: settings.clone(), ..Stores::default() }
    }

    /// Stores whose local files are kept in memory, for as long as a clone of them is: nothing reaches a disk.
    pub fn in_memory() -> Stores {
        Stores { memory: Some(Arc::default()), ..Stores::default() }
    }

    /// Whether local files are kept in memory.
    pub fn are_in_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Stores of their own with other settings laid over these, and with credentials that may change.
    #[must_use]
    pub fn with(&self, settings: &Properties, credentials: Option<AwsCredentialProvider>) -> Stores {
        let mut merged = self.settings.clone();
        merged.0.extend(settings.0.clone());
        Stores { settings: merged, credentials, buckets: Arc::default(), memory: self.memory.clone() }
    }

    /// Stores with a bucket that is open already, such as one in memory: its name needs no settings.
    ///
    /// # Panics
    /// When a thread has panicked while it opened a bucket.
    #[must_use]
    pub fn with_bucket(self, name: &str, store: Arc<dyn ObjectStore>) -> Stores {
        self.buckets.lock().expect("nothing panics while holding this lock").insert(name.to_owned(), store);
        self
    }

    /// Finds the store of a file's location, which is taken literally: `%2F` in one is three characters.
    ///
    /// # Errors
    /// When the kind of storage isn't built in, the location is no path, or the settings don't fit it.
    pub fn locate(&self, location: &str) -> Result<Located, LocationError> {
        let refuse = |detail: String| LocationError { location: location.to_owned(), detail };
        let parsed = |path: &str| Path::parse(path).map_err(|error| refuse(error.to_string()));
        match parse(location)? {
            Parsed::Local(path) => {
                let path = path.trim_start_matches('/');
                let local = self.memory.is_none().then(|| PathBuf::from(format!("/{path}")));
                Ok(Located { store: self.local(), path: parsed(path)?, local })
            }
            Parsed::S3 { bucket, path } => {
                Ok(Located { store: self.bucket(location, bucket)?, path: parsed(path)?, local: None })
            }
        }
    }

    /// Opens a place of the profile: a relative folder is below `root`, and made if it isn't there.
    ///
    /// # Errors
    /// As [`Stores::locate`], and when the folder can't be made.
    pub fn place(&self, location: &str, root: &FilePath) -> Result<Place, LocationError> {
        let refuse = |detail: String| LocationError { location: location.to_owned(), detail };
        if let Parsed::S3 { bucket, path } = parse(location)? {
            let prefix = Path::parse(path).map_err(|error| refuse(error.to_string()))?;
            let store = PrefixStore::new(self.bucket(location, bucket)?, prefix);
            return Ok(Place { store: Arc::new(store), folder: None });
        }
        let folder = folder(location, root)?;
        if let Some(memory) = &self.memory {
            let prefix = Path::parse(folder.display().to_string()).map_err(|error| refuse(error.to_string()))?;
            return Ok(Place { store: Arc::new(PrefixStore::new(memory.clone(), prefix)), folder: None });
        }
        std::fs::create_dir_all(&folder)
            .map_err(|error| refuse(format!("{} can't be made: {error}", folder.display())))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| refuse(error.to_string()))?;
        Ok(Place { store: Arc::new(store.with_automatic_cleanup(true)), folder: Some(folder) })
    }

    fn local(&self) -> Arc<dyn ObjectStore> {
        if let Some(memory) = &self.memory {
            return memory.clone();
        }
        let mut opened = self.buckets.lock().expect("nothing panics while holding this lock");
        // No bucket has an empty name.
        opened.entry(String::new()).or_insert_with(|| Arc::new(LocalFileSystem::new())).clone()
    }

    fn bucket(&self, location: &str, name: &str) -> Result<Arc<dyn ObjectStore>, LocationError> {
        let mut opened = self.buckets.lock().expect("nothing panics while holding this lock");
        if let Some(store) = opened.get(name) {
            return Ok(store.clone());
        }
        let store = s3::open(name, &self.settings, self.credentials.clone())
            .map_err(|detail| LocationError { location: location.to_owned(), detail })?;
        opened.insert(name.to_owned(), store.clone());
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::ObjectStoreExt;

    use super::*;

    #[test]
    fn all_spellings_of_a_local_path_are_one_file() {
        for spelling in ["/tmp/a b/c", "file:///tmp/a b/c", "file:/tmp/a b/c"] {
            let located = Stores::default().locate(spelling).expect("a local path");
            assert_eq!(located.path.as_ref(), "tmp/a b/c", "{spelling}");
        }
    }

    #[tokio::test]
    async fn a_bucket_that_is_open_already_needs_no_settings() {
        let stores = Stores::default().with_bucket("lake", Arc::new(object_store::memory::InMemory::new()));
        let place = stores.place("s3://lake/state", FilePath::new("/")).expect("it is open");
        place.store.put(&Path::from("a"), Bytes::from_static(b"x").into()).await.expect("put");
        let located = stores.locate("s3://lake/state/a").expect("it is open");
        let found = located.store.get(&located.path).await.expect("the same bucket").bytes().await.expect("read");
        assert_eq!(found, Bytes::from_static(b"x"));
    }

    #[tokio::test]
    async fn a_place_is_made_and_holds_what_is_put() {
        let root = tempfile::tempdir().expect("a folder");
        let place = Stores::default().place("deep/state", root.path()).expect("made");
        place.store.put(&Path::from("a/b"), Bytes::from_static(b"x").into()).await.expect("put");
        assert!(root.path().join("deep/state/a/b").is_file());
        std::fs::write(root.path().join("occupied"), "").expect("written");
        let error = Stores::default().place("occupied/state", root.path()).expect_err("a file is in the way");
        assert!(error.to_string().contains("can't be made"), "{error}");
    }

    #[tokio::test]
    async fn what_is_put_in_memory_reaches_no_disk_and_is_found_by_clones() {
        let root = tempfile::tempdir().expect("a folder");
        let stores = Stores::in_memory();
        let place = stores.place("state", root.path()).expect("a place");
        place.store.put(&Path::from("a"), Bytes::from_static(b"x").into()).await.expect("put");
        let file = format!("file://{}/state/a", root.path().display());
        let located = stores.clone().locate(&file).expect("a path");
        let found = located.store.get(&located.path).await.expect("it is there").bytes().await.expect("read");
        located.make_durable().await.expect("nothing is to be done");
        assert_eq!(found, Bytes::from_static(b"x"));
        assert!(!root.path().join("state").exists() && Stores::in_memory().locate(&file).is_ok());
    }
}
