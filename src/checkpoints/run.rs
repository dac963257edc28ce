//! What only the run that owns a generation may do, in the order in which it may: [`Claimed`], then [`ReadNewest`],
//! then [`Begun`].
//!
//! Every put first checks that no newer generation is claimed. A race remains: a run may be stopped between that check
//! and its put, for as long as it likes. It does no harm. A manifest put so late is of an older generation and above the
//! one that the newer run's begin record names, so it doesn't count; state files lie in their own generation's folder; a
//! late collection touches no newer generation, and keeps what its own newest manifests need. And it can't reach a
//! table: the newer run has committed its claim there, so that any commit prepared before conflicts, and one prepared
//! after sees the greater `kappa.<owner>.generation` ([`super::decide`]).

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;

use super::layout::{Entry, Layout};
use super::{
    BeginRecord, CheckpointError, CheckpointStore, Claim, Claimant, ClaimedTable, Generation, GoodWithState, Heartbeat,
    Manifest, ManifestId, Newest, RunIdentity, StateFile, Usable, Verdict, checksum_text,
};
use crate::event::{EventTime, TableName};
use crate::kill_point::KillPoint;

/// A run that has claimed its generation in the store, and now has to claim its tables.
#[derive(Debug)]
pub struct Claimed {
    store: CheckpointStore,
    generation: Generation,
    claimant: Claimant,
    claim: Claim,
}

impl Claimed {
    pub(super) fn new(store: CheckpointStore, claimant: Claimant, claim: Claim) -> Claimed {
        Claimed { store, generation: claim.generation, claimant, claim }
    }

    /// Renews the claim from now on, until what is returned is released or dropped. Must be called inside a tokio
    /// runtime, and once.
    pub fn keep_alive(&self) -> Heartbeat {
        Heartbeat::start(&self.store, &self.claimant, self.claim.clone())
    }

    /// The generation of this run.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The tables that the newest checkpoint writes to: to be claimed beside those of the job file, which may name
    /// fewer by now. (A preview; the checkpoint itself can't be had yet, as an older run may still be putting others.)
    ///
    /// # Errors
    /// As [`CheckpointStore::newest`].
    pub async fn tables(&self) -> Result<Vec<ClaimedTable>, CheckpointError> {
        let newest = self.store.newest_for(&self.claimant).await?.newest;
        Ok(newest.manifest.map_or_else(Vec::new, |manifest| manifest.targets()))
    }

    /// Decides whether a table, loaded with `found` as its generation, still has to be claimed: by a commit against
    /// exactly that table which makes a new snapshot (so that one prepared before conflicts) and sets
    /// [`super::generation_property`]. To be asked again whenever that conflicted or its answer was lost.
    ///
    /// # Errors
    /// [`CheckpointError::Fenced`] when a newer run has claimed; [`CheckpointError::StoreLost`] when the store knows of
    /// no such run.
    pub async fn decide(&self, table: &TableName, found: Option<Generation>) -> Result<Verdict, CheckpointError> {
        match found {
            Some(found) if found > self.generation => {
                // A newer run claims the store before any table, so its claim was there before the table was loaded.
                self.store.check_fence(self.generation).await?;
                Err(CheckpointError::StoreLost { table: table.clone(), found, newest: self.generation })
            }
            Some(found) if found == self.generation => Ok(Verdict::Done),
            _ => Ok(Verdict::Commit),
        }
    }

    /// Says which tables the run has claimed, each by a commit that made a new snapshot and set the generation's
    /// property; reads the newest checkpoint.
    ///
    /// # Errors
    /// As [`CheckpointStore::newest`]; [`CheckpointError::Unclaimed`] when that checkpoint writes to other tables too
    /// (a run with another job file began and ended in between), [`CheckpointError::Fenced`] when a newer run has
    /// claimed.
    pub async fn tables_claimed(self, tables: &[TableName]) -> Result<ReadNewest, CheckpointError> {
        self.store.check_fence(self.generation).await?;
        let Usable { newest, damages, passed_over, next } = self.store.newest_for(&self.claimant).await?;
        let targets = newest.manifest.as_ref().map_or_else(Vec::new, Manifest::targets);
        let unclaimed: Vec<TableName> =
            targets.into_iter().map(|target| target.table).filter(|table| !tables.contains(table)).collect();
        if !unclaimed.is_empty() {
            return Err(CheckpointError::Unclaimed { tables: unclaimed });
        }
        Ok(ReadNewest { store: self.store, generation: self.generation, newest, damages, passed_over, next })
    }
}

/// A run that has claimed everything and knows the newest checkpoint, and now has to say which one it continues.
#[derive(Debug)]
pub struct ReadNewest {
    store: CheckpointStore,
    generation: Generation,
    newest: Newest,
    damages: Vec<CheckpointError>,
    passed_over: usize,
    next: Option<ManifestId>,
}

impl ReadNewest {
    /// The generation of this run.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What there is to continue.
    pub fn newest(&self) -> &Newest {
        &self.newest
    }

    /// The store that it reads.
    pub fn store(&self) -> &CheckpointStore {
        &self.store
    }

    /// What is wrong with newer ones than the newest, and with the record of where its run began.
    pub fn damages(&self) -> &[CheckpointError] {
        &self.damages
    }

    /// Notes what a table was given last. If that is the checkpoint after the newest one, its file is gone: it is left
    /// behind, and the answer is true.
    pub fn is_missing(&mut self, table: &TableName, published: Option<ManifestId>) -> bool {
        let Some(id) = published.filter(|id| Some(*id) == self.next && Some(*id) > self.newest.id()) else {
            return false;
        };
        self.newest.abandoned = self.newest.abandoned.max(Some(id));
        if self.damages.is_empty() {
            self.damages.push(self.store.missing(id, &format!("table {table}")));
        }
        true
    }

    /// The newest checkpoint that is good with all its state, and what is wrong with those after it.
    ///
    /// # Errors
    /// When the store fails, or another version of the program has written a file.
    pub async fn good_with_state(&self) -> Result<GoodWithState, CheckpointError> {
        match &self.newest.manifest {
            Some(newest) => self.store.good_with_state(newest, self.passed_over).await,
            None => Ok(GoodWithState::default()),
        }
    }

    /// Puts the begin record: from now on `after` is the newest checkpoint, and then this run's own. `after` is the
    /// newest one's id, unless the user asks for an older one or (`None`) to begin anew.
    ///
    /// # Errors
    /// When the store fails, `after` isn't there, or a newer run has claimed.
    pub async fn begin(self, after: Option<ManifestId>) -> Result<Begun, CheckpointError> {
        let (store, newest) = (self.store, self.newest.id());
        // Never one above the newest or beside its line: that would be a fenced run's.
        if let Some(id) = after.filter(|id| Some(*id) != newest)
            && !store.is_in_line(id, newest).await?
        {
            return Err(CheckpointError::NoSuchManifest { owner: store.owner().to_owned(), id, newest });
        }
        let abandoned = newest.max(self.newest.abandoned).filter(|id| Some(*id) > after);
        let begin = BeginRecord { generation: self.generation, after, abandoned };
        store.check_fence(self.generation).await?;
        store.put_own(&store.layout().begin(self.generation), Bytes::from(begin.encode())).await?;
        Ok(Begun { store, begin })
    }
}

/// A run that may put checkpoints. Cheap to clone; all its functions may run at once.
#[derive(Clone, Debug)]
pub struct Begun {
    store: CheckpointStore,
    begin: BeginRecord,
}

/// What a state file holds, beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateContent {
    /// Rows in it.
    pub rows: u64,
    /// Index of the INSERT in the job whose state it is.
    pub insert: usize,
    /// Which of the legs of all INSERTs it is of ([`crate::job::Plan::legs`]).
    pub leg: usize,
    /// Starts of the windows that it holds panes of.
    pub panes: Vec<EventTime>,
}

impl Begun {
    /// Who this run is, for [`super::Checkpoint`].
    pub fn identity(&self) -> RunIdentity {
        RunIdentity { generation: self.begin.generation, abandoned: self.begin.abandoned }
    }

    /// Where it began.
    pub fn begin(&self) -> &BeginRecord {
        &self.begin
    }

    /// The name of this run's `number`-th manifest, from 1.
    pub fn id(&self, number: u64) -> ManifestId {
        ManifestId::new(self.begin.generation, number)
    }

    /// The store that it writes to.
    pub fn store(&self) -> &CheckpointStore {
        &self.store
    }

    /// Makes a state file durable, to be named by the manifest of that number and by later ones. `name` tells the files
    /// of one checkpoint apart; it is made of letters, digits, `-` and `_`.
    /// Idempotent for equal bytes.
    ///
    /// # Errors
    /// When the store fails (try again), or a newer run has claimed ([`CheckpointError::Fenced`]: stop).
    pub async fn put_state(
        &self,
        number: u64,
        name: &str,
        bytes: Bytes,
        content: StateContent,
    ) -> Result<StateFile, CheckpointError> {
        let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
        assert!(!name.is_empty() && name.chars().all(plain), "state file name {name:?} isn't plain");
        self.store.check_fence(self.begin.generation).await?;
        let path = self.store.layout().state(self.id(number), name);
        let file = StateFile {
            bytes: bytes.len() as u64,
            checksum: checksum_text(&bytes),
            rows: content.rows,
            insert: content.insert,
            leg: content.leg,
            panes: content.panes,
            path,
        };
        let path = self.store.layout().below_owner(&file.path).expect("a plain name makes a path inside the folder");
        if KillPoint::InStateFile.is_last() {
            self.store.put_half(&path, &bytes).await?;
            KillPoint::InStateFile.end_process();
        }
        self.store.put_own(&path, bytes).await?;
        Ok(file)
    }

    /// Makes a manifest durable: the checkpoint exists from here on, and recovery will finish its commits.
    /// Idempotent for an equal manifest. All files that it names are durable already; the manifest before it is
    /// committed in all its tables ([`super::Checkpoint`] sees to that).
    ///
    /// # Errors
    /// When the store fails (whether it was put is then unknown; try again), or a newer run has claimed
    /// ([`CheckpointError::Fenced`]: stop).
    pub async fn put(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        assert!(
            manifest.id.generation == self.begin.generation && manifest.id.number > 0,
            "manifest {} isn't of generation {}",
            manifest.id,
            self.begin.generation
        );
        assert_eq!(manifest.owner, self.store.owner(), "a manifest of another owner");
        self.store.check_fence(self.begin.generation).await?;
        self.store.put_own(&self.store.layout().manifest(manifest.id), Bytes::from(manifest.encode())).await
    }

    /// Removes what nothing needs any more, knowing that `committed` is committed in all its tables. Kept are `committed`,
    /// the one before it, all later ones of this run, and every state file that one of these names or that is made for a
    /// later one. Nothing of newer generations is touched. Does nothing if `committed` is an older run's: until this run
    /// has a checkpoint of its own, all of it may be needed. Returns how many files were removed. Idempotent; a crash in
    /// between leaves files for the next collection.
    ///
    /// # Errors
    /// When the store fails, a kept manifest is damaged, or a newer run has claimed.
    pub async fn collect(&self, committed: ManifestId) -> Result<usize, CheckpointError> {
        if committed.generation != self.begin.generation {
            return Ok(0);
        }
        self.store.check_fence(self.begin.generation).await?;
        let mut keep = self.kept_manifests(committed).await?;
        keep.insert(committed);
        let mut files = BTreeSet::new();
        for id in &keep {
            let manifest = self.store.read_manifest(*id, "a collection").await?;
            files.extend(manifest.state.iter().filter_map(|file| self.store.layout().below_owner(&file.path)));
            files.insert(self.store.layout().manifest(*id));
        }
        let mut removed = 0;
        for generation in self.store.generations().await? {
            if generation > self.begin.generation {
                continue;
            }
            for path in self.removable(generation, committed, &files).await? {
                KillPoint::Collecting.reach();
                self.store.remove(&path).await?;
                removed += 1;
            }
            // This run may be in the middle of such a put; whoever is in the middle of an older one is fenced.
            if generation < self.begin.generation {
                removed += self.store.remove_cut_off_puts(generation).await?;
            }
        }
        Ok(removed)
    }

    /// The manifest before `committed` in this run's line, and those after it.
    async fn kept_manifests(&self, committed: ManifestId) -> Result<BTreeSet<ManifestId>, CheckpointError> {
        let entries = self.store.entries(self.begin.generation).await?;
        let ids: BTreeSet<ManifestId> = entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Manifest(number) => Some(self.id(number)),
                _ => None,
            })
            .collect();
        let before = ids.range(..committed).next_back().copied();
        let mut keep: BTreeSet<ManifestId> = ids.range(committed..).copied().collect();
        match (before, self.begin.after) {
            (Some(id), _) => keep.extend([id]),
            // The one that this run continues, unless an earlier collection has removed it.
            (None, Some(id)) if self.store.entries(id.generation).await?.contains(&Entry::Manifest(id.number)) => {
                keep.extend([id]);
            }
            (None, _) => {}
        }
        Ok(keep)
    }

    /// Files of a generation that can go: manifests first, so that none is ever there without its state.
    async fn removable(
        &self,
        generation: Generation,
        committed: ManifestId,
        keep: &BTreeSet<Path>,
    ) -> Result<Vec<Path>, CheckpointError> {
        let layout = self.store.layout();
        let states = layout.states(generation);
        let mine = generation == self.begin.generation;
        // By rank: manifests, other files, state.
        let mut removable = BTreeSet::new();
        for path in self.store.list(&layout.generation(generation)).await? {
            let rank = if path.prefix_matches(&states) {
                // Of this run, those made for a later checkpoint, whose manifest may not be there yet, stay.
                (!mine || Layout::parse_state(&path).is_some_and(|number| number <= committed.number)).then_some(2)
            } else {
                match Layout::parse_entry(&path) {
                    Some(Entry::Manifest(_)) => Some(0),
                    Some(Entry::Begin | Entry::Claim | Entry::Heartbeat) if !mine => Some(1),
                    _ => None,
                }
            };
            if let Some(rank) = rank.filter(|_| !keep.contains(&path)) {
                removable.insert((rank, path));
            }
        }
        Ok(removable.into_iter().map(|(_, path)| path).collect())
    }
}
