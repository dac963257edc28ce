//! Vital signs of a run: which of its surroundings fail just now and since when, and how its commits go.
//!
//! The edges that repeat failing calls write here, whoever watches the run reads. Invariant: what fails is logged at once,
//! then at most once a minute as long as it lasts, and once when it is over, however many calls are repeated meanwhile.
//! Decides nothing: an outage is waited out by whoever met it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::clock::Clock;

/// How often an outage that lasts is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Something that a run needs and that isn't part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outside {
    /// The catalog, or the store that its tables are in.
    Tables,
    /// The store of checkpoints.
    Checkpoints,
    /// The log that records come from.
    Log,
}

impl Outside {
    /// Its name, in messages and as a label.
    pub fn name(self) -> &'static str {
        match self {
            Outside::Tables => "tables",
            Outside::Checkpoints => "checkpoints",
            Outside::Log => "log",
        }
    }

    /// All there are.
    pub const ALL: [Outside; 3] = [Outside::Tables, Outside::Checkpoints, Outside::Log];
}

/// A call that has failed and is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What doesn't answer as it should.
    pub of: Outside,
    /// What was tried: `load a table`.
    pub action: &'static str,
    /// What it said last.
    pub error: String,
    /// How long it has been failing.
    pub lasts: Duration,
    /// Calls that have failed meanwhile.
    pub calls: u64,
}

/// How commits to tables have gone since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Commits that have landed.
    pub landed: u64,
    /// Tries that had to be repeated, as someone else was first or the answer was lost.
    pub repeated: u64,
}

/// Where vital signs are kept. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    failing: Mutex<BTreeMap<(Outside, &'static str), Failing>>,
    landed: AtomicU64,
    repeated: AtomicU64,
}

#[derive(Debug)]
struct Failing {
    since: Duration,
    logged: Duration,
    calls: u64,
    error: String,
}

impl Vitals {
    /// Of a run that begins now.
    pub fn new(clock: &Arc<dyn Clock>) -> Vitals {
        Vitals(Arc::new(Inner {
            clock: clock.clone(),
            failing: Mutex::default(),
            landed: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        }))
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<(Outside, &'static str), Failing>> {
        // A plain map: a thread that died while it held it has left it whole.
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call failed and will be repeated. Failures of the same action are one outage until [`Vitals::passed`].
    pub fn failed(&self, of: Outside, action: &'static str, error: &dyn Display) {
        let now = self.0.clock.elapsed();
        let mut failing = self.failing();
        let known = failing.contains_key(&(of, action));
        let entry = failing.entry((of, action)).or_insert_with(|| Failing {
            since: now,
            logged: now,
            calls: 0,
            error: String::new(),
        });
        entry.calls += 1;
        entry.error = error.to_string();
        if known && now < entry.logged + COMPLAINT_INTERVAL {
            return;
        }
        entry.logged = now;
        let lasts_s = (now - entry.since).as_secs();
        tracing::warn!(
            outage = of.name(),
            lasts_s,
            calls = entry.calls,
            error = entry.error,
            "couldn't {action}; trying again"
        );
    }

    /// A call succeeded: the outage of its action, if there was one, is over.
    pub fn passed(&self, of: Outside, action: &'static str) {
        let Some(over) = self.failing().remove(&(of, action)) else { return };
        let lasted_s = (self.0.clock.elapsed() - over.since).as_secs();
        tracing::info!(outage = of.name(), lasted_s, calls = over.calls, "could {action} again");
    }

    /// Whoever repeated a failing call is gone.
    pub fn forget(&self) {
        self.failing().clear();
    }

    /// A commit landed.
    pub fn landed(&self) {
        self.0.landed.fetch_add(1, Ordering::Relaxed);
    }

    /// A commit has to be tried again.
    pub fn repeated(&self) {
        self.0.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// What fails now.
    pub fn outages(&self) -> Vec<Outage> {
        let now = self.0.clock.elapsed();
        let failing = self.failing();
        let outages = failing.iter().map(|(&(of, action), failing)| Outage {
            of,
            action,
            error: failing.error.clone(),
            lasts: now.saturating_sub(failing.since),
            calls: failing.calls,
        });
        outages.collect()
    }

    /// How commits have gone.
    pub fn commits(&self) -> Commits {
        Commits { landed: self.0.landed.load(Ordering::Relaxed), repeated: self.0.repeated.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::clock::ManualClock;

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_first_success_of_its_action() {
        let clock = Arc::new(ManualClock::default());
        let vitals = Vitals::new(&(clock.clone() as Arc<dyn Clock>));
        vitals.failed(Outside::Tables, "load a table", &"refused");
        clock.advance(Duration::from_secs(90));
        vitals.failed(Outside::Tables, "load a table", &"timed out");
        vitals.failed(Outside::Log, "ask for the ends of the log", &"nobody there");
        vitals.passed(Outside::Tables, "write rows");
        let outages = vitals.outages();
        let shown: Vec<_> = outages.iter().map(|o| (o.of, o.error.as_str(), o.lasts.as_secs(), o.calls)).collect();
        assert_eq!(shown, [(Outside::Tables, "timed out", 90, 2), (Outside::Log, "nobody there", 0, 1)]);
        vitals.passed(Outside::Tables, "load a table");
        assert_eq!(vitals.outages().len(), 1);
    }
}
