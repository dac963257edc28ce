//! Windows that overlap or begin together, through whatever may happen to a run: each is there once, and whole.

use super::*;
use crate::event::{EventTime, Micros};
use crate::live::starting;
use crate::reposition::{Destination, Moving, Positions, execute};
use crate::start::{Start, Vouched};

const JOB: &str = "
INSERT INTO ICEBERG 'marts.hops' PARTITIONED BY (hour(window_end))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM HOP(clicks, t, INTERVAL '1 minute', INTERVAL '150 seconds')
GROUP BY window_start, window_end, host;
INSERT INTO ICEBERG 'marts.so_far'
SELECT window_start, window_end, window_time, host, count(*) AS hits, sum(bytes) AS bytes
FROM CUMULATE(clicks, t, INTERVAL '1 minute', INTERVAL '20 minutes')
GROUP BY window_start, window_end, window_time, host;
";

/// Windows by their ends, with the hosts' rows.
async fn by_ends(world: &World) -> [Rows; 2] {
    by_ends_of(world, ["marts.hops", "marts.so_far"]).await
}

/// Windows of some tables by their ends, with the hosts' rows.
pub(super) async fn by_ends_of<const N: usize>(world: &World, tables: [&str; N]) -> [Rows; N] {
    let mut found = [const { Rows::new() }; N];
    for (rows_of, table) in found.iter_mut().zip(tables) {
        let batches = world.batches(table, &["window_end", "host", "hits", "bytes"]).await;
        *rows_of = rows(&batches, |batch, row| batch.column(1).as_string::<i32>().value(row).to_owned());
    }
    found
}

impl World {
    pub(super) async fn go_to(&self, destination: &Destination) {
        let setup = self.setup().await;
        let moving = Moving {
            plan: &self.plan,
            catalog: &setup.catalog,
            checkpoints: &setup.checkpoints,
            clock: &setup.clock,
            take_over: false,
        };
        execute(&moving, destination).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(super) async fn stop_after(&self, records: usize) {
        let stop = CancellationToken::new();
        self.logs.cancel_after(records, &stop);
        self.run(&to_end(2), &stop).await.expect("it stops in order");
        self.logs.cancel_no_more();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_savepoints_and_resets_show_in_no_window() {
    let job = format!("{STREAM}{JOB}");
    for seed in [91, 92] {
        let whole = MemoryLogs::new(1_000);
        fill(&whole, seed, 2, 1_200);
        let whole = World::new(&job, whole);
        whole.run_to_end(&drained(1)).await;
        let expected = by_ends(&whole).await;
        assert!(expected.iter().all(|rows| rows.len() > 100));

        let logs = MemoryLogs::new(20);
        fill(&logs, seed, 2, 1_200);
        let world = World::new(&job, logs);
        for records in [500, 130, 270] {
            world.stop_after(records).await;
        }
        while world.manifest().await.watermark == EventTime::MIN {
            world.stop_after(100).await;
        }
        // In the middle of windows that begin together.
        let savepoint = world.keep("early").await;
        // Until windows are published behind it: a partition that nobody got to yet holds all back.
        while world.manifest().await.watermark < savepoint.manifest.watermark.plus(Micros::from_seconds(60)) {
            world.stop_after(100).await;
        }
        world.go_to(&Destination::Savepoint(Box::new(savepoint))).await;
        let left = world.manifest().await.inserts.iter().map(|insert| insert.republish).collect::<Vec<_>>();
        assert!(left.iter().all(Option::is_some), "both have windows to replace: {left:?}");
        world.stop_after(60).await;
        world.run_to_end(&to_end(3)).await;

        // Back to the first window of all, and on.
        let begin = Start::Time(EventTime(NOON));
        let starting = starting(&world.plan, &world.setup().await, &begin, Vouched::default()).await.expect("whole");
        let places = starting.streams[0].places.iter().map(|(&partition, place)| (partition, place.offset)).collect();
        let tables = world.plan.inserts.iter().map(|insert| insert.table.clone());
        let positions = Positions {
            streams: BTreeMap::from([("clicks".to_owned(), places)]),
            first_windows: tables.zip(starting.first_windows).collect(),
            ..Positions::default()
        };
        world.go_to(&Destination::Reset(positions)).await;
        world.stop_after(700).await;
        world.run_to_end(&drained(2)).await;
        let found = by_ends(&world).await;
        for (expected, found) in expected.iter().zip(&found) {
            let missing: Vec<_> = expected.iter().filter(|(key, row)| found.get(*key) != Some(*row)).collect();
            let extra: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
            assert!(missing.is_empty() && extra.is_empty(), "seed {seed}: missing {missing:?}, extra {extra:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_publishes_the_windows_that_begin_then_and_they_are_whole() {
    let job = format!("{STREAM}{JOB}");
    let logs = MemoryLogs::new(100);
    fill(&logs, 93, 2, 1_200);
    let whole = World::new(&job, logs.clone());
    whole.run_to_end(&drained(1)).await;
    let later = World::new(&job, logs);
    let start = NOON + 7 * MINUTE;
    later.run_to_end(&RunOptions { start: Start::Time(EventTime(start)), ..drained(2) }).await;
    let [hops, so_far] = by_ends(&whole).await;
    let size = 150 * SECOND;
    let hops: Rows = hops.into_iter().filter(|((end, _), _)| end - size >= start).collect();
    // The next ones that begin together do so at 20 past, the first of them ends a minute later.
    let so_far: Rows = so_far.into_iter().filter(|((end, _), _)| *end > NOON + 20 * MINUTE).collect();
    assert!(!hops.is_empty() && !so_far.is_empty());
    assert_eq!(by_ends(&later).await, [hops, so_far]);
}
