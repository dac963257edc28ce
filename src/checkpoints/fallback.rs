//! Which checkpoint can still be gone on from when files of the newest one are damaged or gone.
//!
//! Tables may be ahead of an older checkpoint. So it is never simply continued: whoever goes back to it leaves the newer ones
//! behind on purpose ([`super::BeginRecord::abandoned`]), and first puts a checkpoint of its own that says what is published
//! again. Until that is there, [`Newest::is_behind`] says that it is still to be done.
//! Invariant: reads only. What another program or version wrote is refused, never passed over.

use super::layout::Entry;
use super::{
    BadManifest, BeginRecord, CheckpointError, CheckpointStore, Claimant, Generation, Manifest, ManifestId, Newest,
};

/// How many checkpoints are passed over at most. The two newest committed ones are kept, and at most one more is under
/// way. Further back there may have been a move of the job in between, and tables no longer tell what was read before it.
const PASSED_OVER_MAX: usize = 2;

/// The newest checkpoint that can be read, and what is wrong with newer ones.
#[derive(Debug)]
pub struct Usable {
    /// It, and in `abandoned` the newest one that was passed over.
    pub newest: Newest,
    /// What is wrong with newer ones, or with the record of where its run began; newest first.
    pub damages: Vec<CheckpointError>,
    /// How many checkpoints were passed over.
    pub passed_over: usize,
    /// The name that the next checkpoint would have had: a table that has it tells that the file is gone.
    pub next: Option<ManifestId>,
}

impl Newest {
    /// Whether tables may have more than this checkpoint knows, so that it can't be continued as it is.
    pub fn is_behind(&self) -> bool {
        self.abandoned > self.id()
    }
}

impl CheckpointError {
    /// Whether a file isn't there any more, or isn't what was written: an older checkpoint may still be good. Not for what
    /// another version wrote: that is good, but not for this program.
    pub fn is_damage(&self) -> bool {
        match self {
            CheckpointError::Damaged { .. } | CheckpointError::Missing { .. } => true,
            CheckpointError::BadManifest { source, .. } => match source {
                BadManifest::CutOff | BadManifest::Checksum { .. } | BadManifest::Misplaced { .. } => true,
                BadManifest::Format { .. } | BadManifest::Json(_) => false,
            },
            _ => false,
        }
    }

    /// Which file it is, and what is wrong with it, without the way out.
    pub fn flaw(&self) -> String {
        match self {
            CheckpointError::Damaged { path, detail } => format!("{path} is damaged: {detail}"),
            CheckpointError::Missing { path, named_by } => format!("{path} is missing, though {named_by} needs it"),
            CheckpointError::BadManifest { path, source } => format!("{path}: {}", source.what()),
            other => other.to_string(),
        }
    }
}

impl CheckpointStore {
    /// As [`CheckpointStore::newest`], but passes over checkpoints whose manifests are damaged or gone. Without any that is
    /// good, the manifest is `None` and the damages say why.
    ///
    /// # Errors
    /// When the store fails, or another version of the program has written a file.
    pub async fn usable(&self) -> Result<Usable, CheckpointError> {
        let mut damages = Vec::new();
        for generation in self.generations().await?.into_iter().rev() {
            let numbers = self.numbers(generation).await?;
            let Some(begin) = self.begun(generation, numbers.is_empty(), &mut damages).await? else { continue };
            let last = numbers.iter().max().map(|&number| ManifestId::new(generation, number));
            let next = Some(ManifestId::new(generation, last.map_or(1, |id| id.number + 1)));
            let Some(id) = last.or(begin.after) else {
                // Whatever is damaged, there was nothing to lose.
                let newest = Newest { manifest: None, abandoned: begin.abandoned };
                return Ok(Usable { newest, damages: Vec::new(), passed_over: 0, next });
            };
            let found = self.good_from(id, PASSED_OVER_MAX).await?;
            let (manifest, passed_over) = (found.good, found.passed_over.len());
            let abandoned = begin.abandoned.max(found.passed_over.first().map(|(id, _)| *id));
            damages.extend(found.passed_over.into_iter().map(|(_, damage)| damage));
            return Ok(Usable { newest: Newest { manifest, abandoned }, damages, passed_over, next });
        }
        let newest = Newest { manifest: None, abandoned: None };
        Ok(Usable { newest, damages: Vec::new(), passed_over: 0, next: None })
    }

    /// What a claimant goes on from: only some pass over what is damaged.
    ///
    /// # Errors
    /// As [`CheckpointStore::usable`], and without falling back as [`CheckpointStore::newest`].
    pub async fn newest_for(&self, claimant: &Claimant) -> Result<Usable, CheckpointError> {
        match claimant.falls_back {
            true => self.usable().await,
            false => Ok(Usable { newest: self.newest().await?, damages: Vec::new(), passed_over: 0, next: None }),
        }
    }

    /// Where a generation began; `None`: it hasn't, or nothing tells and nothing came of it. A damaged begin record names
    /// one that older files tell as well: what the generation's own run had put, or what it would have continued.
    async fn begun(
        &self,
        generation: Generation,
        is_empty: bool,
        damages: &mut Vec<CheckpointError>,
    ) -> Result<Option<BeginRecord>, CheckpointError> {
        if is_empty && !self.entries(generation).await?.contains(&Entry::Begin) {
            return Ok(None);
        }
        match self.read_begin(generation).await {
            Ok(begin) => Ok(Some(begin)),
            Err(error) if error.is_damage() => {
                damages.push(error);
                let unknown = BeginRecord { generation, after: None, abandoned: None };
                Ok((!is_empty).then_some(unknown))
            }
            Err(error) => Err(error),
        }
    }

    /// The first good manifest from `id` on backwards, passing over at most so many.
    async fn good_from(&self, id: ManifestId, passed_over_max: usize) -> Result<Found, CheckpointError> {
        let mut found = Found::default();
        let mut next = Some(id);
        while let Some(id) = next {
            match self.read_manifest(id, "the run that went on from it").await {
                Ok(manifest) => {
                    found.good = Some(manifest);
                    break;
                }
                Err(error) if error.is_damage() => found.passed_over.push((id, error)),
                Err(error) => return Err(error),
            }
            next = if found.passed_over.len() <= passed_over_max { self.before(id).await? } else { None };
        }
        Ok(found)
    }

    /// The newest checkpoint at or before `manifest` that is good with all its state, and what is wrong with those after it.
    /// So many were `passed_over` before.
    ///
    /// # Errors
    /// When the store fails, or another version of the program has written a file.
    pub(super) async fn good_with_state(
        &self,
        manifest: &Manifest,
        passed_over: usize,
    ) -> Result<GoodWithState, CheckpointError> {
        let mut damages = Vec::new();
        let mut candidate = Some(manifest.clone());
        while let Some(manifest) = candidate.take() {
            match self.check_state(&manifest).await {
                Ok(()) => return Ok(GoodWithState { manifest: Some(manifest), damages }),
                Err(error) if error.is_damage() => damages.push(error),
                Err(error) => return Err(error),
            }
            let left = PASSED_OVER_MAX.checked_sub(passed_over + damages.len());
            if let (Some(left), Some(before)) = (left, self.before(manifest.id).await?) {
                let found = self.good_from(before, left).await?;
                damages.extend(found.passed_over.into_iter().map(|(_, damage)| damage));
                candidate = found.good;
            }
        }
        Ok(GoodWithState { manifest: None, damages })
    }

    /// Reads all state of a checkpoint, and keeps none of it.
    async fn check_state(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        for file in &manifest.state {
            self.get_state(file).await?;
        }
        Ok(())
    }

    /// That the file of checkpoint `id` is gone.
    pub fn missing(&self, id: ManifestId, named_by: &str) -> CheckpointError {
        CheckpointError::Missing { path: self.layout().manifest(id).to_string(), named_by: named_by.to_owned() }
    }

    /// The checkpoint before one in its line, if its file is there.
    async fn before(&self, id: ManifestId) -> Result<Option<ManifestId>, CheckpointError> {
        let below = self.numbers(id.generation).await?.into_iter().filter(|&number| number < id.number).max();
        if let Some(number) = below {
            return Ok(Some(ManifestId::new(id.generation, number)));
        }
        match self.read_begin(id.generation).await {
            Ok(BeginRecord { after: Some(after), .. }) => {
                let is_there = self.numbers(after.generation).await?.contains(&after.number);
                Ok(is_there.then_some(after))
            }
            Ok(BeginRecord { after: None, .. }) => Ok(None),
            // Nothing tells which one it was.
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn numbers(&self, generation: Generation) -> Result<Vec<u64>, CheckpointError> {
        let entries = self.entries(generation).await?.into_iter();
        let number = |entry| if let Entry::Manifest(number) = entry { Some(number) } else { None };
        Ok(entries.filter_map(number).collect())
    }
}

/// The newest checkpoint that is good with its state.
#[derive(Debug, Default)]
pub struct GoodWithState {
    /// It; `None`: none of those that may be gone back to is.
    pub manifest: Option<Manifest>,
    /// What is wrong with newer ones, newest first.
    pub damages: Vec<CheckpointError>,
}

#[derive(Default)]
struct Found {
    good: Option<Manifest>,
    /// Newest first.
    passed_over: Vec<(ManifestId, CheckpointError)>,
}
