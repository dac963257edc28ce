//! A clock that moves on whenever it is looked at: how many checkpoints a run makes is then a matter of its log, not of the
//! machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kappa::event::EventTime;
use kappa::time::clock::Clock;

/// One look takes a millisecond.
#[derive(Debug, Default)]
pub struct Ticking {
    looks: AtomicU64,
}

impl Clock for Ticking {
    fn now(&self) -> EventTime {
        EventTime(0)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.looks.fetch_add(1, Ordering::SeqCst))
    }
}
