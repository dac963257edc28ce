//! Publishing in the durable order: files, manifest, tables, collection. Performs what
//! [`crate::checkpoints::Checkpoint`] decides.
//! Invariant: every step may be repeated; a commit whose answer was lost is looked up, never assumed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use thiserror::Error;

use super::change::change;
use super::pause::Pause;
use super::stage;

use crate::checkpoints::{
    Action, Begun, Checkpoint, CheckpointError, CheckpointStore, Claimed, Event, Manifest, ManifestId, Newest,
    PropertyError, ProtocolError, ReadNewest, StateContent, StateFile, TableProperties, TableSeen, Verdict,
    check_not_lost, generation_property,
};
use crate::event::TableName;
use crate::iceberg::{Catalog, Change, CommitError, IcebergError, StagedFile, Table, TableSpec};
use crate::vitals::{Outside, Vitals};

/// Why publishing stopped.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store of checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Another run, a rollback or lost state; never retried.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A table or the catalog.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// A table's property can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: PropertyError,
    },
    /// A table that is there doesn't fit the job.
    #[error("{table} doesn't fit the job: {difference}; write to another table, or change the SELECT list")]
    Layout {
        /// The table.
        table: TableName,
        /// What differs, column by column.
        difference: String,
    },
    /// A result table belongs to another job.
    #[error("{table} belongs to job {owner}, and a result table has one owner; write to a table of your own")]
    OtherOwner {
        /// The table.
        table: TableName,
        /// Whose it is.
        owner: String,
    },
    /// A commit was refused for a reason that repeating doesn't change.
    #[error("commit to {table} failed: {source}")]
    Commit {
        /// The table.
        table: TableName,
        /// What the catalog says.
        source: Box<CommitError>,
    },
    /// A staged file of a manifest can't be read back.
    #[error("a staged file for {table} in checkpoint {id} can't be read back: {detail}")]
    Staged {
        /// The table.
        table: TableName,
        /// The checkpoint.
        id: ManifestId,
        /// What is wrong.
        detail: String,
    },
}

/// A table that a run writes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub table: TableName,
    /// How it must look, or is made.
    pub spec: TableSpec,
    /// Whether it belongs to the run's job alone, as results do; late tables and rejects may be shared.
    pub owned: bool,
    /// Whether a table that lacks columns, or has narrower ones, is taken: [`Publisher::evolve`] then widens it.
    pub evolve: bool,
}

/// A run whose claims are made and whose newest checkpoint is known.
#[derive(Debug)]
pub struct Taken {
    catalog: Catalog,
    owner: String,
    read: ReadNewest,
    tables: BTreeMap<TableName, Table>,
    vitals: Vitals,
}

/// Claims the store, then every table by a commit, and only then reads the newest checkpoint. Tables that aren't there
/// are made. What fails and is repeated, then and later, is told to `vitals`.
pub async fn take(
    catalog: &Catalog,
    store: &CheckpointStore,
    targets: &[Target],
    vitals: &Vitals,
) -> Result<Taken, PublishError> {
    let owner = store.owner().to_owned();
    for target in targets {
        open_table(catalog, target, &owner).await?;
    }
    let claimed = store.claim().await?;
    let mut names: Vec<TableName> = targets.iter().map(|target| target.table.clone()).collect();
    for other in claimed.tables().await? {
        if !names.contains(&other.table) {
            names.push(other.table);
        }
    }
    let mut tables = BTreeMap::new();
    for name in &names {
        let owned = targets.iter().any(|target| target.table == *name && target.owned);
        if let Some(table) = claim_table(catalog, name, &owner, owned, &claimed, vitals).await? {
            tables.insert(name.clone(), table);
        }
    }
    let read = claimed.tables_claimed(&names).await?;
    for (name, table) in &tables {
        let properties = properties_of(table, &owner)?;
        check_not_lost(read.newest().id(), read.newest().abandoned, name, properties.checkpoint)?;
    }
    Ok(Taken { catalog: catalog.clone(), owner, read, tables, vitals: vitals.clone() })
}

/// Loads a table, or makes it; checks that it is what the run would have made.
async fn open_table(catalog: &Catalog, target: &Target, owner: &str) -> Result<Table, PublishError> {
    let table = match catalog.load(&target.table).await? {
        Some(table) => table,
        None => catalog.create(&target.table, &target.spec).await?,
    };
    let difference = match target.evolve {
        true => table.evolution(&target.spec).err(),
        false => table.difference(&target.spec),
    };
    if let Some(difference) = difference {
        return Err(PublishError::Layout { table: target.table.clone(), difference });
    }
    let properties = properties_of(&table, owner)?;
    match properties.owner {
        Some(other) if target.owned && other != owner => {
            Err(PublishError::OtherOwner { table: target.table.clone(), owner: other })
        }
        _ => Ok(table),
    }
}

/// Claims a table by an empty snapshot, so that any commit that an older run has prepared conflicts. `None`: it is gone,
/// which the newest checkpoint will say if it matters.
async fn claim_table(
    catalog: &Catalog,
    name: &TableName,
    owner: &str,
    owned: bool,
    claimed: &Claimed,
    vitals: &Vitals,
) -> Result<Option<Table>, PublishError> {
    let mut pause = Pause::new(vitals, Outside::Tables, "claim a table");
    loop {
        let Some(table) = catalog.load(name).await? else { return Ok(None) };
        let known = properties_of(&table, owner)?;
        match claimed.decide(name, known.generation).await? {
            Verdict::Done => {
                pause.passed();
                return Ok(Some(table));
            }
            Verdict::Commit => {}
        }
        let claim = TableProperties {
            owner: owned.then(|| owner.to_owned()),
            generation: Some(claimed.generation()),
            ..TableProperties::default()
        };
        let key = generation_property(owner);
        let change = Change {
            properties: claim.format(owner),
            fence: Some((key.clone(), table.properties().get(&key).cloned())),
            ..Change::nothing(&table)
        };
        match catalog.commit_on(&table, &change).await {
            // Looked at again: the claim must be ours, whatever others did meanwhile.
            Ok(_) => {}
            Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown { .. } | CommitError::Fenced { .. })) => {
                pause.wait(&error).await
            }
            Err(error) => return Err(PublishError::Commit { table: name.clone(), source: Box::new(error) }),
        }
    }
}

fn properties_of(table: &Table, owner: &str) -> Result<TableProperties, PublishError> {
    TableProperties::parse(owner, table.properties())
        .map_err(|source| PublishError::Property { table: table.name().clone(), source })
}

impl Taken {
    /// The newest checkpoint.
    pub fn newest(&self) -> &Newest {
        self.read.newest()
    }

    /// The tables that were claimed.
    pub fn tables(&self) -> &BTreeMap<TableName, Table> {
        &self.tables
    }

    /// Continues from the newest checkpoint: finishes its commits first.
    pub async fn begin(self) -> Result<Publisher, PublishError> {
        let newest = self.read.newest().manifest.clone();
        let begun = self.read.begin(newest.as_ref().map(|manifest| manifest.id)).await?;
        let Taken { catalog, owner, tables, vitals, .. } = self;
        let publisher = Publisher { catalog, owner, begun, tables, vitals };
        if let Some(manifest) = newest {
            let (checkpoint, actions) = Checkpoint::recover(publisher.begun.identity(), Arc::new(manifest));
            publisher.perform(checkpoint, actions).await?;
        }
        Ok(publisher)
    }
}

/// A run that may publish.
#[derive(Clone, Debug)]
pub struct Publisher {
    catalog: Catalog,
    owner: String,
    begun: Begun,
    tables: BTreeMap<TableName, Table>,
    vitals: Vitals,
}

impl Publisher {
    /// Where state files and manifests go.
    pub fn begun(&self) -> &Begun {
        &self.begun
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

    async fn perform(&self, mut checkpoint: Checkpoint, actions: Vec<Action>) -> Result<(), PublishError> {
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
                Action::Stop(error) => return Err(error.into()),
            };
            let (next, more) = checkpoint.step(event);
            checkpoint = next;
            actions.extend(more);
        }
        Ok(())
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
            rolled_back: properties.snapshot.is_some_and(|snapshot| table.left_behind(snapshot)),
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

/// Whether a commit is worth another try, after a look at the table.
fn may_pass(error: &CommitError) -> bool {
    match error {
        CommitError::Conflict { .. } | CommitError::Unknown { .. } | CommitError::Fenced { .. } => true,
        CommitError::Table(error) => is_outage(error),
        CommitError::TableGone { .. } | CommitError::Rejected { .. } => false,
    }
}

/// Whether a failure is one of store or catalog, which ends some day, rather than one of the table or its rows.
pub(super) fn is_outage(error: &IcebergError) -> bool {
    match error {
        refused if refused.is_refusal() => false,
        IcebergError::Catalog { .. } | IcebergError::Storage { .. } => true,
        IcebergError::Metadata { source, .. } => source.kind() == iceberg::ErrorKind::Unexpected,
        IcebergError::DataFile { source, .. } => matches!(source, parquet::errors::ParquetError::External(_)),
        IcebergError::Config { .. }
        | IcebergError::Refused { .. }
        | IcebergError::Unsupported { .. }
        | IcebergError::Column { .. }
        | IcebergError::Rows { .. }
        | IcebergError::Location(_) => false,
    }
}
