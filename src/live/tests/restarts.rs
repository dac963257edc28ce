//! Whatever the batches, workers and restarts: the rows are those of a plain computation, each once.

use super::*;

fn job() -> String {
    format!("{STREAM}{HITS}{TOTALS}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_workers_do_not_show() {
    for (seed, batch, workers) in [(1, 1, 1), (2, 7, 2), (3, 1_000, 4), (4, 10_000, 3)] {
        let logs = MemoryLogs::new(batch);
        let expected = fill(&logs, seed, 3, 1_500);
        let world = World::new(&job(), logs);
        let report = world.run_to_end(&drained(workers)).await;
        assert!(report.finished && !report.resumed, "{report:?}");
        assert_eq!(world.hits().await, expected.hits, "batches of {batch}, {workers} workers");
        assert_eq!(world.totals().await, expected.totals, "batches of {batch}, {workers} workers");
        assert_eq!((report.taken["clicks"], report.rejected["clicks"]), (expected.produced, expected.rejected));
        assert_eq!(report.late["marts.hits"], expected.late_hits);
        assert_eq!(report.rows["marts.hits"], expected.hits.len() as u64);
        assert_eq!(report.rows["marts.totals"], expected.totals.len() as u64);
        world.assert_all_accounted_for(&expected).await;
        let again = world.run_to_end(&drained(workers)).await;
        assert!(again.finished && again.checkpoints == 0, "a finished job is left alone: {again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b14_stopped_in_the_work_of_checkpoints_and_started_with_other_workers_nothing_is_lost_or_doubled() {
    let logs = MemoryLogs::new(50);
    let expected = fill(&logs, 11, 4, 1_500);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(12);
    for restart in 0..12 {
        let stop = CancellationToken::new();
        logs.cancel_after(random.random_range(1..600), &stop);
        logs.batch.store([1, 13, 200, 3_000][restart % 4], std::sync::atomic::Ordering::SeqCst);
        let report = world.run(&options([1, 2, 4][restart % 3]), &stop).await.expect("it stops in order");
        assert!(report.resumed == (restart > 0) && !report.finished, "{report:?}");
    }
    world.run_to_end(&drained(2)).await;
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_all_accounted_for(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_anywhere_nothing_is_lost_or_doubled() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 21, 3, 2_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(22);
    for attempt in 0..15 {
        let cut_off = CancellationToken::new();
        logs.cancel_after(random.random_range(1..3_000), &cut_off);
        // Dropped in the middle of whatever it does, as if the process had gone.
        let (options, stop) = (options(1 + attempt % 3), CancellationToken::new());
        tokio::select! {
            ended = world.run(&options, &stop) => panic!("{ended:?}"),
            () = cut_off.cancelled() => tokio::time::sleep(Duration::from_millis(random.random_range(0..40))).await,
        }
    }
    world.run_to_end(&drained(4)).await;
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_all_accounted_for(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_the_end_of_a_run_is_for_the_next_one() {
    let logs = MemoryLogs::new(40);
    let expected = fill(&logs, 31, 3, 900);
    // The first run ends where the log ended when it began, though it finds more.
    let whole = std::mem::take(&mut *logs.streams.lock().expect("ours"));
    for (partition, records) in whole["clicks"].iter().enumerate() {
        logs.append("clicks", partition, records[..300].iter().cloned());
    }
    let world = World::new(&job(), logs.clone());
    let (growing, growing_from) = (logs.clone(), whole.clone());
    let grower = std::thread::spawn(move || {
        for end in 300..900 {
            for (partition, records) in growing_from["clicks"].iter().enumerate() {
                growing.append("clicks", partition, [records[end].clone()]);
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    for workers in [1, 2, 4] {
        let report = world.run_to_end(&to_end(workers)).await;
        assert!(!report.finished, "{report:?}");
        let manifest = world.manifest().await;
        for at in manifest.streams["clicks"].values() {
            assert_eq!(at.taken, at.next_offset.0 as u64, "every record below the position was taken");
        }
    }
    grower.join().expect("it only appends");
    world.run_to_end(&drained(2)).await;
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_all_accounted_for(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_moves_on_while_other_partitions_are_read_passes_nothing_over() {
    let logs = MemoryLogs::new(1);
    let number = |range: std::ops::Range<i64>| range.map(|number| click("a", 60, NOON + number * SECOND));
    logs.append("clicks", 0, number(0..10));
    logs.append("clicks", 1, number(0..600));
    logs.grows.lock().expect("ours").extend(number(10..30));
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    // Two lanes: the first says its end, which is now at 30, again and again while the second is busy.
    let report = world.run_to_end(&to_end(2)).await;
    assert_eq!(report.taken["clicks"], 610);
    assert_eq!(world.manifest().await.streams["clicks"][&0].next_offset.0, 10);
    let report = world.run_to_end(&drained(1)).await;
    assert_eq!(report.taken["clicks"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_whole_partitions_are_held_back_over_restarts() {
    let logs = MemoryLogs::new(10);
    // A minute apart, and one partition, so that the hour's last window closes with the record at 1:00:05.
    let upto = |minutes: std::ops::Range<i64>| minutes.map(|minute| click("a", 60, NOON + minute * MINUTE + BOUND));
    let world = World::new(&job(), logs.clone());
    logs.append("clicks", 0, upto(0..30));
    world.run_to_end(&to_end(1)).await;
    logs.append("clicks", 0, upto(30..60));
    let report = world.run_to_end(&to_end(2)).await;
    assert!(report.rows["marts.hits"] > 0 && report.rows["marts.totals"] == 0, "{report:?}");
    assert_eq!(world.totals().await, Rows::new());
    assert!(!world.manifest().await.held.is_empty());
    logs.append("clicks", 0, upto(60..62));
    let report = world.run_to_end(&to_end(1)).await;
    assert_eq!(report.rows["marts.totals"], 12);
    let totals = world.totals().await;
    assert_eq!(totals.len(), 12, "one hour of five minutes each: {totals:?}");
    assert!(totals.values().all(|&row| row == (5, 300)), "{totals:?}");
    assert!(world.manifest().await.held.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_partitions_end_in_few_files_with_the_same_rows() {
    let logs = MemoryLogs::new(40);
    let expected = fill(&logs, 41, 2, 4_000);
    let world = World::new(&job(), logs.clone());
    for _ in 0..5 {
        let stop = CancellationToken::new();
        logs.cancel_after(1_300, &stop);
        world.run(&options(2), &stop).await.expect("it stops in order");
    }
    world.run_to_end(&drained(2)).await;
    assert_eq!(world.hits().await, expected.hits);
    let mut files: BTreeMap<_, usize> = BTreeMap::new();
    for file in world.files("marts.hits").await {
        *files.entry(file.partition).or_default() += 1;
    }
    assert!(files.len() > 1, "several hours: {files:?}");
    assert!(files.values().all(|&files| files == 1), "{files:?}");
}
