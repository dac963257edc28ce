//! Whether a process is alive, and whether it does its work. Pure: how its drivers stand comes in, reasons come out.

use std::time::Duration;

use super::Place;
use crate::event::Micros;
use crate::standing::Phase;

/// A driver that hasn't said anything for so long is stuck: it does so several times a second.
pub const STUCK_MAX: Duration = Duration::from_secs(60);
/// Calls to catalog, stores or brokers that have failed for so long are told; shorter outages are waited out in silence.
pub const OUTAGE_MAX: Duration = Duration::from_secs(300);
/// An epoch takes a fraction of a second; one that closes a huge window, some.
pub const EPOCH_MAX: Duration = Duration::from_secs(300);
/// A checkpoint takes about a second; that of an archive which also rewrites many partitions, some minutes.
pub const CHECKPOINT_MAX: Duration = Duration::from_secs(1_800);

/// What is wrong; nothing: all are alive.
pub fn judge(places: &[Place]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Place { standing, age, .. } in places.iter().filter(|place| !place.ended) {
        let owner = &standing.owner;
        // One that waits for another process says so once.
        if *age > STUCK_MAX && standing.phase != Phase::Waiting {
            wrong.push(format!("{owner}: stuck: its loop has not turned for {}", text(*age)));
        }
        if standing.epoch_owed + *age > EPOCH_MAX && standing.epochs_in_flight > 0 {
            let owed = text(standing.epoch_owed + *age);
            wrong.push(format!("{owner}: stuck: the engine has not finished an epoch for {owed}"));
        }
        if let Some(under_way) = standing.checkpoints.under_way.filter(|under_way| *under_way > CHECKPOINT_MAX) {
            wrong.push(format!("{owner}: stuck: a checkpoint has been under way for {}", text(under_way)));
        }
        for outage in standing.outages.iter().filter(|outage| outage.lasts > OUTAGE_MAX) {
            let (of, lasts, action, error) = (outage.of.name(), text(outage.lasts), outage.action, &outage.error);
            wrong.push(format!("{owner}: {of}: couldn't {action} for {lasts}: {error}"));
        }
    }
    wrong
}

/// What is not there yet, or not any more; nothing: all read.
pub fn judge_ready(places: &[Place]) -> Vec<String> {
    let waiting = places.iter().filter(|place| !place.ended && place.standing.phase != Phase::Reading);
    waiting.map(|place| format!("{}: {}", place.standing.owner, place.standing.phase.name())).collect()
}

/// In whole seconds.
fn text(time: Duration) -> String {
    Micros::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1_000_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Standing;
    use crate::vitals::{Outage, Outside};

    fn place(change: impl FnOnce(&mut Place)) -> [Place; 1] {
        let standing = Standing { phase: Phase::Reading, ..Standing::of("page_hits") };
        let mut place = Place { standing, age: Duration::from_millis(200), ended: false };
        change(&mut place);
        [place]
    }

    fn outage(seconds: u64) -> Outage {
        Outage {
            of: Outside::Tables,
            action: "load a table",
            error: "connection refused".to_owned(),
            lasts: Duration::from_secs(seconds),
            calls: 7,
        }
    }

    #[test]
    fn a_run_that_turns_is_alive_and_ready() {
        assert_eq!(judge(&place(|_| {})), [""; 0]);
        assert_eq!(judge_ready(&place(|_| {})), [""; 0]);
    }

    #[test]
    fn what_is_stuck_is_told_with_how_long() {
        let wrong = judge(&place(|place| place.age = Duration::from_secs(75)));
        assert_eq!(wrong, ["page_hits: stuck: its loop has not turned for 1m 15s"]);
        let wrong = judge(&place(|place| {
            place.standing.epochs_in_flight = 1;
            place.standing.epoch_owed = Duration::from_secs(400);
        }));
        assert_eq!(wrong, ["page_hits: stuck: the engine has not finished an epoch for 6m 40s"]);
        let hour = Some(Duration::from_secs(3_600));
        let wrong = judge(&place(|place| place.standing.checkpoints.under_way = hour));
        assert_eq!(wrong, ["page_hits: stuck: a checkpoint has been under way for 1h"]);
    }

    #[test]
    fn a_run_that_waits_for_another_process_is_alive_and_says_no_more() {
        let places = place(|place| (place.age, place.standing.phase) = (Duration::from_secs(999), Phase::Waiting));
        assert_eq!((judge(&places), judge_ready(&places)), (vec![], vec!["page_hits: waiting".to_owned()]));
    }

    #[test]
    fn an_outage_counts_when_it_lasts() {
        assert_eq!(judge(&place(|place| place.standing.outages = vec![outage(299)])), [""; 0]);
        let wrong = judge(&place(|place| place.standing.outages = vec![outage(301)]));
        assert_eq!(wrong, ["page_hits: tables: couldn't load a table for 5m 1s: connection refused"]);
    }

    #[test]
    fn a_driver_that_starts_or_ends_is_alive_but_not_ready() {
        for (phase, name) in [(Phase::Starting, "starting"), (Phase::Ending, "ending")] {
            let places = place(|place| place.standing.phase = phase);
            assert_eq!((judge(&places), judge_ready(&places)), (vec![], vec![format!("page_hits: {name}")]));
        }
    }

    #[test]
    fn one_that_has_ended_is_not_missed() {
        let places = place(|place| {
            (place.ended, place.age, place.standing.phase) = (true, Duration::from_secs(9_999), Phase::Ending);
        });
        assert_eq!((judge(&places), judge_ready(&places)), (vec![], vec![]));
    }
}
