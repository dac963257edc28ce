//! A wall clock that jumps: it decides when to look and what to show, never what is published.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::event::EventTime;
use crate::time::clock::Clock;

/// Each look at it is up to ten days off, to either side; what it says of time that has passed is right.
#[derive(Debug)]
struct Jumping {
    right: SystemClock,
    looks: AtomicU64,
}

impl Clock for Jumping {
    fn now(&self) -> EventTime {
        let look = self.looks.fetch_add(1, Ordering::SeqCst);
        let off = StdRng::seed_from_u64(look).random_range(-864_000 * SECOND..864_000 * SECOND);
        EventTime(self.right.now().0 + off)
    }

    fn elapsed(&self) -> Duration {
        self.right.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_by_days_changes_no_row_and_stops_no_run() {
    let logs = MemoryLogs::new(10);
    let expected = fill(&logs, 81, 3, 900);
    let world = World::new(&format!("{STREAM}{HITS}{TOTALS}"), logs);
    for options in [to_end(2), to_end(3), drained(1)] {
        let clock = Arc::new(Jumping { right: SystemClock::start(), looks: AtomicU64::new(0) });
        let setup = Setup { clock: clock.clone(), ..world.setup().await };
        run(&world.plan, &setup, &options, &CancellationToken::new(), &|_| {}).await.expect("it goes on");
        assert!(clock.looks.load(Ordering::SeqCst) > 2, "it was looked at");
    }
    assert_eq!(world.hits().await, expected.hits);
    assert_eq!(world.totals().await, expected.totals);
    world.assert_all_accounted_for(&expected).await;
}
