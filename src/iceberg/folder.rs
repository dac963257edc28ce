//! The folders of a table's files, looked into as they lie there. Only for what no table needs: what is in a table, its
//! metadata say.

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::Error as StoreError;
use object_store::path::Path;

use super::{IcebergError, StagedFile, Table};
use crate::event::EventTime;
use crate::store::{CutOff, Located, remove_cut_off_puts};

/// One of a table's two folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Data files, in folders by partition.
    Data,
    /// Metadata: manifests, their lists, the files of the table's states.
    Metadata,
}

impl Folder {
    /// Both.
    pub const ALL: [Folder; 2] = [Folder::Data, Folder::Metadata];

    /// Its name below the table's location.
    pub fn name(self) -> &'static str {
        match self {
            Folder::Data => "data",
            Folder::Metadata => "metadata",
        }
    }
}

/// A file that lies in a table's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path in the store.
    pub path: String,
    /// Its path below the folder.
    pub below: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: EventTime,
    /// Where the file system has it, if a put has left it unfinished: the store doesn't know of it.
    pub cut_off: Option<CutOff>,
}

impl Table {
    /// Where a folder lies.
    pub(super) fn folder(&self, folder: Folder) -> Result<Located, IcebergError> {
        let location = format!("{}/{}", self.location().trim_end_matches('/'), folder.name());
        Ok(self.stores.locate(&location)?)
    }

    /// The files below a folder, as the store lists them, page by page, then those of puts that were cut off; none if there is
    /// no such folder.
    pub fn files_in(
        &self,
        folder: Folder,
    ) -> Result<BoxStream<'static, Result<FoundFile, IcebergError>>, IcebergError> {
        let at = self.folder(folder)?;
        let (prefix, location) = (format!("{}/", at.path), format!("{}/{}", self.location(), folder.name()));
        let listing = at.store.list(Some(&at.path));
        let unlisted = location.clone();
        let found = listing.map_err(move |source| failed("list", &unlisted)(source)).map_ok(move |object| {
            let path = object.location.to_string();
            FoundFile {
                below: path.strip_prefix(&prefix).unwrap_or(&path).to_owned(),
                path,
                bytes: object.size,
                modified: EventTime(object.last_modified.timestamp_micros()),
                cut_off: None,
            }
        });
        let cut_off = stream::once(Table::cut_off_files(at, location)).map_ok(|files| stream::iter(files).map(Ok));
        Ok(found.chain(cut_off.try_flatten()).boxed())
    }

    async fn cut_off_files(at: Located, location: String) -> Result<Vec<FoundFile>, IcebergError> {
        let found = at.cut_off_puts().await.map_err(local_failed("list", location))?;
        let top = format!("/{}/", at.path);
        let file = |file: CutOff| {
            let path = file.path.to_string_lossy().into_owned();
            let below = path.strip_prefix(&top).unwrap_or(&path).to_owned();
            FoundFile { below, path, bytes: file.bytes, modified: file.modified, cut_off: Some(file) }
        };
        Ok(found.into_iter().map(file).collect())
    }

    /// Removes files of a folder for good; those that are gone already are fine.
    pub async fn remove_files(&self, folder: Folder, files: &[FoundFile]) -> Result<(), IcebergError> {
        let at = self.folder(folder)?;
        let location = format!("{}/{}", self.location(), folder.name());
        let cut_off: Vec<CutOff> = files.iter().filter_map(|file| file.cut_off.clone()).collect();
        remove_cut_off_puts(&cut_off).await.map_err(local_failed("remove files of", location.clone()))?;
        let path = |file: &FoundFile| Path::parse(&file.path).expect("the store has listed it by this path");
        let listed = files.iter().filter(|file| file.cut_off.is_none());
        let paths: Vec<_> = listed.map(|file| Ok(path(file))).collect();
        let mut removed = at.store.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(removed) = removed.next().await {
            match removed {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(source) => return Err(failed("remove files of", &location)(source)),
            }
        }
        Ok(())
    }

    /// Removes data files that were written for a change which certainly has not landed and never will. What stays behind is
    /// an orphan.
    pub async fn discard(&self, files: &[StagedFile]) {
        for file in files {
            if let Err(error) = self.inner.file_io().delete(&file.path).await {
                tracing::debug!(file = %file.path, %error, "a data file of a lost commit stays behind");
            }
        }
    }
}

fn failed(action: &'static str, location: &str) -> impl FnOnce(StoreError) -> IcebergError + use<> {
    let location = location.to_owned();
    move |source| IcebergError::Storage { action, location, source: source.into() }
}

fn local_failed(action: &'static str, location: String) -> impl FnOnce(std::io::Error) -> IcebergError {
    let store = |source: std::io::Error| StoreError::Generic { store: "LocalFileSystem", source: source.into() };
    move |source| failed(action, &location)(store(source))
}
