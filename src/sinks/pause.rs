//! Growing pauses between repetitions of one call that fails, told to [`Vitals`].

use std::time::Duration;

use crate::vitals::{Outside, Vitals};

/// First pause before a failed call to store or catalog is repeated; doubled each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between repetitions: an outage ends unnoticed for at most this long.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(15);

/// The pauses of one call.
pub(super) struct Pause<'a> {
    vitals: &'a Vitals,
    of: Outside,
    action: &'static str,
    next: Duration,
}

impl Pause<'_> {
    /// Of a call that hasn't failed yet: `action` is what it does, as in "couldn't load a table".
    pub(super) fn new<'a>(vitals: &'a Vitals, of: Outside, action: &'static str) -> Pause<'a> {
        Pause { vitals, of, action, next: RETRY_PAUSE_MIN }
    }

    /// Whether it hasn't failed since it last passed.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == RETRY_PAUSE_MIN
    }

    /// The call is repeated at once; the next pause is longer nevertheless.
    pub(super) fn grow(&mut self) {
        self.next = (self.next * 2).min(RETRY_PAUSE_MAX);
    }

    /// The call failed: waits before it is repeated.
    pub(super) async fn wait(&mut self, error: &(dyn std::error::Error + Sync)) {
        self.vitals.failed(self.of, self.action, &error);
        tokio::time::sleep(self.next).await;
        self.grow();
    }

    /// The call succeeded.
    pub(super) fn passed(&mut self) {
        self.next = RETRY_PAUSE_MIN;
        self.vitals.passed(self.of, self.action);
    }
}
