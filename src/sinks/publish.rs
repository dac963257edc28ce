//! Publishing in the durable order: files, manifest, tables, collection. Performs what
//! [`crate::checkpoints::Checkpoint`] decides.
//! Invariant: every step may be repeated; a commit whose answer was lost is looked up, never assumed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::outage::{is_outage, may_pass};
use super::pause::Pause;
use super::rollback::rollback;
use super::take::properties_of;
use super::{PublishError, stage};
use crate::checkpoints::{
    Action, Begun, Checkpoint, CheckpointError, Event, Heartbeat, Manifest, ManifestId, Offsets,
    Operation as ManifestOperation, ProtocolError, StateContent, StateFile, TableChange, TableProperties, TableSeen,
    checkpoint_property, generation_property, snapshot_property,
};
use crate::event::TableName;
use crate::iceberg::{Catalog, Change, CommitError, Operation, StagedFile, Table};
use crate::vitals::{Outside, Vitals};

/// A run that may publish.
#[derive(Clone, Debug)]
pub struct Publisher {
    pub(super) catalog: Catalog,
    pub(super) owner: String,
    pub(super) begun: Begun,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) tables: BTreeMap<TableName, Table>,
    pub(super) vitals: Vitals,
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
        let open = Checkpoint::open(self.begun.identity(), true);
        let (checkpoint, actions) = open.step(Event::FilesWritten(Arc::new(manifest)));
        self.perform(checkpoint, actions).await
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
            let (next, more) = checkpoint.step(event);
            checkpoint = next;
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

    async fn put(&self, manifest: &Manifest) -> Result<Event, PublishError> {
        let mut pause = Pause::new(&self.vitals, Outside::Checkpoints, "put a checkpoint");
        loop {
            match self.begun.put(manifest).await {
                Ok(()) => {
                    pause.passed();
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
            rolled_back: rollback(table, &self.owner, &properties),
        })
    }

    async fn commit(&self, manifest: &Manifest, on: &Table, pause: &mut Pause<'_>) -> Result<Event, PublishError> {
        let table = on.name().clone();
        let staged = manifest.tables.iter().find(|change| change.table == table).expect("only changed tables commit");
        let change = self.change(manifest, staged, on)?;
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

    fn change(&self, manifest: &Manifest, staged: &TableChange, on: &Table) -> Result<Change, PublishError> {
        let unreadable = |detail| PublishError::Staged { table: staged.table.clone(), id: manifest.id, detail };
        let add = staged.add.iter().map(|file| serde_json::from_value::<StagedFile>(file.clone()));
        let add = add.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(error.to_string()))?;
        let offsets: Offsets = manifest
            .streams
            .iter()
            .map(|(stream, partitions)| {
                (stream.clone(), partitions.iter().map(|(&partition, at)| (partition, at.next_offset)).collect())
            })
            .collect();
        let ours =
            TableProperties { checkpoint: Some(manifest.id), offsets: Some(offsets), ..TableProperties::default() };
        let mut properties = staged.properties.clone();
        properties.extend(ours.format(&self.owner));
        let generation = self.begun.identity().generation.padded();
        let mut summary = staged.summary.clone();
        summary.insert("kappa.checkpoint".into(), manifest.id.padded());
        let add_nothing = add.is_empty();
        let operation = match staged.operation {
            ManifestOperation::Append => Operation::Append,
            ManifestOperation::Overwrite => Operation::Overwrite,
            ManifestOperation::Replace => Operation::Replace,
        };
        Ok(Change {
            add,
            properties,
            summary,
            marker: Some((checkpoint_property(&self.owner), manifest.id.padded())),
            fence: Some((generation_property(&self.owner), Some(generation))),
            snapshot_property: Some(snapshot_property(&self.owner)),
            operation: if add_nothing { Operation::Empty } else { operation },
            ..Change::nothing(on)
        })
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
