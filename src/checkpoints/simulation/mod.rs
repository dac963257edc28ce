//! The commit protocol in a deterministic simulation: random runs, crashes, lost answers and zombies, over the production
//! code and a model of tables. Whatever happens, in the end every record of the log is in its tables exactly once, and every
//! state file of the newest checkpoint reads.
//!
//! A seed is a schedule: which of three processes takes its next step of I/O, whether that fails, has its effect but loses its
//! answer, kills the process, or sees listings from before newer runs had claimed. `KAPPA_SIMULATION_SEED` and
//! `KAPPA_SIMULATION_SEEDS` choose the first seed and how many.

mod process;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::process::{Luck, Run};
use self::world::World;
use super::faulty_store::Fault;

/// Schedules that every test run goes through, and in which each planted fault shows.
const SEEDS: u64 = 2_000;
/// Steps until the last run must have come to the end.
const ROUNDS_MAX: usize = 2_000;

/// A mistake of whoever drives the protocol; that the simulation finds it shows that it would find ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    /// A table is committed to whatever it says of what it has.
    CommitsWithoutLooking,
    /// A commit whose answer was lost has happened.
    TakesUnknownForCommitted,
    /// A commit whose answer was lost has failed, and its files are of no use any more.
    RemovesFilesInDoubt,
    /// The newest manifest's commits aren't finished by the next run.
    SkipsRecovery,
    /// Tables don't hear of a new run until it commits its first checkpoint.
    LeavesTablesUnclaimed,
    /// The newest checkpoint is read while older runs can still make another.
    ReadsBeforeClaiming,
    /// The next manifest is put while the one before isn't in all its tables.
    GoesOnUncommitted,
}

/// Plays the schedule of one seed.
///
/// # Panics
/// When a row is missing or there twice, or a run can't go on.
async fn simulate(seed: u64, planted: Option<Planted>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(planted);
    let mut runs: Vec<Run> = (0..3).map(|_| Run::new(&world)).collect();
    for _ in 0..random.random_range(0..200) {
        // The first process does most, so that runs get far before others interfere.
        let process = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][random.random_range(0..10)];
        if random.random_ratio(2, 42) {
            // Killed where it stands, and started again.
            runs[process] = Run::new(&world);
            continue;
        }
        if runs[process].is_stopped() {
            runs[process] = Run::new(&world);
        }
        let luck = luck(&mut random);
        runs[process].advance(&mut world, luck, random.random_range(1..5)).await;
        world.check_none_twice();
    }
    // In the end one run is let through, while those before, which don't know yet, go on between its steps.
    let mut last = Run::new(&world);
    last.advance(&mut world, Luck::Good, 1).await;
    for round in 0..ROUNDS_MAX {
        if last.finished() {
            break;
        }
        last.advance(&mut world, Luck::Good, 3).await;
        assert!(!last.is_stopped(), "the newest run is never fenced");
        let zombie = &mut runs[round % 3];
        if zombie.generation().is_some() {
            zombie.advance(&mut world, Luck::Outdated, 2).await;
        }
    }
    assert!(last.finished(), "the last run comes to the end");
    world.check_all_there();
    let newest = last.store.newest().await.expect("reads").manifest.expect("was put");
    for file in &newest.state {
        last.store.get_state(file).await.expect("kept");
    }
}

fn luck(random: &mut StdRng) -> Luck {
    match random.random_range(0..9) {
        0..5 => Luck::Good,
        5 | 6 => Luck::Bad(Fault {
            after_calls: random.random_range(0..12),
            performed: random.random(),
            dies: random.random(),
        }),
        _ => Luck::Outdated,
    }
}

fn play(seed: u64, planted: Option<Planted>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    runtime.block_on(simulate(seed, planted));
}

fn seeds() -> Range<u64> {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    let first = number("KAPPA_SIMULATION_SEED", 0);
    first..first + number("KAPPA_SIMULATION_SEEDS", SEEDS)
}

#[test]
fn whatever_dies_when_every_staged_change_reaches_its_table_exactly_once() {
    for seed in seeds() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, None))) {
            eprintln!("seed {seed}: KAPPA_SIMULATION_SEED={seed} KAPPA_SIMULATION_SEEDS=1 plays it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The first seed that finds a fault.
fn found(planted: Planted) -> Option<u64> {
    (0..SEEDS).find(|&seed| catch_unwind(AssertUnwindSafe(|| play(seed, Some(planted)))).is_err())
}

#[test]
fn planted_faults_are_found() {
    let all = [
        Planted::CommitsWithoutLooking,
        Planted::TakesUnknownForCommitted,
        Planted::RemovesFilesInDoubt,
        Planted::SkipsRecovery,
        Planted::LeavesTablesUnclaimed,
        Planted::ReadsBeforeClaiming,
        Planted::GoesOnUncommitted,
    ];
    let found: Vec<(Planted, Option<u64>)> = all.map(|planted| (planted, found(planted))).to_vec();
    eprintln!("first seeds: {found:?}");
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "{found:?}");
}
