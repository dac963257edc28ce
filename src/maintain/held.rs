//! What checkpoints, savepoints among them, need of tables: files that wait for their commit, and the snapshots that they
//! published.
//! Invariant: looked up before the tables are loaded. A checkpoint that is collected in between is in its tables by then;
//! one that is made in between names only files that are young, or that one before it named.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::MaintainError;
use crate::checkpoints::{CheckpointStore, Manifest, ManifestId, checkpoint_property};
use crate::event::{EventTime, TableName};
use crate::iceberg::StagedFile;
use crate::store::Place;

/// What the checkpoints at one place need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// All jobs and archives that have ever claimed there.
    pub owners: BTreeSet<String>,
    /// By table, the locations of staged files.
    pub(super) staged: BTreeMap<TableName, BTreeSet<String>>,
    /// Summary entries of the snapshots that kept checkpoints published: property and value.
    pub(super) checkpoints: BTreeSet<(String, String)>,
    /// By owner, the newest checkpoint and its watermark.
    pub(super) newest: BTreeMap<String, (ManifestId, EventTime)>,
}

/// Looks up what the checkpoints at `state.location` need.
pub async fn held(state: &Place) -> Result<Held, MaintainError> {
    let owners = CheckpointStore::at(state, "").owners().await?;
    let mut held = Held { owners: owners.into_iter().collect(), ..Held::default() };
    for owner in held.owners.clone() {
        for manifest in CheckpointStore::at(state, &owner).kept().await? {
            held.take(&manifest)?;
        }
    }
    Ok(held)
}

impl Held {
    /// The watermark of a job's or an archive's newest checkpoint.
    pub(super) fn watermark_of(&self, owner: &str) -> Option<EventTime> {
        self.newest.get(owner).map(|(_, watermark)| *watermark)
    }

    pub(super) fn take(&mut self, manifest: &Manifest) -> Result<(), MaintainError> {
        let owner = &manifest.owner;
        self.checkpoints.insert((checkpoint_property(owner), manifest.id.padded()));
        let newest = self.newest.entry(owner.clone()).or_insert((manifest.id, manifest.watermark));
        *newest = (*newest).max((manifest.id, manifest.watermark));
        let added = manifest.tables.iter().flat_map(|change| change.add.iter().map(|file| (&change.table, file)));
        let waiting = manifest.held.iter().map(|held| (&held.table, &held.file));
        for (table, file) in added.chain(waiting) {
            let path = location(file).map_err(|error| MaintainError::Staged {
                table: table.clone(),
                owner: owner.clone(),
                id: manifest.id,
                detail: error.to_string(),
            })?;
            self.staged.entry(table.clone()).or_default().insert(path);
        }
        Ok(())
    }
}

fn location(file: &Value) -> Result<String, serde_json::Error> {
    serde_json::from_value::<StagedFile>(file.clone()).map(|file| file.path)
}

/// The jobs and archives that have claimed a table, by its properties.
pub(super) fn writers(properties: &HashMap<String, String>) -> impl Iterator<Item = String> {
    properties.keys().filter_map(|key| Some(key.strip_prefix("kappa.")?.strip_suffix(".generation")?.to_owned()))
}
