//! What stops a run, and what must not.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::checkpoints::{CheckpointError, ProtocolError};
use crate::engine::{EngineError, Epoch, FailPoint};
use crate::sinks::PublishError;
use crate::sources::SourceError;

fn job() -> String {
    format!("{STREAM}{HITS}{TOTALS}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_is_followed_by_another_attempt_from_the_newest_checkpoint() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 71, 3, 1_200);
    let world = World::new(&job(), logs);
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = panics.clone();
    // One worker of three, in two attempts; the others would wait for it for ever.
    let fail_point = FailPoint(Arc::new(move |worker, epoch: Epoch| {
        if worker == 1 && epoch.0 == 6 && counted.fetch_add(1, Ordering::SeqCst) < 2 {
            panic!("a test made it");
        }
    }));
    let report = world.run_to_end(&RunOptions { fail_point: Some(fail_point), ..drained(3) }).await;
    assert!(panics.load(Ordering::SeqCst) >= 2);
    assert_eq!(report.taken["clicks"], expected.produced);
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_all_accounted_for(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_always_panics_ends_the_run() {
    let logs = MemoryLogs::new(1);
    fill(&logs, 72, 2, 900);
    let world = World::new(&job(), logs);
    let fail_point = FailPoint(Arc::new(|worker, _| assert!(worker != 0, "a test made it")));
    // Single records: more of them than a dead worker's queue has room for.
    let options = RunOptions { fail_point: Some(fail_point), epoch_rows: 300, ..drained(2) };
    let ended = tokio::time::timeout(Duration::from_secs(60), world.run(&options, &CancellationToken::new())).await;
    let error = ended.expect("it ends").expect_err("it can't go on");
    assert!(matches!(&error, RunError::Engine(EngineError::WorkerDied { .. })), "{error}");
    assert!(error.to_string().contains("worker 0 panicked: a test made it"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_panics_is_opened_anew() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 73, 3, 500);
    logs.panics.store(true, Ordering::SeqCst);
    let world = World::new(&job(), logs);
    world.run_to_end(&drained(2)).await;
    assert_eq!(world.hits().await, expected.hits);
    let stopped = SourceError::Stopped { stream: "clicks".into(), message: "why".into() };
    assert!(RunError::from(stopped).fault() == crate::restarts::Fault::Ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_that_overflows_stops_the_run_and_publishes_nothing_wrong() {
    let logs = MemoryLogs::new(1);
    logs.append("clicks", 0, (0..3).map(|minute| click("good", 1, NOON + minute * MINUTE)));
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    world.run_to_end(&to_end(2)).await;
    let before = world.hits().await;
    assert_eq!(before.len(), 1, "the bound holds the second minute open: {before:?}");
    let later = NOON + 2 * MINUTE;
    logs.append("clicks", 0, [click("bad", i64::MAX, later), click("bad", i64::MAX, later)]);
    logs.append("clicks", 0, (3..9).map(|minute| click("good", 1, NOON + minute * MINUTE)));
    for workers in [1, 2] {
        let error = world.run(&drained(workers), &CancellationToken::new()).await.expect_err("it can't go on");
        let text = anyhow::Error::from(error).to_string();
        for part in ["marts.hits", "2026-01-01T00:02:00Z", "bad", "overflow"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(world.hits().await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_of_two_runs_is_fenced_and_rows_come_once() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 74, 2, 1_000);
    let world = Arc::new(World::new(&job(), logs.clone()));
    let older = world.clone();
    let stop = CancellationToken::new();
    let older = tokio::spawn(async move { older.run(&options(1), &CancellationToken::new()).await });
    logs.cancel_after(500, &stop);
    stop.cancelled().await;
    let newer = tokio::time::timeout(Duration::from_secs(120), world.run_to_end(&drained(2))).await.expect("it ends");
    assert!(newer.finished);
    // It has to have something to publish to notice.
    logs.append("clicks", 0, [click("later", 1, NOON + 600 * MINUTE)]);
    let error = tokio::time::timeout(Duration::from_secs(60), older).await.expect("it ends").expect("no panic");
    let error = error.expect_err("a newer run has taken over");
    let is_fenced = matches!(
        error,
        RunError::Publish(
            PublishError::Protocol(ProtocolError::Fenced { .. } | ProtocolError::FencedInStore { .. })
                | PublishError::Checkpoint(CheckpointError::Fenced { .. })
        )
    );
    assert!(is_fenced, "{error}");
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_version_is_not_continued() {
    let logs = MemoryLogs::new(10);
    fill(&logs, 75, 1, 300);
    let mut world = World::new(&format!("{STREAM}{HITS}"), logs);
    world.run_to_end(&to_end(1)).await;
    let before = world.hits().await;
    let changed = format!("{STREAM}{}", HITS.replace("sum(bytes)", "max(bytes)"));
    world.plan = World::new(&changed, world.logs.clone()).plan;
    let error = world.run(&drained(1), &CancellationToken::new()).await.expect_err("another version");
    assert!(matches!(error, RunError::Version { .. }), "{error}");
    assert_eq!(world.hits().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_a_restart_without_state_on_an_old_table_is_refused_and_drops_no_commit() {
    let logs = MemoryLogs::new(10);
    fill(&logs, 76, 1, 300);
    let world = World::new(&format!("{STREAM}{HITS}"), logs);
    world.run_to_end(&to_end(1)).await;
    let before = world.hits().await;
    std::fs::remove_dir_all(world.folder.path().join("state")).expect("it was there");
    let error = world.run(&drained(1), &CancellationToken::new()).await.expect_err("the state is gone");
    let is_lost = matches!(
        error,
        RunError::Publish(
            PublishError::Protocol(ProtocolError::StateLost { .. } | ProtocolError::Fenced { .. })
                | PublishError::Checkpoint(CheckpointError::StoreLost { .. })
        )
    );
    assert!(is_lost, "{error}");
    assert_eq!(world.hits().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_rejects_stop_the_run_before_anything_of_them_is_published() {
    let logs = MemoryLogs::new(1_000);
    let broken = |number: i64| Record { timestamp: NOON + number, value: format!("broken {number}") };
    logs.append("clicks", 0, (0..94).map(|number| click("a", 1, NOON + number * SECOND)));
    logs.append("clicks", 0, (0..6).map(broken));
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let strict = RunOptions::default().rejects_max_millionths;
    let slow =
        RunOptions { checkpoint_interval: Duration::from_secs(600), rejects_max_millionths: strict, ..to_end(1) };
    let error = world.run(&slow, &CancellationToken::new()).await.expect_err("six of a hundred are more than 5%");
    let text = error.to_string();
    for part in ["6 of the 100 records of stream clicks", "5%", "0@94, 0@95", "undecodable", "rejects_max"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(world.setup().await.checkpoints.newest().await.expect("readable").manifest.is_none());
    let report = world.run_to_end(&RunOptions { rejects_max_millionths: 60_000, ..slow.clone() }).await;
    assert_eq!((report.taken["clicks"], report.rejected["clicks"]), (100, 6));
    // Few records are not judged.
    logs.append("clicks", 0, (0..99).map(broken));
    let report = world.run_to_end(&slow).await;
    assert_eq!((report.taken["clicks"], report.rejected["clicks"]), (99, 99));
}
