//! The only wall clock. Results never depend on it: it decides when to checkpoint, when a quiet partition counts as
//! idle, and what `now` on the command line means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::event::EventTime;

/// A source of wall-clock time, handed to whoever needs one so that tests can drive it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time of day.
    fn now(&self) -> EventTime;
    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn start() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> EventTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.micros.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        EventTime(i64::try_from(self.micros.load(Ordering::SeqCst)).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_on() {
        let clock = SystemClock::start();
        let (before, elapsed) = (clock.now(), clock.elapsed());
        // This project is not older.
        let year_2026 = EventTime(1_767_225_600_000_000);
        assert!((0..10_000).all(|_| clock.now() >= year_2026), "{before}");
        assert!(clock.elapsed() > elapsed);
        assert!(clock.elapsed() < Duration::from_secs(3_600), "it began a moment ago");
    }

    #[test]
    fn a_clock_that_is_moved_by_hand_shows_all_moves() {
        let clock = ManualClock::default();
        assert_eq!((clock.now(), clock.elapsed()), (EventTime(0), Duration::ZERO));
        clock.advance(Duration::from_millis(2));
        clock.advance(Duration::from_micros(3));
        assert_eq!((clock.now(), clock.elapsed()), (EventTime(2_003), Duration::from_micros(2_003)));
    }
}
