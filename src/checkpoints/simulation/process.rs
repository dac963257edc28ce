//! One process: what a run does, a step of I/O at a time, on the production code.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt};

use super::Planted;
use super::world::{LOG, World, manifest, names, uuid_of};
use crate::checkpoints::faulty_store::{Fault, FaultyStore, claimant};
use crate::checkpoints::*;
use crate::event::TableName;

/// What befalls one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Luck {
    Good,
    /// A call of the store, or the commit to a table, goes wrong.
    Bad(Fault),
    /// All listings were made before newer runs claimed: the run was stopped between its check and what follows.
    Outdated,
}

enum Phase {
    Start,
    Claiming {
        claimed: Claimed,
        todo: Vec<TableName>,
        done: Vec<TableName>,
    },
    /// What [`Planted::ReadsBeforeClaiming`] does.
    ClaimingLate {
        read: Box<ReadNewest>,
        todo: Vec<TableName>,
    },
    Reading {
        claimed: Claimed,
        tables: Vec<TableName>,
    },
    Beginning {
        read: Box<ReadNewest>,
    },
    Working(Box<Work>),
    /// Fenced, or killed.
    Stopped,
}

/// A run that has begun.
struct Work {
    begun: Begun,
    current: Option<Checkpoint>,
    /// The next one, whose files are written while the current one is being committed.
    ahead: Option<Checkpoint>,
    actions: VecDeque<Action>,
    /// Version of the table at the last look.
    version: u64,
    position: i64,
    read_to: Option<i64>,
    number: u64,
    state: Vec<StateFile>,
}

/// One process.
pub(super) struct Run {
    view: Arc<FaultyStore>,
    pub(super) store: CheckpointStore,
    phase: Phase,
}

/// How a step ended, if not well.
enum Trouble {
    Store(CheckpointError),
    Protocol(ProtocolError),
}

impl From<CheckpointError> for Trouble {
    fn from(error: CheckpointError) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<ProtocolError> for Trouble {
    fn from(error: ProtocolError) -> Trouble {
        Trouble::Protocol(error)
    }
}

impl Run {
    pub(super) fn new(world: &World) -> Run {
        let view = FaultyStore::over(world.objects.clone());
        let store = CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, "job");
        Run { view, store, phase: Phase::Start }
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        match &self.phase {
            Phase::Claiming { claimed, .. } | Phase::Reading { claimed, .. } => Some(claimed.generation()),
            Phase::ClaimingLate { read, .. } | Phase::Beginning { read } => Some(read.generation()),
            Phase::Working(work) => Some(work.begun.identity().generation),
            Phase::Start | Phase::Stopped => None,
        }
    }

    pub(super) fn finished(&self) -> bool {
        matches!(&self.phase, Phase::Working(work)
            if work.position == LOG && work.actions.is_empty() && work.ahead.is_none()
                && work.current.as_ref().is_some_and(Checkpoint::is_committed))
    }

    /// Whether it was fenced, or killed.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// One step of I/O, `records` read if it opens a checkpoint. Errors that stop a run must have a reason: a newer one.
    pub(super) async fn advance(&mut self, world: &mut World, luck: Luck, records: i64) {
        match luck {
            Luck::Good => self.view.set_fault(None),
            Luck::Bad(fault) => self.view.set_fault(Some(fault)),
            Luck::Outdated => {
                // A claim on a table is judged by a listing made after the table was loaded.
                let claiming = matches!(self.phase, Phase::Claiming { .. } | Phase::ClaimingLate { .. });
                if let Some(generation) = self.generation().filter(|_| !claiming) {
                    self.view.hide_above(generation, usize::MAX);
                }
            }
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        let generation = match &phase {
            Phase::Working(work) => Some(work.begun.identity().generation),
            _ => None,
        };
        let mut phase = phase;
        let result = step(&mut phase, &self.store, world, luck, records).await;
        self.view.set_fault(None);
        self.view.hide_above(Generation(u64::MAX), usize::MAX);
        self.phase = match result {
            _ if self.view.is_dead() => Phase::Stopped,
            Ok(()) => phase,
            Err(Trouble::Store(CheckpointError::Fenced { mine, newest, .. })) => {
                assert!(newest > mine);
                Phase::Stopped
            }
            Err(Trouble::Protocol(ProtocolError::Fenced { mine, newest, .. })) => {
                assert!(newest > mine);
                Phase::Stopped
            }
            // Told to fail: a run that has begun tries again, one that starts begins from the start.
            Err(Trouble::Store(
                CheckpointError::Read { .. } | CheckpointError::Write { .. } | CheckpointError::Remove { .. },
            )) => match generation {
                Some(_) => phase,
                None => Phase::Start,
            },
            Err(Trouble::Store(CheckpointError::Contended { .. })) => Phase::Start,
            // The files that a run needs may be gone once a newer one has collected them, not before.
            Err(Trouble::Store(error)) => {
                let newer = match generation {
                    Some(mine) => self.store.check_fence(mine).await.is_err(),
                    None => false,
                };
                assert!(newer || generation.is_none() && matches!(luck, Luck::Outdated), "{error:?}");
                Phase::Stopped
            }
            Err(Trouble::Protocol(error)) => panic!("{error}"),
        };
    }
}

async fn step(
    phase: &mut Phase,
    store: &CheckpointStore,
    world: &mut World,
    luck: Luck,
    records: i64,
) -> Result<(), Trouble> {
    let next = match std::mem::replace(phase, Phase::Stopped) {
        Phase::Start => {
            let claimed = store.claim(&claimant()).await?;
            let mut todo = names().to_vec();
            todo.extend(
                claimed.tables().await?.into_iter().map(|of| of.table).filter(|table| !names().contains(table)),
            );
            match world.planted {
                Some(Planted::LeavesTablesUnclaimed) => Phase::Reading { claimed, tables: todo },
                Some(Planted::ReadsBeforeClaiming) => {
                    Phase::ClaimingLate { read: Box::new(claimed.tables_claimed(&todo).await?), todo }
                }
                _ => Phase::Claiming { claimed, todo, done: vec![] },
            }
        }
        Phase::ClaimingLate { read, mut todo } => {
            let found = todo.pop().and_then(|table| world.tables.get_mut(&table)).expect("not empty");
            if found.generation < Some(read.generation()) {
                found.generation = Some(read.generation());
                found.version += 1;
            }
            match todo.is_empty() {
                true => Phase::Beginning { read },
                false => Phase::ClaimingLate { read, todo },
            }
        }
        Phase::Claiming { claimed, mut todo, mut done } => {
            let table = todo.pop().expect("not empty");
            let found = world.tables.get_mut(&table).expect("is there");
            if claimed.decide(&table, found.generation).await? == Verdict::Commit {
                let performed = !matches!(luck, Luck::Bad(Fault { performed: false, .. }));
                if performed {
                    found.generation = Some(claimed.generation());
                    found.version += 1;
                }
                if matches!(luck, Luck::Bad(_)) {
                    // Looked up by the next step.
                    todo.push(table.clone());
                }
            }
            done.extend((!todo.contains(&table)).then_some(table));
            match todo.is_empty() {
                true => Phase::Reading { claimed, tables: done },
                false => Phase::Claiming { claimed, todo, done },
            }
        }
        Phase::Reading { claimed, tables } => {
            Phase::Beginning { read: Box::new(claimed.tables_claimed(&tables).await?) }
        }
        Phase::Beginning { read } => Phase::Working(Box::new(begin(*read, world).await?)),
        Phase::Working(work) => {
            // Kept whatever happens: a running process doesn't forget where it is.
            *phase = Phase::Working(work);
            let Phase::Working(work) = phase else { unreachable!("just set") };
            return work.advance(world, luck, records).await;
        }
        Phase::Stopped => Phase::Stopped,
    };
    *phase = next;
    Ok(())
}

async fn begin(read: ReadNewest, world: &World) -> Result<Work, Trouble> {
    let newest = read.newest().clone();
    let begun = read.begin(newest.id()).await?;
    for (name, table) in &world.tables {
        // A zombie may be so late that newer runs have published; it will find itself fenced.
        if table.generation == Some(begun.identity().generation) {
            check_not_lost(newest.id(), newest.abandoned, name, table.checkpoint)?;
        }
    }
    let mut work = Work {
        begun,
        current: None,
        ahead: None,
        actions: VecDeque::new(),
        version: 0,
        position: 0,
        read_to: None,
        number: 0,
        state: vec![],
    };
    if let Some(manifest) = newest.manifest {
        work.position = manifest.streams["log"][&0].next_offset.0;
        work.state = manifest.state.clone();
        let mut read_up_to = String::new();
        for file in &work.state {
            let bytes = work.begun.store().get_state(file).await?;
            read_up_to = String::from_utf8(bytes.to_vec()).expect("we wrote digits");
        }
        assert_eq!(read_up_to, work.position.to_string(), "the last state file is the newest");
        if world.planted != Some(Planted::SkipsRecovery) {
            let (current, actions) = Checkpoint::recover(work.begun.identity(), Arc::new(manifest));
            work.current = Some(current);
            work.actions = actions.into();
        }
    }
    Ok(work)
}

impl Work {
    async fn advance(&mut self, world: &mut World, luck: Luck, records: i64) -> Result<(), Trouble> {
        let committing = self.current.as_ref().is_some_and(|current| !current.is_committed());
        // Odd record counts: go on reading while the checkpoint before is being committed.
        if self.position < LOG && self.ahead.is_none() && (self.actions.is_empty() || committing && records % 2 == 1) {
            return self.write_files(world, records, !committing).await;
        }
        let Some(action) = self.actions.front().cloned() else { return Ok(()) };
        let event = match action {
            Action::PutManifest(manifest) => {
                self.begun.put(&manifest).await?;
                Some(Event::ManifestPut)
            }
            Action::LookUp(table) => {
                let found = &world.tables[&table];
                self.version = found.version;
                let seen = TableSeen {
                    uuid: uuid_of(&table),
                    generation: found.generation,
                    checkpoint: found.checkpoint.filter(|_| world.planted != Some(Planted::CommitsWithoutLooking)),
                    rolled_back: None,
                };
                Some(Event::TableSeen { table, seen: Some(seen) })
            }
            Action::Commit { manifest, table } => match (self.commit(world, luck, &manifest, table), world.planted) {
                (Event::CommitUnknown { table }, Some(Planted::TakesUnknownForCommitted)) => {
                    Some(Event::TableCommitted { table })
                }
                (Event::CommitUnknown { table }, Some(Planted::RemovesFilesInDoubt)) => {
                    let newest = manifest.state.last().expect("each checkpoint has written one");
                    let path = self.begun.store().layout().below_owner(&newest.path).expect("its own");
                    world.objects.delete(&path).await.expect("memory deletes");
                    Some(Event::CommitUnknown { table })
                }
                (event, _) => Some(event),
            },
            Action::Publish(_) => None,
            Action::Collect(id) => {
                self.begun.collect(id).await?;
                Some(Event::Collected)
            }
            Action::Stop(error) => return Err(error.into()),
        };
        self.actions.pop_front();
        let current = self.current.take().expect("an action belongs to a checkpoint");
        let Some(event) = event else {
            self.current = Some(current);
            return Ok(());
        };
        let collected = event == Event::Collected;
        let (current, actions) = current.step(event);
        self.current = Some(current);
        self.actions.extend(actions);
        if let Some(ahead) = self.ahead.take_if(|_| collected) {
            let (ahead, actions) = ahead.step(Event::PreviousCommitted);
            self.current = Some(ahead);
            self.actions.extend(actions);
        }
        Ok(())
    }

    fn commit(&self, world: &mut World, luck: Luck, manifest: &Manifest, table: TableName) -> Event {
        let found = world.tables.get_mut(&table).expect("is there");
        let lost = match luck {
            Luck::Bad(fault) if !fault.performed => return Event::CommitUnknown { table },
            Luck::Bad(_) => true,
            _ => false,
        };
        if found.version != self.version {
            return Event::CommitUnknown { table };
        }
        let change = manifest.tables.iter().find(|change| change.table == table).expect("asked for");
        found.rows.extend(change.add.iter().map(|row| row.as_i64().expect("a number")));
        found.checkpoint = Some(manifest.id);
        found.version += 1;
        if lost { Event::CommitUnknown { table } } else { Event::TableCommitted { table } }
    }

    /// Reads on and writes the files of the next checkpoint.
    async fn write_files(&mut self, world: &World, records: i64, mut previous_committed: bool) -> Result<(), Trouble> {
        let from = self.position;
        // Tried again with the same bytes if it failed.
        let to = *self.read_to.get_or_insert(LOG.min(from + records));
        let number = self.number + 1;
        let content = StateContent { rows: 1, insert: 0, leg: 0, panes: vec![] };
        let name = "panes";
        let file = self.begun.put_state(number, name, Bytes::from(to.to_string()), content).await?;
        let mut state = self.state.clone();
        state.push(file);
        state.drain(..state.len().saturating_sub(3));
        let manifest = Arc::new(manifest(self.begun.id(number), from, to, state.clone()));
        if world.planted == Some(Planted::GoesOnUncommitted) && !previous_committed {
            previous_committed = true;
            self.actions.clear();
        }
        let opened = Checkpoint::open(self.begun.identity(), previous_committed);
        let (checkpoint, actions) = opened.step(Event::FilesWritten(manifest));
        self.actions.extend(actions);
        match previous_committed {
            true => self.current = Some(checkpoint),
            false => self.ahead = Some(checkpoint),
        }
        (self.position, self.read_to, self.number, self.state) = (to, None, number, state);
        Ok(())
    }
}
