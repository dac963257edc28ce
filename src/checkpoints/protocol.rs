//! The order of one checkpoint's steps, as a pure transition: the caller performs the actions and reports what happened.
//!
//! ```text
//! Open ── files written ──▶ Held ── previous committed ──▶ Putting ── manifest put ──▶ Committing ─▶ Committed ─▶ Collected
//! ```
//!
//! Invariant: no table is committed before the manifest is durable, and no manifest put before the one before it is
//! committed in all its tables. So at any moment at most one manifest has commits outstanding, and it is the newest:
//! recovery is the same machine, entered at `Committing`. Every commit is preceded by a look at the table, so one whose
//! answer was lost is never done twice and never taken for failed. Pure: no I/O, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{
    ClaimedTable, Generation, Manifest, ManifestId, ProtocolError, RunIdentity, TableChange, TableSeen, Verdict, decide,
};
use crate::event::TableName;

/// Where one checkpoint stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Result and state files are being written.
    Open {
        /// The checkpoint before is committed in all its tables (or there is none).
        previous_committed: bool,
    },
    /// All files are written; the one before isn't committed everywhere yet.
    Held(Arc<Manifest>),
    /// The manifest is being put.
    Putting(Arc<Manifest>),
    /// The manifest is durable; tables are committed one after another.
    Committing {
        /// The manifest.
        manifest: Arc<Manifest>,
        /// Tables not known to be done; the first one is being looked at or committed to.
        remaining: VecDeque<ClaimedTable>,
    },
    /// Committed in all tables; older ones are being collected.
    Committed(Arc<Manifest>),
    /// Nothing is left to do.
    Collected,
    /// The run must stop.
    Failed(ProtocolError),
}

/// What the caller reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The checkpoint before is committed in all its tables.
    PreviousCommitted,
    /// All files that the manifest names are durable.
    FilesWritten(Arc<Manifest>),
    /// The manifest is durable. (While that is unknown, nothing is reported and the put is repeated.)
    ManifestPut,
    /// A newer generation was found in the store.
    FencedInStore {
        /// The greatest claimed.
        newest: Generation,
    },
    /// How a table looks; `None`: the catalog says that it isn't there.
    TableSeen {
        /// The table.
        table: TableName,
        /// What it says.
        seen: Option<TableSeen>,
    },
    /// A commit succeeded.
    TableCommitted {
        /// The table.
        table: TableName,
    },
    /// A commit conflicted, failed or its answer was lost: whether it happened is to be looked up.
    CommitUnknown {
        /// The table.
        table: TableName,
    },
    /// Older checkpoints were collected.
    Collected,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the manifest ([`super::Begun::put`]), then report [`Event::ManifestPut`].
    PutManifest(Arc<Manifest>),
    /// Load the table, then report [`Event::TableSeen`]. While the catalog doesn't answer: try again.
    LookUp(TableName),
    /// Commit the manifest's change of this table, against the very metadata that the last look saw, so that it
    /// conflicts with whatever was committed since; then report [`Event::TableCommitted`] or [`Event::CommitUnknown`].
    Commit {
        /// The manifest.
        manifest: Arc<Manifest>,
        /// The table.
        table: TableName,
    },
    /// All tables have it: report [`Event::PreviousCommitted`] to the next checkpoint; tell Kafka its offsets, for lag
    /// tools only.
    Publish(Arc<Manifest>),
    /// Collect older checkpoints ([`super::Begun::collect`]), then report [`Event::Collected`].
    Collect(ManifestId),
    /// Stop the run; never retry.
    Stop(ProtocolError),
}

/// One checkpoint on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    run: RunIdentity,
    stage: Stage,
}

impl Checkpoint {
    /// A new checkpoint, whose files are to be written. `previous_committed` is false while the one before has commits
    /// outstanding.
    pub fn open(run: RunIdentity, previous_committed: bool) -> Checkpoint {
        Checkpoint { run, stage: Stage::Open { previous_committed } }
    }

    /// Recovery: finishes the newest manifest's commits, whatever was done of them. Looks at all its tables, also those
    /// that it doesn't change, as they may show that something was lost.
    pub fn recover(run: RunIdentity, manifest: Arc<Manifest>) -> (Checkpoint, Vec<Action>) {
        let targets = manifest.targets();
        Checkpoint { run, stage: Stage::Open { previous_committed: true } }.commit_next(manifest, targets.into())
    }

    /// Where it stands.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Whether all its tables have it.
    pub fn is_committed(&self) -> bool {
        matches!(self.stage, Stage::Committed(_) | Stage::Collected)
    }

    /// The next state, and what to do now. A failed checkpoint stays failed, whatever is reported.
    ///
    /// # Panics
    /// When an event can't happen in this state: the caller reported what it wasn't asked for.
    #[must_use]
    pub fn step(self, event: Event) -> (Checkpoint, Vec<Action>) {
        let run = self.run;
        match (self.stage, event) {
            (Stage::Failed(error), _) => (Checkpoint { run, stage: Stage::Failed(error) }, vec![]),
            (_, Event::FencedInStore { newest }) => {
                Checkpoint::fail(run, ProtocolError::FencedInStore { mine: run.generation, newest })
            }
            (Stage::Open { previous_committed: false }, Event::PreviousCommitted) => {
                (Checkpoint::open(run, true), vec![])
            }
            (Stage::Open { previous_committed: false }, Event::FilesWritten(manifest)) => {
                (Checkpoint { run, stage: Stage::Held(manifest) }, vec![])
            }
            (Stage::Open { previous_committed: true }, Event::FilesWritten(manifest))
            | (Stage::Held(manifest), Event::PreviousCommitted) => {
                assert_eq!(manifest.id.generation, run.generation, "a manifest of another run");
                let action = Action::PutManifest(Arc::clone(&manifest));
                (Checkpoint { run, stage: Stage::Putting(manifest) }, vec![action])
            }
            (Stage::Putting(manifest), Event::ManifestPut) => {
                let changed = |change: &TableChange| ClaimedTable { table: change.table.clone(), uuid: change.uuid };
                let remaining = manifest.tables.iter().map(changed).collect();
                Checkpoint::open(run, true).commit_next(manifest, remaining)
            }
            (Stage::Committing { manifest, remaining }, event) => {
                Checkpoint::step_committing(run, manifest, remaining, event)
            }
            (Stage::Committed(_), Event::Collected) => (Checkpoint { run, stage: Stage::Collected }, vec![]),
            (stage, event) => panic!("{event:?} can't happen to a checkpoint in {stage:?}"),
        }
    }

    fn step_committing(
        run: RunIdentity,
        manifest: Arc<Manifest>,
        mut remaining: VecDeque<ClaimedTable>,
        event: Event,
    ) -> (Checkpoint, Vec<Action>) {
        let target = remaining.front().expect("committing ends with the last table").clone();
        match event {
            Event::TableSeen { table, seen } if table == target.table => {
                let change = manifest.tables.iter().find(|change| change.table == table);
                match decide(&run, manifest.id, &target, change, seen.as_ref()) {
                    Ok(Verdict::Commit) => {
                        let action = Action::Commit { manifest: Arc::clone(&manifest), table };
                        (Checkpoint { run, stage: Stage::Committing { manifest, remaining } }, vec![action])
                    }
                    Ok(Verdict::Done) => {
                        remaining.pop_front();
                        Checkpoint::open(run, true).commit_next(manifest, remaining)
                    }
                    Err(error) => Checkpoint::fail(run, error),
                }
            }
            Event::TableCommitted { table } if table == target.table => {
                remaining.pop_front();
                Checkpoint::open(run, true).commit_next(manifest, remaining)
            }
            Event::CommitUnknown { table } if table == target.table => {
                Checkpoint::open(run, true).commit_next(manifest, remaining)
            }
            event => panic!("{event:?} can't happen while checkpoint {} is committed to {}", manifest.id, target.table),
        }
    }

    /// Goes on with the first remaining table, or is done.
    fn commit_next(self, manifest: Arc<Manifest>, remaining: VecDeque<ClaimedTable>) -> (Checkpoint, Vec<Action>) {
        let (stage, actions) = match remaining.front() {
            Some(target) => {
                let look = Action::LookUp(target.table.clone());
                (Stage::Committing { manifest, remaining }, vec![look])
            }
            None => {
                let actions = vec![Action::Publish(Arc::clone(&manifest)), Action::Collect(manifest.id)];
                (Stage::Committed(manifest), actions)
            }
        };
        (Checkpoint { run: self.run, stage }, actions)
    }

    fn fail(run: RunIdentity, error: ProtocolError) -> (Checkpoint, Vec<Action>) {
        (Checkpoint { run, stage: Stage::Failed(error.clone()) }, vec![Action::Stop(error)])
    }
}
