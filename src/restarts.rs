//! How a driver goes on after something in it died: again from the newest checkpoint, in the same process, with growing
//! pauses.
//!
//! Invariant: what comes again until a person acts ends the process at once; a bug of ours is tried again a few times; an
//! outage is waited out for ever, but only by a driver that had begun: before that, the cause is more likely a wrong
//! address, and whoever starts it should see it. Pure: says how long to pause, and pauses nowhere.

use std::time::Duration;

/// Attempts in a row that may die by a bug of ours, none of them with a checkpoint, before the driver gives up.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before another attempt, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause: an outage ends unnoticed for at most this long.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What an attempt ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A bug of ours that may not come again from the newest checkpoint.
    Ours,
    /// Store, catalog or broker didn't answer.
    Outage,
    /// It comes again until a person acts, or nobody can say.
    Lasting,
}

/// The attempts of one driver.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    has_begun: bool,
    in_a_row: u32,
    died: u32,
}

impl Restarts {
    /// An attempt has claimed, and all that it needs has answered.
    pub fn began(&mut self) {
        self.has_begun = true;
    }

    /// How long to pause before another attempt; `None`: there is to be none. `got_on`: the attempt has made a checkpoint,
    /// so nothing is stuck.
    pub fn pause(&mut self, fault: Fault, got_on: bool) -> Option<Duration> {
        if got_on {
            (self.in_a_row, self.died) = (0, 0);
        }
        self.died += u32::from(fault == Fault::Ours);
        let again = match fault {
            Fault::Ours => self.died < ATTEMPTS_MAX,
            Fault::Outage => self.has_begun,
            Fault::Lasting => false,
        };
        let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.in_a_row)).min(PAUSE_MAX);
        self.in_a_row += 1;
        again.then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(restarts: &mut Restarts, fault: Fault, times: usize) -> Vec<Option<u64>> {
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).expect("is short");
        (0..times).map(|_| restarts.pause(fault, false).map(millis)).collect()
    }

    #[test]
    fn a_bug_is_tried_again_until_nothing_gets_on() {
        let mut restarts = Restarts::default();
        let all = [Some(500), Some(1_000), Some(2_000), Some(4_000), None];
        assert_eq!(pauses(&mut restarts, Fault::Ours, 5), all);
        let mut restarts = Restarts::default();
        assert_eq!(pauses(&mut restarts, Fault::Ours, 4), all[..4]);
        assert_eq!(restarts.pause(Fault::Ours, true), Some(PAUSE_MIN), "the attempt before has made a checkpoint");
        assert_eq!(pauses(&mut restarts, Fault::Ours, 4), [Some(1_000), Some(2_000), Some(4_000), None]);
    }

    #[test]
    fn an_outage_ends_a_start_and_is_waited_out_by_what_had_begun() {
        let mut restarts = Restarts::default();
        assert_eq!(pauses(&mut restarts, Fault::Outage, 1), [None]);
        let mut restarts = Restarts::default();
        restarts.began();
        let pauses = pauses(&mut restarts, Fault::Outage, 100);
        assert_eq!(pauses[..3], [Some(500), Some(1_000), Some(2_000)]);
        assert!(pauses[5..].iter().all(|pause| *pause == Some(15_000)), "{pauses:?}");
    }

    #[test]
    fn outages_in_between_do_not_use_up_the_attempts_after_a_bug() {
        let mut restarts = Restarts::default();
        restarts.began();
        for _ in 0..4 {
            assert!(restarts.pause(Fault::Ours, false).is_some());
            assert!(restarts.pause(Fault::Outage, false).is_some());
        }
        assert_eq!(restarts.pause(Fault::Ours, false), None);
    }

    #[test]
    fn what_a_person_has_to_settle_is_never_tried_again() {
        let mut restarts = Restarts::default();
        restarts.began();
        assert_eq!(restarts.pause(Fault::Lasting, true), None);
    }
}
