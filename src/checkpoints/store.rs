//! The folder of checkpoints: names, conditional puts, checks on reading. Run-independent; what only the owner of a
//! generation may do is in [`super::run`].
//!
//! Invariant: every file is put under a name that didn't exist, and never changed, heartbeats aside ([`super::heartbeat`]).
//! Never decides what to commit.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};

use super::layout::{Entry, Layout};
use super::{
    BeginRecord, CheckpointError, Claimant, Claimed, Generation, Manifest, ManifestId, StateFile, checksum_text,
};
use crate::store::{Place, Stores, cut_off_puts, make_durable, remove_cut_off_puts};

/// How often [`CheckpointStore::claim`] tries; runs that start at once each cost the others one attempt.
const CLAIM_ATTEMPTS_MAX: usize = 32;

/// Files up to this go in one request: it ends within the store's time-out on a slow line too.
const PUT_BYTES_MAX: usize = 16 << 20;
/// Parts of larger ones.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const PARTS_AT_ONCE_MAX: usize = 4;

/// The checkpoints of one job or one archived history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    layout: Layout,
    owner: String,
    /// The folder, if it is a local one: files in it are made durable after each put, which `object_store` doesn't do.
    folder: Option<PathBuf>,
}

/// What a new run finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// The newest manifest that counts.
    pub manifest: Option<Manifest>,
    /// As in [`BeginRecord::abandoned`]: newer ones than `manifest` that were left behind on purpose, up to this.
    pub abandoned: Option<ManifestId>,
}

impl Newest {
    /// The newest manifest's name.
    pub fn id(&self) -> Option<ManifestId> {
        self.manifest.as_ref().map(|manifest| manifest.id)
    }
}

impl CheckpointStore {
    /// The checkpoints of `owner` (a job's name, or the history table of an archiver) at a place.
    pub fn at(place: &Place, owner: &str) -> CheckpointStore {
        CheckpointStore { folder: place.folder.clone(), ..CheckpointStore::over(place.store.clone(), owner) }
    }

    /// As [`CheckpointStore::at`], of a place that needs no settings: a relative folder is below `root`, and made if it
    /// isn't there.
    ///
    /// # Errors
    /// When the location can't be used.
    pub fn open(location: &str, root: &FilePath, owner: &str) -> Result<CheckpointStore, CheckpointError> {
        Ok(CheckpointStore::at(&Stores::default().place(location, root)?, owner))
    }

    /// The checkpoints of `owner` in any object store that has conditional puts.
    pub fn over(store: Arc<dyn ObjectStore>, owner: &str) -> CheckpointStore {
        CheckpointStore { store, layout: Layout::new(owner), owner: owner.to_owned(), folder: None }
    }

    /// The job or history that the checkpoints are of.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Takes the next generation, which fences every run before. The first step of a run; see [`super`] for the others.
    ///
    /// Not idempotent, and needn't be: a claim whose answer was lost leaves a generation unused.
    ///
    /// # Errors
    /// When the store fails, another process has a live claim ([`CheckpointError::Held`]: wait for its end, then claim
    /// again), or a newer run has claimed in between ([`CheckpointError::Fenced`]: stop).
    pub async fn claim(&self, claimant: &Claimant) -> Result<Claimed, CheckpointError> {
        for _ in 0..CLAIM_ATTEMPTS_MAX {
            // Listed before the look at the holder: of runs that find nobody at once, one gets this number, and the
            // others find it taken, look again, and wait.
            let generation = self.newest_folder().await?.unwrap_or(Generation(0)).next();
            if let Some(holder) = self.other_holder(claimant).await? {
                return Err(CheckpointError::Held { owner: self.owner.clone(), holder: Box::new(holder) });
            }
            let path = self.layout.claim(generation);
            let claim = claimant.claim(generation);
            match self.put_new(&path, Bytes::from(claim.encode())).await? {
                Put::Taken => continue,
                Put::Done => {}
            }
            // Looked up again: if this run slept since it listed, others may have claimed, worked and collected the
            // claim that stood here, and this put must not count as a claim. Of runs that claim at once, all but the
            // last may end here too; trying again would only make them fence each other in turn.
            self.check_fence(generation).await?;
            return Ok(Claimed::new(self.clone(), claimant.clone(), claim));
        }
        Err(CheckpointError::Contended { owner: self.owner.clone(), attempts: CLAIM_ATTEMPTS_MAX })
    }

    /// The newest manifest that counts: of the greatest generation that has begun, its last one; if it has put none, the
    /// one that it continues. Manifests of older generations above that one are a fenced run's and don't count.
    ///
    /// Read it under a claim if anything is to be done with it: without one it may be outdated at once.
    ///
    /// # Errors
    /// When the store fails, a file is damaged, or one is missing that another names.
    pub async fn newest(&self) -> Result<Newest, CheckpointError> {
        for generation in self.generations().await?.into_iter().rev() {
            let entries = self.entries(generation).await?;
            if !entries.contains(&Entry::Begin) {
                continue;
            }
            let begin = self.read_begin(generation).await?;
            let last = entries.iter().filter_map(|entry| match entry {
                Entry::Manifest(number) => Some(ManifestId::new(generation, *number)),
                _ => None,
            });
            let manifest = match last.max() {
                Some(id) => Some(self.read_manifest(id, "the folder's listing").await?),
                None => match begin.after {
                    Some(id) => Some(self.read_manifest(id, self.layout.begin(generation).as_ref()).await?),
                    None => None,
                },
            };
            return Ok(Newest { manifest, abandoned: begin.abandoned });
        }
        Ok(Newest { manifest: None, abandoned: None })
    }

    /// Reads one manifest that is known to be there.
    ///
    /// # Errors
    /// When the store fails, or the file is missing, damaged or another one's.
    pub async fn manifest(&self, id: ManifestId) -> Result<Manifest, CheckpointError> {
        self.read_manifest(id, "the caller").await
    }

    /// Reads a state file and checks that it is the one that the manifest names.
    ///
    /// # Errors
    /// When the store fails, or the file is missing or differs in length or checksum.
    pub async fn get_state(&self, file: &StateFile) -> Result<Bytes, CheckpointError> {
        let path = self.layout.below_owner(&file.path).ok_or_else(|| CheckpointError::Damaged {
            path: file.path.clone(),
            detail: "its manifest names it by a path outside its folder".to_owned(),
        })?;
        let bytes = self.read(&path, "its checkpoint").await?;
        if bytes.len() as u64 != file.bytes {
            let detail = format!("it has {} bytes, {} were written", bytes.len(), file.bytes);
            return Err(CheckpointError::Damaged { path: path.to_string(), detail });
        }
        let found = checksum_text(&bytes);
        if found != file.checksum {
            let detail = format!("its checksum is {found}, {} was written", file.checksum);
            return Err(CheckpointError::Damaged { path: path.to_string(), detail });
        }
        Ok(bytes)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn objects(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// Refuses when a newer generation than `mine` is claimed, and names it.
    ///
    /// # Errors
    /// [`CheckpointError::Fenced`], or when the store fails.
    pub async fn check_fence(&self, mine: Generation) -> Result<(), CheckpointError> {
        // A folder alone isn't a claim: a start that failed on a full disk leaves one, and takes nothing over.
        for newest in self.generations().await?.range(mine.next()..).rev().copied() {
            let entries = self.entries(newest).await?;
            if entries.contains(&Entry::Claim) {
                // Who it is only makes the message better.
                let by = self.read_claim(newest, &entries).await.unwrap_or_default().map(Box::new);
                return Err(CheckpointError::Fenced { mine, newest, by });
            }
        }
        Ok(())
    }

    /// Generations with any file, ascending.
    pub(super) async fn generations(&self) -> Result<BTreeSet<Generation>, CheckpointError> {
        let owner = self.layout.owner();
        let listing = self.store.list_with_delimiter(Some(owner)).await.map_err(|source| read_error(owner, source))?;
        Ok(listing.common_prefixes.iter().filter_map(Layout::parse_generation).collect())
    }

    /// What lies directly in a generation's folder, in no order.
    pub(super) async fn entries(&self, generation: Generation) -> Result<Vec<Entry>, CheckpointError> {
        let folder = self.layout.generation(generation);
        let listing =
            self.store.list_with_delimiter(Some(&folder)).await.map_err(|source| read_error(&folder, source))?;
        Ok(listing.objects.iter().filter_map(|object| Layout::parse_entry(&object.location)).collect())
    }

    /// The folders directly in a folder, in no order.
    pub(super) async fn folders(&self, folder: &Path) -> Result<Vec<Path>, CheckpointError> {
        let listing = self.store.list_with_delimiter(Some(folder)).await;
        Ok(listing.map_err(|source| read_error(folder, source))?.common_prefixes)
    }

    /// All files below a folder, in no order.
    pub(super) async fn list(&self, folder: &Path) -> Result<Vec<Path>, CheckpointError> {
        let files = self.store.list(Some(folder)).map_ok(|object| object.location);
        files.try_collect().await.map_err(|source| read_error(folder, source))
    }

    /// Removes a file; one that is gone already is fine.
    pub(super) async fn remove(&self, path: &Path) -> Result<(), CheckpointError> {
        match self.store.delete(path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(source) => Err(CheckpointError::Remove { path: path.to_string(), source: source.into() }),
        }
    }

    /// Removes what puts of a generation have left that were cut off; returns how many files.
    pub(super) async fn remove_cut_off_puts(&self, generation: Generation) -> Result<usize, CheckpointError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let path = self.layout.generation(generation);
        let failed = |source: std::io::Error| {
            let source = StoreError::Generic { store: "LocalFileSystem", source: source.into() };
            CheckpointError::Remove { path: path.to_string(), source: source.into() }
        };
        let found = cut_off_puts(folder.join(path.as_ref())).await.map_err(failed)?;
        remove_cut_off_puts(&found).await.map_err(failed)?;
        Ok(found.len())
    }

    pub(super) async fn read_begin(&self, generation: Generation) -> Result<BeginRecord, CheckpointError> {
        let path = self.layout.begin(generation);
        let bytes = self.read(&path, "the folder's listing").await?;
        let begin = BeginRecord::decode(&bytes)
            .map_err(|source| CheckpointError::BadManifest { path: path.to_string(), source })?;
        if begin.generation != generation {
            let detail = format!("it is of generation {}", begin.generation);
            return Err(CheckpointError::Damaged { path: path.to_string(), detail });
        }
        Ok(begin)
    }

    pub(super) async fn read_manifest(&self, id: ManifestId, named_by: &str) -> Result<Manifest, CheckpointError> {
        let path = self.layout.manifest(id);
        let bytes = self.read(&path, named_by).await?;
        let bad = |source| CheckpointError::BadManifest { path: path.to_string(), source };
        let manifest = Manifest::decode(&bytes).map_err(bad)?;
        if manifest.id != id {
            return Err(bad(super::BadManifest::Misplaced { found: manifest.id }));
        }
        if manifest.owner != self.owner {
            let detail = format!("it is a checkpoint of {}", manifest.owner);
            return Err(CheckpointError::Damaged { path: path.to_string(), detail });
        }
        Ok(manifest)
    }

    /// Puts a file under a name that is this run's alone. Idempotent: if it is there already with these bytes, an
    /// earlier attempt whose answer was lost has put it.
    pub(super) async fn put_own(&self, path: &Path, bytes: Bytes) -> Result<(), CheckpointError> {
        if bytes.len() > PUT_BYTES_MAX {
            return self.put_parts(path, bytes).await;
        }
        match self.put_new(path, bytes.clone()).await? {
            Put::Done => Ok(()),
            Put::Taken if self.read(path, "a put").await? == bytes => self.sync(path).await,
            Put::Taken => Err(CheckpointError::Taken { path: path.to_string() }),
        }
    }

    /// The greatest generation that ever left a trace; a number above it was never used, whatever was collected.
    async fn newest_folder(&self) -> Result<Option<Generation>, CheckpointError> {
        Ok(self.generations().await?.last().copied())
    }

    /// Whether `id` is in the line of `newest`, so no fenced run's.
    pub(super) async fn is_in_line(&self, id: ManifestId, newest: Option<ManifestId>) -> Result<bool, CheckpointError> {
        let mut above = newest;
        while let Some(step) = above {
            if step.generation <= id.generation {
                let there = self.entries(id.generation).await?.contains(&Entry::Manifest(id.number));
                return Ok(there && id <= step);
            }
            above = match self.read_begin(step.generation).await {
                Ok(begin) => begin.after,
                // Collected, and so are the manifests before it.
                Err(CheckpointError::Missing { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(false)
    }

    async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<Put, CheckpointError> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, PutPayload::from_bytes(bytes), create).await {
            Ok(_) => self.sync(path).await.map(|()| Put::Done),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Put::Taken),
            Err(source) => Err(CheckpointError::Write { path: path.to_string(), source: source.into() }),
        }
    }

    /// Puts a large file in parts. No condition can go with that, so a file that is there is looked for first; between
    /// the two nobody else puts one of this name, as it is a claimed generation's.
    async fn put_parts(&self, path: &Path, bytes: Bytes) -> Result<(), CheckpointError> {
        let failed = |source: StoreError| CheckpointError::Write { path: path.to_string(), source: source.into() };
        match self.store.head(path).await {
            Ok(_) if self.read(path, "a put").await? == bytes => return self.sync(path).await,
            Ok(_) => return Err(CheckpointError::Taken { path: path.to_string() }),
            Err(StoreError::NotFound { .. }) => {}
            Err(source) => return Err(read_error(path, source)),
        }
        let upload = self.store.put_multipart(path).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for start in (0..bytes.len()).step_by(PART_BYTES) {
            upload.wait_for_capacity(PARTS_AT_ONCE_MAX).await.map_err(failed)?;
            upload.put(bytes.slice(start..bytes.len().min(start + PART_BYTES)));
        }
        upload.finish().await.map_err(failed)?;
        self.sync(path).await
    }

    /// What a put leaves whose process ends in the middle of it: for a kill point only.
    pub(super) async fn put_half(&self, path: &Path, bytes: &Bytes) -> Result<(), CheckpointError> {
        let failed = |source: StoreError| CheckpointError::Write { path: path.to_string(), source: source.into() };
        let mut upload = self.store.put_multipart(path).await.map_err(failed)?;
        upload.put_part(PutPayload::from_bytes(bytes.slice(..bytes.len() / 2))).await.map_err(failed)
    }

    pub(super) async fn read(&self, path: &Path, named_by: &str) -> Result<Bytes, CheckpointError> {
        let result = match self.store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        result.map_err(|source| match source {
            StoreError::NotFound { .. } => {
                CheckpointError::Missing { path: path.to_string(), named_by: named_by.to_owned() }
            }
            source => read_error(path, source),
        })
    }

    /// Makes a local file and its name survive a loss of power: the durable order would be void if a table's commit
    /// reached the disk before the manifest did.
    async fn sync(&self, path: &Path) -> Result<(), CheckpointError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let file = path.parts().fold(folder.clone(), |above, part| above.join(part.as_ref()));
        let done = make_durable(file, folder).await;
        done.map_err(|source| CheckpointError::Sync { path: path.to_string(), source })
    }
}

/// How a conditional put ended.
enum Put {
    Done,
    Taken,
}

fn read_error(path: &Path, source: StoreError) -> CheckpointError {
    CheckpointError::Read { path: path.to_string(), source: source.into() }
}
