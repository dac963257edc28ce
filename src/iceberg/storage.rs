//! Table files for the `iceberg` crate: its `Storage` over our stores.
//! Invariant: a file is there whole or not at all, and stays after a crash of the machine once written.
//! Never caches content, never lists a table's folder to find out what is in the table.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::store::{CallError, Located, LocationError, Stores};

/// The `FileIO` of tables over these stores.
pub(crate) fn file_io(stores: &Stores) -> FileIO {
    FileIOBuilder::new(Arc::new(ObjectStorage { stores: stores.clone() })).build()
}

fn invalid(error: LocationError) -> Error {
    Error::new(ErrorKind::DataInvalid, error.to_string())
}

fn failed(action: &str, location: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::DataInvalid,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("can't {action} {location}")).with_source(CallError::from(error))
}

/// Files of every kind of location that this build has a store for. As a factory it makes itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ObjectStorage {
    // The crate can write a storage down to send it to another process, which nobody here does; settings hold secrets.
    #[serde(skip)]
    stores: Stores,
}

#[typetag::serde(name = "KappaObjectStorageFactory")]
impl StorageFactory for ObjectStorage {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

impl ObjectStorage {
    fn locate(&self, location: &str) -> Result<Located> {
        self.stores.locate(location).map_err(invalid)
    }

    /// Writes a whole file, atomically and durably.
    async fn put(&self, location: &str, payload: PutPayload) -> Result<()> {
        let located = self.locate(location)?;
        located.store.put(&located.path, payload).await.map_err(|error| failed("write", location, error))?;
        located.make_durable().await.map_err(|error| failed("write", location, error))
    }
}

#[async_trait]
#[typetag::serde(name = "KappaObjectStorage")]
impl Storage for ObjectStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let located = self.locate(path)?;
        match located.store.head(&located.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look for", path, error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let located = self.locate(path)?;
        let found = located.store.head(&located.path).await.map_err(|error| failed("look for", path, error))?;
        Ok(FileMetadata { size: found.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let located = self.locate(path)?;
        let found = located.store.get(&located.path).await.map_err(|error| failed("read", path, error))?;
        found.bytes().await.map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let located = self.locate(path)?;
        Ok(Box::new(RangeReader { location: path.to_owned(), located }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.put(path, bytes.into()).await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(WholeWriter { storage: self.clone(), location: path.to_owned(), chunks: Vec::new() }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let located = self.locate(path)?;
        match located.store.delete(&located.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path, error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let located = self.locate(path)?;
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
    storage: ObjectStorage,
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
        self.storage.put(&self.location, self.chunks.drain(..).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_appears_only_when_its_writer_is_closed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let io = file_io(&Stores::default());
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
