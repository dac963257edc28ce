//! Taking over what a run writes to: the store, every table by a commit, then the newest checkpoint.
//! Invariant: nothing is claimed that another process holds by a live claim, and no table that has lost what was published.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::pause::Pause;
use super::rollback::rollback;
use super::{PublishError, Publisher};
use crate::checkpoints::{
    Checkpoint, CheckpointError, CheckpointStore, Claimant, Claimed, GoodWithState, Heartbeat, Newest, ReadNewest,
    StateFile, TableProperties, Verdict, check_not_lost, check_not_rolled_back, check_same_table, generation_property,
};
use crate::event::TableName;
use crate::iceberg::{Catalog, Change, CommitError, Table, TableSpec};
use crate::kill_point::KillPoint;
use crate::vitals::{Outside, Vitals};

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
    heartbeat: Arc<Heartbeat>,
    tables: BTreeMap<TableName, Table>,
    vitals: Vitals,
    accepts_rollback: bool,
}

/// Claims the store, then every table by a commit, and only then reads the newest checkpoint. Tables that aren't there
/// are made. Refuses with [`crate::checkpoints::CheckpointError::Held`] while another process has a live claim, unless the
/// claimant takes over.
/// What fails and is repeated, then and later, is told to `vitals`.
pub async fn take(
    catalog: &Catalog,
    store: &CheckpointStore,
    claimant: &Claimant,
    targets: &[Target],
    vitals: &Vitals,
) -> Result<Taken, PublishError> {
    let (owner, accepts_rollback) = (store.owner().to_owned(), claimant.accepts_rollback);
    // A preview, as an older run may still put others: what it shows to be lost is lost whatever comes, and is told before
    // anything is made or claimed, so that it can be undone as it was found.
    let known = store.newest_for(claimant).await?.newest;
    for target in targets {
        let found = catalog.load(&target.table).await?;
        check_not_lost_before(&known, (&owner, claimant), &target.table, found.as_ref())?;
        open_table(catalog, target, found, &owner).await?;
    }
    let claimed = store.claim(claimant).await?;
    let heartbeat = Arc::new(claimed.keep_alive());
    let mut names: Vec<TableName> = targets.iter().map(|target| target.table.clone()).collect();
    for other in claimed.tables().await? {
        if !names.contains(&other.table) {
            names.push(other.table);
        }
    }
    let mut tables = BTreeMap::new();
    for name in &names {
        KillPoint::StoreClaimed.reach();
        let owned = targets.iter().any(|target| target.table == *name && target.owned);
        if let Some(table) = claim_table((catalog, vitals), name, &owner, owned, &claimed).await? {
            tables.insert(name.clone(), table);
        }
    }
    let mut read = claimed.tables_claimed(&names).await?;
    for (name, table) in &tables {
        let properties = properties_of(table, &owner)?;
        if read.is_missing(name, properties.checkpoint) {
            continue;
        }
        check_not_lost(read.newest().id(), read.newest().abandoned, name, properties.checkpoint)?;
    }
    Ok(Taken { catalog: catalog.clone(), owner, read, heartbeat, tables, vitals: vitals.clone(), accepts_rollback })
}

/// Checks that a table, as it is `found`, holds what was published to it.
fn check_not_lost_before(
    known: &Newest,
    (owner, claimant): (&str, &Claimant),
    name: &TableName,
    found: Option<&Table>,
) -> Result<(), PublishError> {
    check_same_table(known.manifest.as_ref(), name, found.map(Table::uuid))?;
    if let Some(table) = found {
        let properties = properties_of(table, owner)?;
        let rollback = rollback(table, owner, &properties).filter(|_| !claimant.accepts_rollback);
        check_not_rolled_back(known.abandoned, name, properties.checkpoint, rollback.as_ref())?;
    }
    Ok(())
}

/// Makes a table if it isn't `found`; checks that it is what the run would have made.
async fn open_table(
    catalog: &Catalog,
    target: &Target,
    found: Option<Table>,
    owner: &str,
) -> Result<Table, PublishError> {
    let table = match found {
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
    (catalog, vitals): (&Catalog, &Vitals),
    name: &TableName,
    owner: &str,
    owned: bool,
    claimed: &Claimed,
) -> Result<Option<Table>, PublishError> {
    let mut pause = Pause::new(vitals, Outside::Tables, "claim a table");
    loop {
        let Some(table) = catalog.load(name).await? else { return Ok(None) };
        let known = properties_of(&table, owner)?;
        // Another job may have come in since the table was opened: the commit lands on exactly what is looked at here.
        if let Some(other) = known.owner.filter(|other| owned && other != owner) {
            return Err(PublishError::OtherOwner { table: name.clone(), owner: other });
        }
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

pub(super) fn properties_of(table: &Table, owner: &str) -> Result<TableProperties, PublishError> {
    TableProperties::parse(owner, table.properties())
        .map_err(|source| PublishError::Property { table: table.name().clone(), source })
}

impl Taken {
    /// The newest checkpoint.
    pub fn newest(&self) -> &Newest {
        self.read.newest()
    }

    /// What is wrong with newer checkpoints than the newest, as far as it was looked at; newest first.
    pub fn damages(&self) -> &[CheckpointError] {
        self.read.damages()
    }

    /// The newest checkpoint that is good with all its state, and what is wrong with those after it.
    pub async fn good_with_state(&self) -> Result<GoodWithState, PublishError> {
        Ok(self.read.good_with_state().await?)
    }

    /// Checks that nobody has taken anything out of the tables. What is left behind on purpose is no excuse here: windows
    /// from before that wouldn't be published again.
    pub fn check_whole(&self) -> Result<(), PublishError> {
        for (name, table) in self.tables.iter().filter(|_| !self.accepts_rollback) {
            let properties = properties_of(table, &self.owner)?;
            let rollback = rollback(table, &self.owner, &properties);
            check_not_rolled_back(None, name, properties.checkpoint, rollback.as_ref())?;
        }
        Ok(())
    }

    /// Reads a state file of the job.
    pub async fn state(&self, file: &StateFile) -> Result<Bytes, PublishError> {
        Ok(self.read.store().get_state(file).await?)
    }

    /// The tables that were claimed.
    pub fn tables(&self) -> &BTreeMap<TableName, Table> {
        &self.tables
    }

    /// The renewals of the claim, to be released when the run ends.
    pub fn heartbeat(&self) -> &Arc<Heartbeat> {
        &self.heartbeat
    }

    /// Continues from the newest checkpoint: finishes its commits first.
    pub async fn begin(self) -> Result<Publisher, PublishError> {
        let newest = self.read.newest().manifest.clone();
        if newest.is_some() {
            KillPoint::Recovering.reach();
        }
        let begun = self.read.begin(newest.as_ref().map(|manifest| manifest.id)).await?;
        let publisher = Publisher {
            catalog: self.catalog,
            owner: self.owner,
            begun,
            heartbeat: self.heartbeat,
            tables: self.tables,
            vitals: self.vitals,
            accepts_rollback: self.accepts_rollback,
        };
        if let Some(manifest) = newest {
            publisher.check_staged(&manifest).await?;
            KillPoint::Recovering.reach();
            let (checkpoint, actions) = Checkpoint::recover(publisher.begun.identity(), Arc::new(manifest));
            publisher.perform(checkpoint, actions).await?;
            KillPoint::Recovering.reach();
        }
        Ok(publisher)
    }
}
