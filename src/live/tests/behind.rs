//! Records that their own partition takes, behind the job's watermark: a partition that was empty wakes up, another is added.
//! The one way in which what is published depends on when a record was read, so each case is worked by hand.

use super::*;

/// Window's start and host, hits; seconds from noon.
type Hits = Vec<(i64, &'static str, i64)>;

async fn hits(world: &World) -> Vec<(i64, String, i64)> {
    world.hits().await.into_iter().map(|((start, host), (hits, _))| ((start - NOON) / SECOND, host, hits)).collect()
}

async fn late(world: &World) -> Vec<(String, String)> {
    let batches = world.batches("marts.hits_late", &["reason", "host"]).await;
    let text =
        |batch: &RecordBatch, column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
    let row = |batch: &RecordBatch| -> Vec<(String, String)> {
        (0..batch.num_rows()).map(|row| (text(batch, 0, row), text(batch, 1, row))).collect()
    };
    let mut rows: Vec<_> = batches.iter().flat_map(row).collect();
    rows.sort();
    rows
}

/// Windows of a minute, a bound of 5 s. What was read by each of three runs:
///
/// | run | partition | host, second of its event | watermark then | the window's lateness of 5 minutes ends at |
/// |---|---|---|---|---|
/// | 1 | 0 | a 30, a 130 | 125: [0, 60) is closed | |
/// | 1 | 1 | nothing: it counts as idle | | |
/// | 2 | 1 | held 40, a 380 | 125 when 40 is read | 360: its state is held |
/// | 2 | 0 | a 370 | 365 behind both | |
/// | 3 | 2, added | gone 50, held 150 | 365 | 360 for 50: gone; 480 for 150: held |
///
/// All are in time by their own partition: nothing stands before them, or what does isn't 5 s and a window ahead.
async fn world(lateness: &str, expected: [Hits; 3]) -> World {
    let logs = MemoryLogs::new(1);
    let at = |host: &str, second: i64| click(host, 1, NOON + second * SECOND);
    logs.append("clicks", 0, [at("a", 30), at("a", 130)]);
    logs.append("clicks", 1, []);
    let job = format!("{STREAM}{}", HITS.replace("host;", &format!("host{lateness};")));
    let world = World::new(&job, logs.clone());
    world.run_to_end(&to_end(2)).await;
    let [first, second, third] = expected
        .map(|hits| hits.into_iter().map(|(start, host, hits)| (start, host.to_owned(), hits)).collect::<Vec<_>>());
    assert_eq!(hits(&world).await, first);
    logs.append("clicks", 1, [at("held", 40), at("a", 380)]);
    logs.append("clicks", 0, [at("a", 370)]);
    world.run_to_end(&to_end(1)).await;
    assert_eq!(hits(&world).await, second);
    logs.append("clicks", 2, [at("gone", 50), at("held", 150)]);
    world.run_to_end(&drained(2)).await;
    assert_eq!(hits(&world).await, third);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_revised_behind_the_watermark_as_long_as_its_state_is_held() {
    let first = vec![(0, "a", 1)];
    let second = vec![(0, "a", 1), (0, "held", 1), (120, "a", 1)];
    let third = vec![(0, "a", 1), (0, "held", 1), (120, "a", 1), (120, "held", 1), (360, "a", 2)];
    let world = world(" ALLOW LATENESS INTERVAL '5 minutes'", [first, second, third]).await;
    assert_eq!(late(&world).await, [("behind_watermark".to_owned(), "gone".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_lateness_nothing_is_held_and_what_is_behind_the_watermark_is_late() {
    let first = vec![(0, "a", 1)];
    let second = vec![(0, "a", 1), (120, "a", 1)];
    let third = vec![(0, "a", 1), (120, "a", 1), (360, "a", 2)];
    let world = world("", [first, second, third]).await;
    let behind = |host: &str| ("behind_watermark".to_owned(), host.to_owned());
    assert_eq!(late(&world).await, [behind("gone"), behind("held"), behind("held")]);
}
