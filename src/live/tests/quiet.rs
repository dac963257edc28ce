//! A log in which nothing happens, and a store that does nothing for a while: what a run makes of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::memory::Pressure;
use crate::standing::{Phase, Standing};

/// Snapshots that checkpoints made; claims make others.
async fn published(world: &World) -> usize {
    let table = world.table("marts.hits").await;
    let snapshots = table.metadata().snapshots();
    let marked = |summary: &std::collections::HashMap<String, String>| summary.contains_key("kappa.job.checkpoint");
    snapshots.filter(|snapshot| marked(&snapshot.summary().additional_properties)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_log_makes_no_snapshots() {
    let logs = MemoryLogs::new(10);
    fill(&logs, 91, 2, 300);
    let world = World::new(&format!("{STREAM}{HITS}"), logs);
    world.run_to_end(&to_end(2)).await;
    let before = published(&world).await;
    assert!(before > 0);
    let (stop, shows) = (CancellationToken::new(), AtomicUsize::new(0));
    // Each is a fifth of a second, in which ten checkpoints would have room.
    let watch = |standing: &Standing| {
        if standing.phase == Phase::Reading && shows.fetch_add(1, Ordering::SeqCst) == 5 {
            stop.cancel();
        }
    };
    let report = run(&world.plan, &world.setup().await, &options(2), &stop, &watch).await.expect("it runs");
    assert_eq!((report.checkpoints, report.taken["clicks"]), (1, 0), "only the last one, for the positions");
    assert_eq!(published(&world).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_shows_is_what_it_reports() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 92, 3, 700);
    let world = World::new(&format!("{STREAM}{HITS}{TOTALS}"), logs);
    let last = std::sync::Mutex::new(Standing::default());
    let watch = |standing: &Standing| last.lock().expect("ours").clone_from(standing);
    let setup = world.setup().await;
    let report = run(&world.plan, &setup, &drained(2), &CancellationToken::new(), &watch).await.expect("it runs");
    let last = last.into_inner().expect("ours");
    assert_eq!((last.taken(), last.streams[0].name.as_str()), (expected.produced, "clicks"));
    assert_eq!(last.streams[0].partitions.values().map(|at| at.rejected).sum::<u64>(), expected.rejected);
    assert!(last.streams[0].bytes > 10 * expected.produced, "{}", last.streams[0].bytes);
    assert_eq!(last.checkpoints.count, report.checkpoints);
    for table in &last.tables {
        let name = table.table.to_string();
        assert_eq!((table.rows, table.late), (report.rows[&name], report.late[&name]), "{name}");
        assert_eq!(table.accepted + table.late + expected.rejected, expected.produced, "{name}");
    }
    assert_eq!((last.phase, last.generation, last.restarts), (Phase::Ending, 1, 0));
    assert!(last.commits.landed >= 2 && last.outages.is_empty(), "{last:?}");
    assert_eq!(last.frontier, report.watermark);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_go_on_when_an_attempt_follows_another() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 93, 2, 600);
    let world = World::new(&format!("{STREAM}{HITS}"), logs);
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = panics.clone();
    let fail_point = crate::engine::FailPoint(Arc::new(move |_, epoch: crate::engine::Epoch| {
        if epoch.0 == 3 && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("a test made it");
        }
    }));
    let seen = std::sync::Mutex::new(Vec::new());
    let watch = |standing: &Standing| seen.lock().expect("ours").push((standing.taken(), standing.restarts));
    let options = RunOptions { fail_point: Some(fail_point), ..drained(1) };
    run(&world.plan, &world.setup().await, &options, &CancellationToken::new(), &watch).await.expect("it runs");
    let seen = seen.into_inner().expect("ours");
    assert!(seen.is_sorted(), "nothing goes back: {seen:?}");
    assert_eq!(seen.last(), Some(&(expected.produced, 1)), "none counts twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_no_memory_at_all_gives_up_after_a_checkpoint_and_loses_nothing() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 94, 2, 600);
    let world = World::new(&format!("{STREAM}{HITS}"), logs);
    let pressed = AtomicUsize::new(0);
    let watch = |standing: &Standing| {
        if standing.memory.pressure() == Pressure::Over {
            pressed.fetch_add(1, Ordering::SeqCst);
        }
    };
    let options = RunOptions { memory_max: Some(1), ..options(1) };
    let setup = world.setup().await;
    let never = CancellationToken::new();
    let running = run(&world.plan, &setup, &options, &never, &watch);
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends");
    let error = ended.expect_err("there is no memory");
    assert!(matches!(error, RunError::Memory { .. }), "{error}");
    assert!(pressed.load(Ordering::SeqCst) > 0);
    world.run_to_end(&drained(1)).await;
    assert_eq!(world.hits().await, expected.hits);
}
