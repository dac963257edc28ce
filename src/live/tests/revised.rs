//! Windows that late records revise, when a job goes back: what it has published since then is gone, revisions of older windows
//! too, and each window is there once.

use super::overlapping::by_ends_of;
use super::*;
use crate::event::Micros;
use crate::reposition::Destination;

const JOB: &str = "
INSERT INTO ICEBERG 'marts.hops' PARTITIONED BY (hour(window_end))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM HOP(clicks, t, INTERVAL '20 seconds', INTERVAL '1 minute')
GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '2 minutes';
INSERT INTO ICEBERG 'marts.visits'
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM SESSION(clicks PARTITION BY host, t, INTERVAL '10 seconds')
GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '2 minutes';
INSERT INTO ICEBERG 'marts.lately' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM SLIDING(clicks PARTITION BY host, t, INTERVAL '30 seconds')
GROUP BY window_start, window_end, host ALLOW LATENESS INTERVAL '2 minutes';
";

const TABLES: [&str; 3] = ["marts.hops", "marts.visits", "marts.lately"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_back_leaves_each_revised_window_once() {
    let job = format!("{STREAM}{JOB}");
    for seed in [94, 95] {
        let whole = MemoryLogs::new(1_000);
        fill(&whole, seed, 2, 700);
        let whole = World::new(&job, whole);
        whole.run_to_end(&drained(1)).await;
        let expected = by_ends_of(&whole, TABLES).await;
        assert!(expected.iter().all(|rows| rows.len() > 100));

        let logs = MemoryLogs::new(20);
        fill(&logs, seed, 2, 700);
        let world = World::new(&job, logs);
        world.stop_after(400).await;
        let savepoint = world.keep("early").await;
        // Until windows that were published before it have been revised, if the log goes so far.
        for _ in 0..8 {
            if world.manifest().await.watermark >= savepoint.manifest.watermark.plus(Micros::from_seconds(150)) {
                break;
            }
            world.stop_after(100).await;
        }
        world.go_to(&Destination::Savepoint(Box::new(savepoint))).await;
        world.stop_after(60).await;
        by_ends_of(&world, TABLES).await;
        world.stop_after(200).await;
        world.run_to_end(&drained(3)).await;
        let found = by_ends_of(&world, TABLES).await;
        for ((table, expected), found) in TABLES.iter().zip(&expected).zip(&found) {
            let missing: Vec<_> = expected.iter().filter(|(key, row)| found.get(*key) != Some(*row)).collect();
            let extra: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
            assert!(missing.is_empty() && extra.is_empty(), "{table}, {seed}: missing {missing:?}, extra {extra:?}");
        }
    }
}
