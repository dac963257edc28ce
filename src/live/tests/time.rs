//! Time: idle partitions, alignment, starts in the middle.

use std::sync::atomic::Ordering;

use super::*;
use crate::event::EventTime;
use crate::start::Start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_only_time_closes_are_published_too() {
    let logs = MemoryLogs::new(10);
    logs.append("clicks", 0, [click("a", 1, NOON), click("a", 2, NOON + 5 * MINUTE)]);
    // Empty: it leaves the minimum when its end is confirmed, which comes after the first checkpoint.
    logs.append("clicks", 1, []);
    logs.hides_ends.store(true, Ordering::SeqCst);
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let stop = CancellationToken::new();
    let watch = |standing: &crate::standing::Standing| {
        if standing.checkpoints.count > 0 {
            logs.hides_ends.store(false, Ordering::SeqCst);
        }
        if standing.tables[0].rows > 0 {
            stop.cancel();
        }
    };
    let setup = world.setup().await;
    let options = options(1);
    let running = run(&world.plan, &setup, &options, &stop, &watch);
    let report = tokio::time::timeout(Duration::from_secs(60), running).await.expect("published").expect("runs");
    assert_eq!(report.taken["clicks"], 2);
    assert_eq!(world.hits().await, Rows::from([((NOON, "a".into()), (1, 1))]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_far_ahead_waits_and_everything_is_read_in_the_end() {
    let logs = MemoryLogs::new(5);
    // One lane reads both by turns: partition 1 is an hour a record ahead.
    logs.append("clicks", 0, (0..400).map(|number| click("slow", 60, NOON + number * SECOND)));
    logs.append("clicks", 1, (0..400).map(|number| click("fast", 60, NOON + number * 60 * MINUTE)));
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let report = world.run_to_end(&drained(1)).await;
    assert_eq!(report.taken["clicks"], 800);
    let pauses = logs.pauses.lock().expect("ours").clone();
    assert_eq!(pauses.first(), Some(&(1, true)), "{pauses:?}");
    assert!(pauses.contains(&(1, false)), "it goes on when the slow one is at its end: {pauses:?}");
    let hits = world.hits().await;
    assert_eq!(hits.values().map(|row| row.0).sum::<i64>(), 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_windows_of_a_start_in_the_middle_are_those_of_the_whole_log() {
    let logs = MemoryLogs::new(64);
    let expected = fill(&logs, 51, 3, 3_000);
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let from = NOON + 75 * MINUTE;
    let middle = RunOptions { start: Start::Time(EventTime(from)), ..drained(2) };
    let report = world.run_to_end(&middle).await;
    assert!(report.taken["clicks"] < expected.produced, "it doesn't read all of it");
    let wanted: Rows = expected.hits.into_iter().filter(|((start, _), _)| *start >= from).collect();
    assert!(!wanted.is_empty());
    assert_eq!(world.hits().await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_a_time_is_until_its_windows_are_published() {
    let logs = MemoryLogs::new(16);
    let expected = fill(&logs, 61, 2, 2_000);
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let to = NOON + 20 * MINUTE;
    let report = world.run_to_end(&RunOptions { until: Until::Time(EventTime(to)), ..options(2) }).await;
    assert!(report.watermark.0 >= to && !report.finished, "{report:?}");
    let wanted = |rows: Rows| -> Rows { rows.into_iter().filter(|((start, _), _)| start + MINUTE <= to).collect() };
    assert_eq!(wanted(world.hits().await), wanted(expected.hits));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_ended_holds_back_no_other() {
    let logs = MemoryLogs::new(5);
    *logs.bounded.lock().expect("ours") = Some("clicks".to_owned());
    logs.append("clicks", 0, (0..3).map(|minute| click("file", 60, NOON + minute * MINUTE)));
    logs.append("views", 0, (0..30).map(|minute| click("topic", 60, NOON + minute * MINUTE)));
    let views = format!("{STREAM}{HITS}").replace("clicks", "views").replace("marts.hits", "marts.views");
    let world = World::new(&format!("{STREAM}{HITS}{views}"), logs.clone());
    let report = world.run_to_end(&to_end(2)).await;
    assert!(!report.finished, "the topic may go on: {report:?}");
    assert_eq!((report.rows["marts.hits"], report.rows["marts.views"]), (3, 28));
    let reported = logs.reported.lock().expect("ours").clone();
    assert_eq!(reported["views"][&0].0, 30, "lag tools see the end");
    let again = world.run_to_end(&to_end(1)).await;
    assert_eq!((again.taken["clicks"], again.taken["views"]), (0, 0));
    let report = world.run_to_end(&drained(2)).await;
    assert!(report.finished && report.rows["marts.views"] == 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_known_to_be_empty_holds_back_no_run_to_the_end() {
    let logs = MemoryLogs::new(16);
    fill(&logs, 71, 1, 2_000);
    logs.append("clicks", 1, []);
    logs.hides_ends.store(true, Ordering::SeqCst);
    let world = World::new(&format!("{STREAM}{HITS}"), logs.clone());
    let report = world.run_to_end(&to_end(1)).await;
    assert!(report.watermark > EventTime::MIN, "{report:?}");
    assert!(!world.hits().await.is_empty());
}
