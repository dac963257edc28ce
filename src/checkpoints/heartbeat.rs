//! Holding a claim: looking for a live one, waiting for its end, renewing one's own, releasing it.
//!
//! A renewal overwrites one file, `<generation>/heartbeat.json`, by a plain put. It needs no condition: only the run that
//! owns the generation ever writes there, the conditional put of `claim.json` has seen to that, and a put is atomic in
//! every store (S3 has no rename, but a reader sees the old object or the new one, never a half; a local folder gets it by
//! write and rename). Conditional updates would cost a read each and lose renewals to lost answers, for nothing. A new file
//! for each renewal would never be changed either, but leaves 8,640 files a day.
//! Invariant: never decides who may publish; see [`super::claim`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use object_store::{ObjectStoreExt, PutPayload};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Claimant, Process, RENEW_EVERY, is_live};
use super::layout::Entry;
use super::{CheckpointError, CheckpointStore, Generation};
use crate::event::EventTime;

/// How often the clock is looked at for a renewal that is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the store is looked at for the end of another's claim: one listing and one read each.
const WAIT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a run waits for its release: without it the next run on another machine waits for half a minute.
const RELEASE_MAX: Duration = Duration::from_secs(5);

impl CheckpointStore {
    /// The live claim at `now`, by whichever process; `None`: nobody runs the job, or archives the history.
    ///
    /// What must not happen beside a run asks this first. It is only a look: a run may start right after, so whoever
    /// changes something claims a generation too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn holder(&self, now: EventTime) -> Result<Option<Claim>, CheckpointError> {
        let this = Process::this();
        let claim = self.newest_claim().await?;
        Ok(claim.filter(|claim| is_live(claim, now, claim.process.is_alive(&this))))
    }

    /// The claim of the newest run, live or not; `None`: nobody ever ran it, or a version that this one doesn't know.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_claim(&self) -> Result<Option<Claim>, CheckpointError> {
        for generation in self.generations().await?.into_iter().rev() {
            let entries = self.entries(generation).await?;
            if entries.contains(&Entry::Claim) {
                return self.read_claim(generation, &entries).await;
            }
        }
        Ok(None)
    }

    /// Waits until no other process has a live claim; `told` hears of each one that is waited for, once. Cancel-safe.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_until_free(
        &self,
        claimant: &Claimant,
        told: &mut (dyn FnMut(&Claim) + Send),
    ) -> Result<(), CheckpointError> {
        let mut known = None;
        while let Some(claim) = self.other_holder(claimant).await? {
            if known != Some(claim.generation) {
                known = Some(claim.generation);
                told(&claim);
            }
            tokio::time::sleep(WAIT_LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The live claim that `claimant` has to wait for. One of this very process is none: an attempt that died in it is
    /// followed by another, and nobody but this process could release it.
    pub(super) async fn other_holder(&self, claimant: &Claimant) -> Result<Option<Claim>, CheckpointError> {
        if claimant.take_over {
            return Ok(None);
        }
        let claim = self.newest_claim().await?;
        let is_other = |claim: &Claim| {
            let alive = claim.process.is_alive(&claimant.process);
            claim.process != claimant.process && is_live(claim, claimant.clock.now(), alive)
        };
        Ok(claim.filter(is_other))
    }

    /// What the run of a generation said last.
    pub(super) async fn read_claim(
        &self,
        generation: Generation,
        entries: &[Entry],
    ) -> Result<Option<Claim>, CheckpointError> {
        let renewed = entries.contains(&Entry::Heartbeat);
        let layout = self.layout();
        let path = if renewed { layout.heartbeat(generation) } else { layout.claim(generation) };
        match self.read(&path, "the folder's listing").await {
            Ok(bytes) => Ok(Claim::decode(&bytes)),
            // Collected in between: a newer run is at work.
            Err(CheckpointError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put_heartbeat(&self, claim: &Claim) -> Result<(), CheckpointError> {
        let path = self.layout().heartbeat(claim.generation);
        let put = self.objects().put(&path, PutPayload::from(claim.encode())).await;
        put.map(|_| ()).map_err(|source| CheckpointError::Write { path: path.to_string(), source: source.into() })
    }
}

/// A newer run.
#[derive(Clone, Debug)]
struct Newer {
    generation: Generation,
    by: Option<Box<Claim>>,
}

/// The renewals of one run's claim, in the background. Dropped, the claim is released as soon as the store allows.
#[derive(Debug)]
pub struct Heartbeat {
    generation: Generation,
    stop: CancellationToken,
    newer: watch::Receiver<Option<Newer>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Heartbeat {
    /// Renews `claim`, which is in the store already, every [`RENEW_EVERY`].
    pub(super) fn start(store: &CheckpointStore, claimant: &Claimant, claim: Claim) -> Heartbeat {
        let (tell, newer) = watch::channel(None);
        let stop = CancellationToken::new();
        let generation = claim.generation;
        let beat = Beat {
            store: store.clone(),
            claimant: claimant.clone(),
            claim,
            renewed: claimant.clock.elapsed(),
            is_away: false,
        };
        let task = tokio::spawn(beat.go_on(stop.clone(), tell));
        Heartbeat { generation, stop, newer, task: Mutex::new(Some(task)) }
    }

    /// Waits until a renewal has found a newer run, and names it: [`CheckpointError::Fenced`]. Cancel-safe.
    pub async fn fenced(&self) -> CheckpointError {
        let mut newer = self.newer.clone();
        let found = newer.wait_for(Option::is_some).await.ok().and_then(|newer| newer.clone());
        match found {
            Some(Newer { generation, by }) => CheckpointError::Fenced { mine: self.generation, newest: generation, by },
            // Released: nobody looks any more.
            None => std::future::pending().await,
        }
    }

    /// Ends the renewals and says in the store that the run has stopped in order, unless a newer one has taken over.
    /// Idempotent. A store that doesn't answer is left alone after a few seconds: the claim goes stale by itself.
    pub async fn release(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        if tokio::time::timeout(RELEASE_MAX, task).await.is_err() {
            tracing::warn!("the claim couldn't be released; a run on another machine will wait until it is stale");
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the task of a [`Heartbeat`] works with.
struct Beat {
    store: CheckpointStore,
    claimant: Claimant,
    claim: Claim,
    /// When the last renewal was made or tried.
    renewed: Duration,
    /// Whether the last renewal failed.
    is_away: bool,
}

impl Beat {
    async fn go_on(mut self, stop: CancellationToken, tell: watch::Sender<Option<Newer>>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return self.release().await,
            }
            let now = self.claimant.clock.elapsed();
            if now.saturating_sub(self.renewed) < RENEW_EVERY {
                continue;
            }
            self.renewed = now;
            if let Err(CheckpointError::Fenced { newest, by, .. }) = self.renew().await {
                // Nobody to tell: the run is over.
                drop(tell.send(Some(Newer { generation: newest, by })));
                return;
            }
        }
    }

    /// One renewal; only being fenced is an error that anyone is told of.
    async fn renew(&mut self) -> Result<(), CheckpointError> {
        self.claim.renewed = self.claimant.clock.now();
        let renewed = match self.store.check_fence(self.claim.generation).await {
            Ok(()) => self.store.put_heartbeat(&self.claim).await,
            Err(error) => Err(error),
        };
        match &renewed {
            Err(CheckpointError::Fenced { .. }) => {}
            Err(error) if !self.is_away => tracing::warn!(%error, "the claim couldn't be renewed; it is tried again"),
            Err(_) => {}
            Ok(()) if self.is_away => tracing::info!("the claim is renewed again"),
            Ok(()) => {}
        }
        self.is_away = renewed.is_err();
        renewed
    }

    async fn release(mut self) {
        self.claim.released = true;
        self.claim.renewed = self.claimant.clock.now();
        if let Err(error) = self.store.put_heartbeat(&self.claim).await {
            tracing::debug!(%error, "the claim wasn't released");
        }
    }
}
