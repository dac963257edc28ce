//! Where table files live: an `iceberg::io::Storage` over `object_store`, chosen by the scheme of a location.
//! Invariant: a file is there whole or not at all, and stays after a crash of the machine once written.
//! Never caches content, never lists a table's folder to find out what is in the table.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::IcebergError;

/// The stores of one catalog, each opened at its first use.
#[derive(Clone, Default)]
pub(crate) struct Stores {
    properties: BTreeMap<String, String>,
    opened: Arc<Mutex<HashMap<String, Arc<dyn ObjectStore>>>>,
}

/// A location resolved to the store that holds it.
pub(crate) struct Located {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    /// Set on the local file system, where durability needs a call of its own.
    local: Option<PathBuf>,
}

impl std::fmt::Debug for Stores {
    /// Without the properties, which hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Stores {
    /// Stores configured by the catalog's properties.
    pub(crate) fn new(properties: &BTreeMap<String, String>) -> Stores {
        Stores { properties: properties.clone(), opened: Arc::default() }
    }

    /// The `FileIO` of tables over these stores; `more` are properties that the catalog gave for one table.
    pub(crate) fn file_io(&self, more: &HashMap<String, String>) -> FileIO {
        FileIOBuilder::new(Arc::new(ObjectStorageFactory)).with_props(&self.properties).with_props(more).build()
    }

    /// Finds the store of a location. Locations are taken literally: `%2F` in one is three characters.
    pub(crate) fn locate(&self, location: &str) -> std::result::Result<Located, IcebergError> {
        let (scheme, rest) = split_scheme(location);
        let refuse = |detail: String| IcebergError::Location { location: location.to_owned(), detail };
        if scheme != "file" {
            return Err(refuse(format!("no storage for `{scheme}://` in this build; use a folder or a file:// URL")));
        }
        let path = Path::parse(rest.trim_start_matches('/')).map_err(|error| refuse(error.to_string()))?;
        let mut opened = self.opened.lock().expect("nothing panics while holding this lock");
        let store = opened.entry(scheme.to_owned()).or_insert_with(|| Arc::new(LocalFileSystem::new())).clone();
        Ok(Located { store, path, local: Some(PathBuf::from(format!("/{}", rest.trim_start_matches('/')))) })
    }

    /// Writes a whole file, atomically and durably.
    async fn put(&self, location: &str, payload: PutPayload) -> Result<()> {
        let located = self.locate(location).map_err(invalid)?;
        located.store.put(&located.path, payload).await.map_err(|error| failed("write", location, error))?;
        located.make_durable().await.map_err(|error| failed("write", location, error))
    }
}

impl Located {
    /// Makes a file written before survive a crash of the machine. Object stores do so by themselves.
    pub(crate) async fn make_durable(&self) -> object_store::Result<()> {
        let Some(path) = self.local.clone() else { return Ok(()) };
        let generic = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic {
            store: "LocalFileSystem",
            source,
        };
        tokio::task::spawn_blocking(move || {
            std::fs::File::open(&path)?.sync_all()?;
            // The name of a new file is in its folder, which is a file of its own.
            path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        })
        .await
        .map_err(|error| generic(Box::new(error)))?
        .map_err(|error: std::io::Error| generic(Box::new(error)))
    }
}

/// Scheme and rest of a location; a plain path and `file:/path` are `file`.
fn split_scheme(location: &str) -> (&str, &str) {
    if let Some((scheme, rest)) = location.split_once("://") {
        return (scheme, rest);
    }
    ("file", location.strip_prefix("file:").unwrap_or(location))
}

fn invalid(error: IcebergError) -> Error {
    Error::new(ErrorKind::DataInvalid, error.to_string())
}

fn failed(action: &str, location: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::DataInvalid,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("can't {action} {location}: {error}"))
}

/// Makes [`ObjectStorage`] from a catalog's properties.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ObjectStorageFactory;

#[typetag::serde(name = "KappaObjectStorageFactory")]
impl StorageFactory for ObjectStorageFactory {
    fn build(&self, config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        let properties = config.props().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Arc::new(ObjectStorage { stores: Stores::new(&properties), properties }))
    }
}

/// Files of any scheme that this build has a store for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ObjectStorage {
    properties: BTreeMap<String, String>,
    #[serde(skip)]
    stores: Stores,
}

impl std::fmt::Debug for ObjectStorage {
    /// Without the properties, which hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStorage").finish_non_exhaustive()
    }
}

#[async_trait]
#[typetag::serde(name = "KappaObjectStorage")]
impl Storage for ObjectStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let located = self.stores.locate(path).map_err(invalid)?;
        match located.store.head(&located.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look for", path, error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let located = self.stores.locate(path).map_err(invalid)?;
        let found = located.store.head(&located.path).await.map_err(|error| failed("look for", path, error))?;
        Ok(FileMetadata { size: found.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let located = self.stores.locate(path).map_err(invalid)?;
        let found = located.store.get(&located.path).await.map_err(|error| failed("read", path, error))?;
        found.bytes().await.map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let located = self.stores.locate(path).map_err(invalid)?;
        Ok(Box::new(RangeReader { location: path.to_owned(), located }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.stores.put(path, bytes.into()).await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(WholeWriter { stores: self.stores.clone(), location: path.to_owned(), chunks: Vec::new() }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let located = self.stores.locate(path).map_err(invalid)?;
        match located.store.delete(&located.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path, error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let located = self.stores.locate(path).map_err(invalid)?;
        let found = located.store.list(Some(&located.path)).map_ok(|object| object.location).boxed();
        located
            .store
            .delete_stream(found)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
            .map_err(|error| failed("delete below", path, error))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

/// Reads ranges of one file.
struct RangeReader {
    location: String,
    located: Located,
}

#[async_trait]
impl FileRead for RangeReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let got = self.located.store.get_range(&self.located.path, range).await;
        got.map_err(|error| failed("read", &self.location, error))
    }
}

/// Gathers a metadata file and writes it whole when closed. Data files don't come this way, so it stays small.
struct WholeWriter {
    stores: Stores,
    location: String,
    chunks: Vec<Bytes>,
}

#[async_trait]
impl FileWrite for WholeWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.chunks.push(bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.stores.put(&self.location, self.chunks.drain(..).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_local_path_are_one_file() {
        for spelling in ["/tmp/a b/c", "file:///tmp/a b/c", "file:/tmp/a b/c"] {
            let located = Stores::default().locate(spelling).expect("a local path");
            assert_eq!(located.path.as_ref(), "tmp/a b/c", "{spelling}");
        }
    }

    #[test]
    fn a_scheme_without_storage_is_refused_with_the_way_out() {
        let error = Stores::default().locate("s3://bucket/key").err().expect("not in this build").to_string();
        assert!(error.contains("s3://bucket/key") && error.contains("file://"), "{error}");
    }

    #[tokio::test]
    async fn a_file_appears_only_when_its_writer_is_closed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let io = Stores::default().file_io(&HashMap::new());
        let location = format!("file://{}/x=a%2Fb/f.avro", folder.path().display());
        let output = io.new_output(&location).expect("an output");
        let mut writer = output.writer().await.expect("a writer");
        writer.write(Bytes::from_static(b"ab")).await.expect("written");
        assert!(!io.exists(&location).await.expect("asked"));
        writer.write(Bytes::from_static(b"c")).await.expect("written");
        writer.close().await.expect("closed");
        let input = io.new_input(&location).expect("an input");
        assert_eq!(input.read().await.expect("read"), Bytes::from_static(b"abc"));
        assert!(folder.path().join("x=a%2Fb/f.avro").exists(), "the name is literal");
        io.delete(&location).await.expect("deleted");
        io.delete(&location).await.expect("deleting what is gone is no error");
    }
}
