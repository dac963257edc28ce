//! Publishing in the durable order: files, manifest, tables, collection. Performs what
//! [`crate::checkpoints::Checkpoint`] decides.
//! Invariant: every step may be repeated; a commit whose answer was lost is looked up, never assumed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde_json::Value;

use super::change::change;
use super::outage::{is_outage, may_pass};
use super::pause::Pause;
use super::rollback::rollback;
use super::take::properties_of;
use super::{PublishError, Target, stage};
use crate::checkpoints::{
    Action, Begun, Checkpoint, CheckpointError, Event, Heartbeat, Manifest, ManifestId, ProtocolError, StateContent,
    StateFile, TableSeen, generation_property,
};
use crate::event::TableName;
use crate::iceberg::{Catalog, Change, CommitError, StagedFile, Table};
use crate::kill_point::KillPoint;
use crate::vitals::{Outside, Vitals};

/// A run that may publish: the one sink, whose contract `conformance` tries on every catalog and in every store.
///
/// - What is staged is in no table before [`Publisher::publish`] is given a manifest that names it, and never if it isn't.
/// - A manifest is in its tables once when `publish` returns: all that goes and comes in a table, its checkpoint and its
///   offsets, as one snapshot. Given again, it changes nothing.
/// - A manifest that was put is in its tables once when the next run has begun ([`super::Taken::begin`]), whatever had
///   been committed of it.
/// - A run that a newer one has taken over from publishes nothing any more, and says so.
/// - What others commit to the tables meanwhile stays; a table that was made anew is left alone.
///
/// A store or a catalog that is away is no error: calls wait for it, and tell `vitals` that they do.
#[derive(Clone, Debug)]
pub struct Publisher {
    pub(super) catalog: Catalog,
    pub(super) owner: String,
    pub(super) begun: Begun,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) tables: BTreeMap<TableName, Table>,
    pub(super) vitals: Vitals,
    pub(super) accepts_rollback: bool,
}

impl Publisher {
    /// Where state files and manifests go.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// The renewals of the run's claim: whoever drives the run listens for a newer one, and releases it at the end.
    pub fn heartbeat(&self) -> &Arc<Heartbeat> {
        &self.heartbeat
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The tables of the run, as they were when it began: for schemas and partitionings.
    pub fn table(&self, name: &TableName) -> &Table {
        self.tables.get(name).expect("every table of the job was claimed")
    }

    /// Every table of the run.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// Writes rows that share one schema into files of `table`, sorted by its sort columns, however long store or catalog
    /// take. Nothing is visible yet.
    pub async fn stage(
        &self,
        table: &TableName,
        sort: &[String],
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<StagedFile>, PublishError> {
        let mut pause = Pause::new(&self.vitals, Outside::Tables, "write rows");
        loop {
            match stage(self.table(table), sort, batches.clone()).await {
                Ok(files) => {
                    pause.passed();
                    return Ok(files);
                }
                Err(error) if is_outage(&error) => pause.wait(&error).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a state file durable, however long the store takes; see [`Begun::put_state`].
    pub async fn put_state(
        &self,
        number: u64,
        name: &str,
        bytes: Bytes,
        content: StateContent,
    ) -> Result<StateFile, PublishError> {
        let mut pause = Pause::new(&self.vitals, Outside::Checkpoints, "put a state file");
        loop {
            match self.begun.put_state(number, name, bytes.clone(), content.clone()).await {
                Ok(file) => {
                    pause.passed();
                    return Ok(file);
                }
                Err(error) if error.is_outage() => pause.wait(&error).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a checkpoint durable and its changes visible. All files that the manifest names are written. Repeats what
    /// fails for ever, as an outage ends some day; returns early only with what will fail again.
    pub async fn publish(&self, manifest: Manifest) -> Result<(), PublishError> {
        KillPoint::FilesWritten.reach();
        let open = Checkpoint::open(self.begun.identity(), true);
        let (checkpoint, actions) = open.step(Event::FilesWritten(Arc::new(manifest)));
        self.perform(checkpoint, actions).await
    }

    /// Widens a table of the run to its spec, and sets properties in the same commit, however long the catalog takes. What
    /// has changed, in words.
    pub async fn evolve(
        &mut self,
        target: &Target,
        properties: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, PublishError> {
        let name = &target.table;
        let layout = |difference| PublishError::Layout { table: name.clone(), difference };
        let mut pause = Pause::new(&self.vitals, Outside::Tables, "widen a table");
        let mut changes = Vec::new();
        loop {
            let gone = || CommitError::TableGone { table: name.clone(), detail: "doesn't exist any more".to_owned() };
            let refused = |source| PublishError::Commit { table: name.clone(), source: Box::new(source) };
            let table = self.look_up(name).await.ok_or_else(gone).map_err(refused)?;
            self.check_claim(&table)?;
            let evolution = table.evolution(&target.spec).map_err(layout)?;
            if evolution.changes.is_empty()
                && properties.iter().all(|(key, value)| table.properties().get(key) == Some(value))
            {
                self.tables.insert(name.clone(), table);
                return Ok(changes);
            }
            if !evolution.changes.is_empty() {
                changes.clone_from(&evolution.changes);
            }
            match self.catalog.evolve_on(&table, &evolution, properties).await {
                // Looked at again: it must be as wanted, whatever others did meanwhile.
                Ok(()) => pause.passed(),
                Err(error) if may_pass(&error) => pause.wait(&error).await,
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Whether the table is still this run's.
    fn check_claim(&self, table: &Table) -> Result<(), PublishError> {
        let key = generation_property(&self.owner);
        let (own, found) = (self.begun.identity().generation.padded(), table.properties().get(&key));
        if found == Some(&own) {
            return Ok(());
        }
        let (table, found) = (table.name().clone(), found.cloned().unwrap_or_else(|| "absent".to_owned()));
        let source = CommitError::Fenced { table: table.clone(), key, expected: own, found };
        Err(PublishError::Commit { table, source: Box::new(source) })
    }

    /// Commits a change that keeps a table's rows, such as a compaction, as long as this run owns the table. Conflicts are
    /// not retried: what it replaces may be gone.
    pub async fn replace(&self, change: Change) -> Result<(), CommitError> {
        let generation = self.begun.identity().generation.padded();
        let fence = Some((generation_property(&self.owner), Some(generation)));
        self.catalog.commit(&Change { fence, ..change }).await.map(|_| ())
    }

    pub(super) async fn perform(&self, mut checkpoint: Checkpoint, actions: Vec<Action>) -> Result<(), PublishError> {
        let mut actions: VecDeque<Action> = actions.into();
        let mut seen: HashMap<TableName, Table> = HashMap::new();
        let mut pause = Pause::new(&self.vitals, Outside::Tables, "commit to a table");
        while let Some(action) = actions.pop_front() {
            let event = match action {
                Action::PutManifest(manifest) => self.put(&manifest).await?,
                Action::LookUp(table) => {
                    let loaded = self.look_up(&table).await;
                    let looks = loaded.as_ref().map(|table| self.seen(table)).transpose()?;
                    if let Some(loaded) = loaded {
                        seen.insert(table.clone(), loaded);
                    }
                    Event::TableSeen { table, seen: looks }
                }
                Action::Commit { manifest, table } => {
                    let on = seen.remove(&table).expect("a commit follows a look at its table");
                    self.commit(&manifest, &on, &mut pause).await?
                }
                Action::Publish(_) => continue,
                Action::Collect(id) => {
                    self.collect(id).await?;
                    Event::Collected
                }
                Action::Stop(error) => return Err(self.stopped(error).await),
            };
            let has_committed = matches!(event, Event::TableCommitted { .. });
            let (next, more) = checkpoint.step(event);
            checkpoint = next;
            if has_committed && !checkpoint.is_committed() {
                KillPoint::BetweenTables.reach();
            }
            actions.extend(more);
        }
        Ok(())
    }

    /// Why the protocol says that the run must stop; a newer run is named as well as the store can.
    async fn stopped(&self, error: ProtocolError) -> PublishError {
        let store = self.begun.store();
        match error {
            ProtocolError::Fenced { .. } | ProtocolError::FencedInStore { .. } => {
                match store.check_fence(self.begun.identity().generation).await {
                    Err(named @ CheckpointError::Fenced { .. }) => named.into(),
                    _ => error.into(),
                }
            }
            _ => error.into(),
        }
    }

    /// Checks that the files which a checkpoint of an earlier run has still to publish are there: a table that names a file
    /// that isn't can't be read any more.
    ///
    /// # Errors
    /// [`PublishError::StagedGone`].
    pub(super) async fn check_staged(&self, manifest: &Manifest) -> Result<(), PublishError> {
        let mut staged: Vec<(&TableName, &Value)> = Vec::new();
        for change in &manifest.tables {
            let Some(table) = self.tables.get(&change.table) else { continue };
            if properties_of(table, &self.owner)?.checkpoint < Some(manifest.id) {
                staged.extend(change.add.iter().map(|file| (&change.table, file)));
            }
        }
        staged.extend(manifest.held.iter().map(|held| (&held.table, &held.file)));
        let mut pause = Pause::new(&self.vitals, Outside::Tables, "look for staged files");
        for (name, file) in staged {
            // One that can't be read back is told when it is committed; a table that is gone before.
            let Ok(file) = serde_json::from_value::<StagedFile>(file.clone()) else { continue };
            let Some(table) = self.tables.get(name) else { continue };
            loop {
                match file.is_there(table).await {
                    Ok(true) => break,
                    Ok(false) => {
                        let (table, path) = (name.clone(), file.path);
                        return Err(PublishError::StagedGone { table, id: manifest.id, path });
                    }
                    Err(error) if is_outage(&error) => pause.wait(&error).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        pause.passed();
        Ok(())
    }

    async fn put(&self, manifest: &Manifest) -> Result<Event, PublishError> {
        let mut pause = Pause::new(&self.vitals, Outside::Checkpoints, "put a checkpoint");
        loop {
            match self.begun.put(manifest).await {
                Ok(()) => {
                    pause.passed();
                    KillPoint::ManifestWritten.reach();
                    return Ok(Event::ManifestPut);
                }
                Err(CheckpointError::Fenced { newest, .. }) => return Ok(Event::FencedInStore { newest }),
                Err(error) if error.is_outage() => pause.wait(&error).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn look_up(&self, name: &TableName) -> Option<Table> {
        let mut pause = Pause::new(&self.vitals, Outside::Tables, "load a table");
        loop {
            match self.catalog.load(name).await {
                Ok(table) => {
                    pause.passed();
                    return table;
                }
                Err(error) => pause.wait(&error).await,
            }
        }
    }

    fn seen(&self, table: &Table) -> Result<TableSeen, PublishError> {
        let properties = properties_of(table, &self.owner)?;
        Ok(TableSeen {
            uuid: table.uuid(),
            generation: properties.generation,
            checkpoint: properties.checkpoint,
            rolled_back: rollback(table, &self.owner, &properties).filter(|_| !self.accepts_rollback),
        })
    }

    async fn commit(&self, manifest: &Manifest, on: &Table, pause: &mut Pause<'_>) -> Result<Event, PublishError> {
        let table = on.name().clone();
        let staged = manifest.tables.iter().find(|change| change.table == table).expect("only changed tables commit");
        let generation = self.begun.identity().generation;
        let change = match change(&self.owner, generation, manifest, staged, on).await {
            Ok(change) => change,
            // Files that others remove while they are read count as an outage too: the next look no longer finds them.
            Err(PublishError::Iceberg(error)) if is_outage(&error) => {
                pause.wait(&error).await;
                return Ok(Event::CommitUnknown { table });
            }
            Err(error) => return Err(error),
        };
        match self.catalog.commit_on(on, &change).await {
            Ok(_) => {
                self.vitals.landed();
                pause.passed();
                Ok(Event::TableCommitted { table })
            }
            Err(CommitError::Conflict { .. } | CommitError::Fenced { .. }) if pause.is_fresh() => {
                // Somebody was first, as a background rewrite of our own may be: the next try most likely lands.
                self.vitals.repeated();
                pause.grow();
                Ok(Event::CommitUnknown { table })
            }
            Err(error) if may_pass(&error) => {
                self.vitals.repeated();
                pause.wait(&error).await;
                Ok(Event::CommitUnknown { table })
            }
            Err(error) => Err(PublishError::Commit { table, source: Box::new(error) }),
        }
    }

    async fn collect(&self, id: ManifestId) -> Result<(), PublishError> {
        match self.begun.collect(id).await {
            Ok(_) => Ok(()),
            Err(error @ CheckpointError::Fenced { .. }) => Err(error.into()),
            // What wasn't removed now is removed after the next checkpoint.
            Err(error) => {
                tracing::warn!(%error, "old checkpoints were not collected");
                Ok(())
            }
        }
    }
}
