//! Who waits for whom, at a clock that is moved by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::time::clock::{Clock, ManualClock};

const OWNER: &str = "page_hits";

/// A store, and the time on all machines.
struct World {
    objects: Arc<InMemory>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1_795_248_000));
        World { objects: Arc::new(InMemory::new()), clock }
    }

    fn store(&self) -> CheckpointStore {
        CheckpointStore::over(Arc::clone(&self.objects) as Arc<dyn ObjectStore>, OWNER)
    }

    /// This process.
    fn this(&self) -> Claimant {
        Claimant::new(self.clock.clone())
    }

    /// A process on another machine.
    fn elsewhere(&self, host: &str) -> Claimant {
        let process = Process { host: host.to_owned(), boot: host.to_owned(), pid: 7, started: 1 };
        Claimant { process, ..self.this() }
    }

    async fn claim(&self, claimant: &Claimant) -> Result<Claimed, String> {
        self.store().claim(claimant).await.map_err(|error| error.to_string())
    }

    /// Who runs the job now.
    async fn holder(&self) -> Option<Generation> {
        let holder = self.store().holder(self.clock.now()).await.expect("the store answers");
        holder.map(|claim| claim.generation)
    }

    async fn renewed(&self) -> Duration {
        let claim = self.store().newest_claim().await.expect("the store answers").expect("there is a claim");
        Duration::from_micros(u64::try_from(claim.renewed.0).expect("after 1970"))
    }
}

#[tokio::test]
async fn a_live_claim_is_respected_until_it_is_stale() {
    let world = World::new();
    assert_eq!(world.holder().await, None);
    let first = world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    assert_eq!(world.holder().await, Some(first.generation()));
    let held = "page_hits is being run by pid 7 on a since 2026-11-21T08:00:00Z; stop it first";
    assert_eq!(world.claim(&world.elsewhere("b")).await.expect_err("it is held"), held);
    assert_eq!(world.claim(&world.this()).await.expect_err("it is held"), held);
    world.clock.advance(STALE_AFTER - Duration::from_millis(1));
    assert!(world.claim(&world.this()).await.is_err());
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.holder().await, None);
    assert_eq!(world.claim(&world.this()).await.expect("it is stale").generation(), Generation(2));
}

#[tokio::test]
async fn a_killed_process_of_this_machine_is_not_waited_for() {
    let world = World::new();
    let this = world.this();
    // Its id is this process's, but it started at another time, so it is gone.
    let killed = Claimant { process: Process { started: this.process.started + 1, ..this.process.clone() }, ..this };
    world.claim(&killed).await.expect("nobody runs it");
    assert_eq!(world.holder().await, None);
    assert_eq!(world.claim(&world.elsewhere("b")).await.err().map(|held| held.contains("pid")), Some(true));
    assert_eq!(world.claim(&world.this()).await.expect("it is gone").generation(), Generation(2));
}

#[tokio::test]
async fn a_process_does_not_wait_for_itself_but_others_see_that_it_runs() {
    let world = World::new();
    world.claim(&world.this()).await.expect("nobody runs it");
    assert_eq!(world.holder().await, Some(Generation(1)));
    assert_eq!(world.claim(&world.this()).await.expect("its own").generation(), Generation(2));
}

#[tokio::test]
async fn taking_over_does_not_wait() {
    let world = World::new();
    world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    let second = Claimant { take_over: true, ..world.elsewhere("b") };
    assert_eq!(world.claim(&second).await.expect("takes over").generation(), Generation(2));
}

#[tokio::test]
async fn of_processes_that_find_nobody_at_once_one_gets_it_and_the_others_wait() {
    let world = World::new();
    let claims = (0..8).map(|host| {
        let (store, claimant) = (world.store(), world.elsewhere(&host.to_string()));
        tokio::spawn(async move { store.claim(&claimant).await.map(|claimed| claimed.generation()) })
    });
    let mut taken = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.expect("no panic") {
            Ok(generation) => taken.push(generation),
            Err(CheckpointError::Held { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(taken, [Generation(1)]);
}

#[tokio::test]
async fn a_run_renews_its_claim_until_it_is_released() {
    let world = World::new();
    let claimed = world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    let heartbeat = claimed.keep_alive();
    let started = world.clock.elapsed();
    for renewal in 1..=4 {
        world.clock.advance(RENEW_EVERY);
        while world.renewed().await != started + RENEW_EVERY * renewal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(world.claim(&world.this()).await.is_err(), "renewed, it is live after 40 s");
    heartbeat.release().await;
    heartbeat.release().await;
    assert_eq!(world.holder().await, None);
    let second = world.claim(&world.this()).await.expect("it was released");
    assert_eq!(second.generation(), Generation(2));
}

#[tokio::test]
async fn a_run_that_was_taken_over_learns_it_with_its_next_renewal_and_leaves_the_newer_claim_alone() {
    let world = World::new();
    let claimed = world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    let heartbeat = claimed.keep_alive();
    let newer = world.claim(&Claimant { take_over: true, ..world.elsewhere("b") }).await.expect("takes over");
    world.clock.advance(RENEW_EVERY);
    assert_eq!(
        heartbeat.fenced().await.to_string(),
        "a newer run has taken over: this run's generation is 1, the newest claim is 2, of pid 7 on b since \
         2026-11-21T08:00:00Z"
    );
    heartbeat.release().await;
    assert_eq!(world.holder().await, Some(newer.generation()));
}

#[tokio::test]
async fn waiting_ends_with_the_release_and_names_whom_it_waits_for_once() {
    let world = World::new();
    let claimed = world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    let heartbeat = claimed.keep_alive();
    let (store, claimant) = (world.store(), world.this());
    let told = Mutex::new(Vec::new());
    let mut tell = |claim: &Claim| told.lock().expect("ours").push(claim.process.host.clone());
    let waiting = store.wait_until_free(&claimant, &mut tell);
    let release = async {
        while told.lock().expect("ours").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        heartbeat.release().await;
    };
    let (waited, ()) = tokio::join!(waiting, release);
    waited.expect("the store answers");
    assert_eq!(*told.lock().expect("ours"), ["a"]);
    assert!(store.claim(&claimant).await.is_ok());
}

#[tokio::test]
async fn a_claim_that_another_version_wrote_is_passed_over() {
    let world = World::new();
    let claimed = world.claim(&world.elsewhere("a")).await.expect("nobody runs it");
    let path = world.store().layout().claim(claimed.generation());
    let put = world.objects.put_opts(&path, b"{\"format\":1}\n".to_vec().into(), Default::default());
    put.await.expect("puts");
    assert_eq!(world.holder().await, None);
    assert_eq!(world.claim(&world.this()).await.expect("unknown").generation(), Generation(2));
}
