//! Random runs, crashes, lost answers and zombies, over the production code and a model of tables: whatever happens, in
//! the end every record of the log is in its tables exactly once, and every state file of the newest checkpoint reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::faulty_store::{Fault, FaultyStore, claimant};
use super::*;
use crate::event::{EventTime, ResumeOffset, TableName};

/// Records in the log. Record `r` belongs into table `a` unless `r % 3 == 0`, and into `b` if it is even.
const LOG: i64 = 40;

fn belongs(table: &TableName, record: i64) -> bool {
    if table.name == "a" { record % 3 != 0 } else { record % 2 == 0 }
}

fn names() -> [TableName; 2] {
    ["marts.a", "marts.b"].map(|name| TableName::parse(name).expect("has a namespace"))
}

fn uuid_of(table: &TableName) -> Uuid {
    Uuid::from_u128(u128::from(table.name.as_bytes()[0]))
}

/// A table with compare-and-swap commits, as a catalog has them.
#[derive(Clone, Debug, Default)]
struct ModelTable {
    version: u64,
    generation: Option<Generation>,
    checkpoint: Option<ManifestId>,
    rows: Vec<i64>,
}

struct World {
    objects: Arc<InMemory>,
    tables: BTreeMap<TableName, ModelTable>,
}

/// What befalls one step.
#[derive(Clone, Copy, Debug)]
enum Luck {
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

struct Run {
    view: Arc<FaultyStore>,
    store: CheckpointStore,
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
    fn new(world: &World) -> Run {
        let view = FaultyStore::over(world.objects.clone());
        let store = CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, "job");
        Run { view, store, phase: Phase::Start }
    }

    fn generation(&self) -> Option<Generation> {
        match &self.phase {
            Phase::Claiming { claimed, .. } | Phase::Reading { claimed, .. } => Some(claimed.generation()),
            Phase::Beginning { read } => Some(read.generation()),
            Phase::Working(work) => Some(work.begun.identity().generation),
            Phase::Start | Phase::Stopped => None,
        }
    }

    fn finished(&self) -> bool {
        matches!(&self.phase, Phase::Working(work)
            if work.position == LOG && work.actions.is_empty() && work.ahead.is_none()
                && work.current.as_ref().is_some_and(Checkpoint::is_committed))
    }

    /// One step of I/O, `records` read if it opens a checkpoint. Errors that stop a run must have a reason: a newer one.
    async fn advance(&mut self, world: &mut World, luck: Luck, records: i64) {
        match luck {
            Luck::Good => self.view.set_fault(None),
            Luck::Bad(fault) => self.view.set_fault(Some(fault)),
            Luck::Outdated => {
                // A claim on a table is judged by a listing made after the table was loaded.
                let claiming = matches!(self.phase, Phase::Claiming { .. });
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
            Phase::Claiming { claimed, todo, done: vec![] }
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
        let (current, actions) = Checkpoint::recover(work.begun.identity(), Arc::new(manifest));
        work.current = Some(current);
        work.actions = actions.into();
    }
    Ok(work)
}

impl Work {
    async fn advance(&mut self, world: &mut World, luck: Luck, records: i64) -> Result<(), Trouble> {
        let committing = self.current.as_ref().is_some_and(|current| !current.is_committed());
        // Odd record counts: go on reading while the checkpoint before is being committed.
        if self.position < LOG && self.ahead.is_none() && (self.actions.is_empty() || committing && records % 2 == 1) {
            return self.write_files(records, !committing).await;
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
                    checkpoint: found.checkpoint,
                    rolled_back: None,
                };
                Some(Event::TableSeen { table, seen: Some(seen) })
            }
            Action::Commit { manifest, table } => Some(self.commit(world, luck, &manifest, table)),
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
    async fn write_files(&mut self, records: i64, previous_committed: bool) -> Result<(), Trouble> {
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

fn manifest(id: ManifestId, from: i64, to: i64, state: Vec<StateFile>) -> Manifest {
    let change = |table: TableName| TableChange {
        uuid: uuid_of(&table),
        schema_id: 0,
        spec_id: 0,
        add: (from..to).filter(|record| belongs(&table, *record)).map(|record| json!(record)).collect::<Vec<Value>>(),
        remove: vec![],
        operation: Operation::Append,
        properties: BTreeMap::new(),
        remove_properties: vec![],
        summary: BTreeMap::new(),
        table,
    };
    let progress = PartitionProgress {
        next_offset: ResumeOffset(to),
        seen: None,
        taken: u64::try_from(to).expect("not negative"),
        rejected: 0,
    };
    Manifest {
        inserts: Vec::new(),
        id,
        owner: "job".into(),
        fingerprint: "f".into(),
        description: Vec::new(),
        streams: BTreeMap::from([("log".into(), BTreeMap::from([(0, progress)]))]),
        watermark: EventTime(to),
        finished: false,
        state,
        claimed: names().into_iter().map(|table| ClaimedTable { uuid: uuid_of(&table), table }).collect(),
        tables: names().into_iter().map(change).filter(|change| !change.add.is_empty()).collect(),
        held: vec![],
        reread: BTreeMap::new(),
        from_history: BTreeMap::new(),
    }
}

/// One entry of a random schedule: which of three processes does what.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Step {
        process: usize,
        luck: Luck,
        records: i64,
    },
    /// The process is killed where it stands, and started again.
    Restart {
        process: usize,
    },
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let fault = (0..12_usize, any::<bool>(), any::<bool>());
    let luck = prop_oneof![
        5 => Just(Luck::Good),
        2 => fault.prop_map(|(after_calls, performed, dies)| Luck::Bad(Fault { after_calls, performed, dies })),
        2 => Just(Luck::Outdated),
    ];
    // The first process does most, so that runs get far before others interfere.
    let process = || prop_oneof![5 => Just(0_usize), 3 => Just(1_usize), 2 => Just(2_usize)];
    let turn = prop_oneof![
        40 => (process(), luck, 1..5_i64).prop_map(|(process, luck, records)| Turn::Step { process, luck, records }),
        2 => process().prop_map(|process| Turn::Restart { process }),
    ];
    proptest::collection::vec(turn, 0..200)
}

async fn simulate(turns: Vec<Turn>) {
    let tables = names().into_iter().map(|name| (name, ModelTable::default())).collect();
    let mut world = World { objects: Arc::new(InMemory::new()), tables };
    let mut runs: Vec<Run> = (0..3).map(|_| Run::new(&world)).collect();
    for turn in turns {
        match turn {
            Turn::Restart { process } => runs[process] = Run::new(&world),
            Turn::Step { process, luck, records } => {
                if matches!(runs[process].phase, Phase::Stopped) {
                    runs[process] = Run::new(&world);
                }
                runs[process].advance(&mut world, luck, records).await;
            }
        }
        for (name, table) in &world.tables {
            let mut rows = table.rows.clone();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), table.rows.len(), "{name} has a row twice: {:?}", table.rows);
        }
    }
    // In the end one run is let through, while those before, which don't know yet, go on between its steps.
    let mut last = Run::new(&world);
    last.advance(&mut world, Luck::Good, 1).await;
    for round in 0..2_000 {
        if last.finished() {
            break;
        }
        last.advance(&mut world, Luck::Good, 3).await;
        assert!(!matches!(last.phase, Phase::Stopped), "the newest run is never fenced");
        let zombie = &mut runs[round % 3];
        if zombie.generation().is_some() {
            zombie.advance(&mut world, Luck::Outdated, 2).await;
        }
    }
    assert!(last.finished(), "the last run comes to the end");
    for (name, table) in &world.tables {
        let mut rows = table.rows.clone();
        rows.sort_unstable();
        let expected: Vec<i64> = (0..LOG).filter(|record| belongs(name, *record)).collect();
        assert_eq!(rows, expected, "{name} has each of its rows exactly once");
    }
    let newest = last.store.newest().await.expect("reads").manifest.expect("was put");
    for file in &newest.state {
        last.store.get_state(file).await.expect("kept");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_dies_when_every_staged_change_reaches_its_table_exactly_once(turns in turns()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        runtime.block_on(simulate(turns));
    }
}
