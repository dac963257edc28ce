//! Savepoints: checkpoints that the user keeps. Each is a folder of its own with copies of all the state that it needs, so
//! that no collection touches it:
//!
//! ```text
//! <owner>/savepoints/<name>/savepoint.json               put last: without it there is no savepoint
//! <owner>/savepoints/<name>/state/<insert>-<leg>-<number>-<checksum>.parquet
//! ```
//!
//! The state is that of the checkpoint, as Parquet that people can read ([`crate::state::to_parquet`]); programs before that
//! copied it as it is, to `.arrow`, which is read too. `src/state/README.md` describes both files.
//!
//! Invariant: a savepoint is never changed, and its name not used twice while it is there.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::layout::PARQUET;
use super::manifest::{BadManifest, decode, encode};
use super::{CheckpointError, CheckpointStore, Manifest, StateFile, checksum_text};
use crate::event::EventTime;
use crate::state::{LegColumns, StateError, decode as decode_state, from_parquet, to_parquet};
use crate::windows::{ASIDE, Gone};

/// Characters of a name at most, so that every store takes it.
const NAME_CHARS_MAX: usize = 100;

/// How often copying begins again when a running job collects the checkpoint meanwhile: it keeps two, and each attempt
/// takes the newest.
const COPIES_MAX: usize = 5;

/// The name of a savepoint: small letters, digits and `-`, not `-` first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SavepointName(String);

/// A text that can't name a savepoint.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} can't be the name of a savepoint: use small letters, digits and `-`, a letter or digit first, \
     {NAME_CHARS_MAX} at most, such as before-holidays"
)]
pub struct BadSavepointName {
    text: String,
}

impl SavepointName {
    /// As users write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SavepointName {
    type Err = BadSavepointName;

    fn from_str(text: &str) -> Result<SavepointName, BadSavepointName> {
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let good = !text.is_empty() && !text.starts_with('-') && text.len() <= NAME_CHARS_MAX;
        match good && text.chars().all(plain) {
            true => Ok(SavepointName(text.to_owned())),
            false => Err(BadSavepointName { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for SavepointName {
    type Error = BadSavepointName;

    fn try_from(text: String) -> Result<SavepointName, BadSavepointName> {
        text.parse()
    }
}

impl From<SavepointName> for String {
    fn from(name: SavepointName) -> String {
        name.0
    }
}

impl fmt::Display for SavepointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kept checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Savepoint {
    /// Its name.
    pub name: SavepointName,
    /// When it was made, by the clock of the machine that made it.
    pub created: EventTime,
    /// Why, in words.
    pub reason: String,
    /// The checkpoint; its state files are the copies.
    pub manifest: Manifest,
}

impl Savepoint {
    /// The bytes of its description.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Savepoint::encode`] wrote, after checking it.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Savepoint, BadManifest> {
        decode(bytes)
    }
}

/// What a savepoint is made with.
#[derive(Clone, Debug)]
pub struct SavepointLabel {
    /// Its name.
    pub name: SavepointName,
    /// The time of now.
    pub created: EventTime,
    /// Why, in words.
    pub reason: String,
}

/// What people call the columns of a job's state. State of another version has names of its own.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    /// The job's version.
    pub fingerprint: &'a str,
    /// For each of the legs of all INSERTs.
    pub legs: &'a [LegColumns],
}

/// The panes in a state file that it is listed for, as others are closed or written again elsewhere.
fn listed(bytes: &[u8], file: &StateFile) -> Result<Vec<(EventTime, RecordBatch)>, StateError> {
    let mut panes = decode_state(bytes)?;
    panes.retain(|(start, _)| file.panes.contains(start));
    Ok(panes)
}

/// The Parquet bytes of a state file, and the file as they have it: with the panes and rows in it that are there.
fn shown(
    bytes: &[u8],
    file: &StateFile,
    columns: Option<&LegColumns>,
    gone: &Gone,
) -> Result<(Bytes, StateFile), StateError> {
    let panes = listed(bytes, file)?.into_iter().map(|(start, rows)| (start, gone.without(file.leg, rows)));
    let panes: Vec<_> = panes.filter(|(_, rows)| rows.num_rows() > 0).collect();
    let starts = panes.iter().map(|(start, _)| *start).collect();
    let rows = panes.iter().map(|(_, rows)| rows.num_rows() as u64).sum();
    let bytes = Bytes::from(to_parquet(&panes, columns)?);
    let (length, checksum) = (bytes.len() as u64, checksum_text(&bytes));
    Ok((bytes, StateFile { bytes: length, checksum, rows, panes: starts, ..file.clone() }))
}

impl CheckpointStore {
    /// The open windows in a state file of a checkpoint or savepoint. Only the panes that it is listed for count.
    ///
    /// # Errors
    /// When the store fails, or the file is missing or damaged, or can't be read though it is what was written.
    pub async fn panes(&self, file: &StateFile) -> Result<Vec<(EventTime, RecordBatch)>, CheckpointError> {
        let bytes = self.get_state(file).await?;
        let is_parquet = file.path.ends_with(PARQUET);
        let panes = if is_parquet { from_parquet(bytes) } else { decode_state(&bytes) };
        let mut panes = panes.map_err(|source| CheckpointError::State { path: file.path.clone(), source })?;
        panes.retain(|(start, _)| file.panes.contains(start));
        Ok(panes)
    }

    /// Keeps the newest checkpoint; `None`: there is none. The job may be running.
    ///
    /// # Errors
    /// As [`CheckpointStore::keep`]; [`CheckpointError::Missing`] when a running job makes checkpoints faster than they can
    /// be copied.
    pub async fn keep_newest(
        &self,
        label: &SavepointLabel,
        version: &Version<'_>,
    ) -> Result<Option<Savepoint>, CheckpointError> {
        let mut attempt = 0;
        loop {
            let kept = match self.newest().await {
                Ok(newest) => match newest.manifest {
                    Some(manifest) => self.keep(label, &manifest, version).await.map(Some),
                    None => return Ok(None),
                },
                Err(error) => Err(error),
            };
            attempt += 1;
            match kept {
                Err(CheckpointError::Missing { .. }) if attempt < COPIES_MAX => {}
                kept => return kept,
            }
        }
    }

    /// Keeps a checkpoint: copies its state as Parquet, with the names of `version` if it is of that, then puts the
    /// savepoint. A crash in between leaves files that deleting the
    /// savepoint of that name removes.
    ///
    /// # Errors
    /// When the store fails, state is missing or damaged, or there is a savepoint of that name.
    pub async fn keep(
        &self,
        label: &SavepointLabel,
        manifest: &Manifest,
        version: &Version<'_>,
    ) -> Result<Savepoint, CheckpointError> {
        let path = self.layout().savepoint(&label.name);
        if self.exists(&label.name).await? {
            return Err(self.taken(&label.name));
        }
        let not_kept = |file: &StateFile| {
            let path = file.path.clone();
            |source| CheckpointError::NotKept { path, source }
        };
        // Files of windows that the data makes may say that rows in others of them are gone.
        let mut gone = Gone::default();
        for file in manifest.state.iter().filter(|file| file.panes.contains(&EventTime(ASIDE))) {
            let panes = listed(&self.get_state(file).await?, file).map_err(not_kept(file))?;
            panes.iter().for_each(|(_, rows)| gone.note(file.leg, rows));
        }
        let mut state = Vec::with_capacity(manifest.state.len());
        for (number, file) in manifest.state.iter().enumerate() {
            let columns = version.legs.get(file.leg).filter(|_| version.fingerprint == manifest.fingerprint);
            let (bytes, copy) = shown(&self.get_state(file).await?, file, columns, &gone).map_err(not_kept(file))?;
            if copy.rows == 0 {
                continue;
            }
            let path = self.layout().savepoint_state(&label.name, number, (file, &copy.checksum));
            let copy = StateFile { path, ..copy };
            let place = self.layout().below_owner(&copy.path);
            self.put_own(&place.expect("a savepoint's name makes a path inside the folder"), bytes).await?;
            state.push(copy);
        }
        let savepoint = Savepoint {
            name: label.name.clone(),
            created: label.created,
            reason: label.reason.clone(),
            // What it had staged is in the tables, or is put there by the next run, whatever is done with the savepoint.
            manifest: Manifest { state, tables: Vec::new(), ..manifest.clone() },
        };
        match self.put_own(&path, Bytes::from(savepoint.encode())).await {
            Err(CheckpointError::Taken { .. }) => Err(self.taken(&label.name)),
            done => done.map(|()| savepoint),
        }
    }

    /// All savepoints, oldest first.
    ///
    /// # Errors
    /// When the store fails, or one of them is damaged.
    pub async fn savepoints(&self) -> Result<Vec<Savepoint>, CheckpointError> {
        let mut savepoints = Vec::new();
        for name in self.savepoint_names().await? {
            // Without its last file it was never finished, or is being deleted.
            if self.exists(&name).await? {
                savepoints.push(self.savepoint(&name).await?);
            }
        }
        savepoints.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(savepoints)
    }

    /// Reads one savepoint.
    ///
    /// # Errors
    /// When the store fails, it is damaged, or there is none of that name.
    pub async fn savepoint(&self, name: &SavepointName) -> Result<Savepoint, CheckpointError> {
        let path = self.layout().savepoint(name);
        if !self.exists(name).await? {
            return Err(self.no_such(name).await?);
        }
        let bytes = self.read(&path, "the command line").await?;
        let bad = |source| CheckpointError::BadManifest { path: path.to_string(), source };
        let savepoint = Savepoint::decode(&bytes).map_err(bad)?;
        if savepoint.manifest.owner != self.owner() || savepoint.name != *name {
            let detail = format!("it is savepoint {} of {}", savepoint.name, savepoint.manifest.owner);
            return Err(CheckpointError::Damaged { path: path.to_string(), detail });
        }
        Ok(savepoint)
    }

    /// Deletes a savepoint, or what a crash has left of one. Idempotent but for the error when nothing is left.
    ///
    /// # Errors
    /// When the store fails, or there is none of that name.
    pub async fn delete_savepoint(&self, name: &SavepointName) -> Result<(), CheckpointError> {
        let files = self.list(&self.layout().savepoint_folder(name)).await?;
        if files.is_empty() {
            return Err(self.no_such(name).await?);
        }
        // From here on there is no savepoint; what it needed goes behind it.
        self.remove(&self.layout().savepoint(name)).await?;
        for file in files {
            self.remove(&file).await?;
        }
        Ok(())
    }

    async fn savepoint_names(&self) -> Result<BTreeSet<SavepointName>, CheckpointError> {
        let folders = self.folders(&self.layout().savepoints()).await?;
        Ok(folders.iter().filter_map(|folder| folder.filename()?.parse().ok()).collect())
    }

    async fn exists(&self, name: &SavepointName) -> Result<bool, CheckpointError> {
        let files = self.list(&self.layout().savepoint_folder(name)).await?;
        Ok(files.contains(&self.layout().savepoint(name)))
    }

    fn taken(&self, name: &SavepointName) -> CheckpointError {
        CheckpointError::SavepointTaken { owner: self.owner().to_owned(), name: name.clone() }
    }

    async fn no_such(&self, name: &SavepointName) -> Result<CheckpointError, CheckpointError> {
        let known = self.savepoint_names().await?.into_iter().collect();
        Ok(CheckpointError::NoSuchSavepoint { owner: self.owner().to_owned(), name: name.clone(), known })
    }
}
