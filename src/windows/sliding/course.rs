//! Which windows are given: the new ones, and those that have changed, when it is time. Pure.

use super::super::made::Reached;
use super::runs::Run;
use crate::event::{EventTime, Micros};
use crate::windows::REVISION_INTERVAL;

/// The state of one key and time, and the window that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the key.
    pub(super) key: usize,
    pub(super) time: i64,
    /// Whether records of it have come since the last time.
    pub(super) is_fresh: bool,
    /// The watermark at which its window was given, if it was.
    pub(super) given: Option<i64>,
    /// Whether records that it holds have come since.
    pub(super) changed: bool,
}

impl Place {
    pub(super) fn fresh(key: usize, time: i64) -> Place {
        Place { key, time, is_fresh: true, given: None, changed: false }
    }

    /// Adds another state of the same key and time.
    pub(super) fn join(&mut self, other: &Place) {
        self.is_fresh |= other.is_fresh;
        self.given = self.given.max(other.given);
        self.changed |= other.changed;
    }
}

/// Going along the places, in the order of keys and times.
pub(super) struct Course {
    pub(super) size: Micros,
    /// How long late records may change windows that are over.
    pub(super) allowed: Micros,
    pub(super) at: Reached,
}

/// The windows whose time has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Their states.
    pub(super) runs: Vec<Run>,
    /// The places of those that were given before.
    pub(super) again: Vec<usize>,
    /// Before it there are no others, unless records come, and all states that are there now are needed.
    pub(super) look_again: EventTime,
}

impl Course {
    /// Finds the windows that are due, and notes at their places that they are given.
    pub(super) fn run(&self, places: &mut [Place]) -> Due {
        let mut due = Due { look_again: EventTime::MAX, ..Due::default() };
        let mut from = 0;
        let mut last_fresh = None;
        for index in 0..places.len() {
            let Place { key, time, is_fresh, given, changed } = places[index];
            while places[from].key != key || places[from].time <= time.saturating_sub(self.size.0) {
                from += 1;
            }
            last_fresh = if is_fresh { Some(index) } else { last_fresh };
            // What is fresh is of this key if it stands in the run.
            let changed = changed || last_fresh.is_some_and(|fresh| fresh >= from);
            let end = EventTime(time.saturating_add(1));
            let due_at = given.map(|given| EventTime(given).plus(REVISION_INTERVAL).min(end.plus(self.allowed)));
            let is_due = due_at.is_none_or(|due_at| changed && (due_at <= self.at.over || end <= self.at.settled));
            if is_due {
                due.runs.push(Run { from, upto: index + 1 });
                if given.is_some() {
                    due.again.push(index);
                }
                places[index].given = Some(self.at.over.0);
            } else if let Some(due_at) = due_at.filter(|_| changed) {
                due.look_again = due.look_again.min(due_at);
            }
            places[index].changed = changed && !is_due;
        }
        if let Some(latest) = places.iter().map(|place| place.time).max() {
            due.look_again = due.look_again.min(EventTime(latest).plus(self.size).plus(self.allowed));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Places as (time, fresh, given), in seconds, of one key: the times of the windows that are due, of those of them that come
    /// again, and when to look again. Windows of 10 seconds; 100 are allowed.
    fn due(places: &mut [Place], watermark: i64) -> (Vec<i64>, Vec<i64>, i64) {
        let over = EventTime(watermark * SECOND);
        let allowed = Micros(100 * SECOND);
        let at = Reached { over, settled: over.minus(allowed) };
        let due = Course { size: Micros(10 * SECOND), allowed, at }.run(places);
        let second = |place: usize| places[place].time / SECOND;
        let given = due.runs.iter().map(|run| second(run.upto - 1)).collect();
        let again = due.again.iter().map(|&place| second(place)).collect();
        for place in places.iter_mut() {
            place.is_fresh = false;
        }
        (given, again, due.look_again.0 / SECOND)
    }

    #[test]
    fn a_late_record_makes_a_window_and_changes_those_behind_it() {
        let at = |time: i64| Place::fresh(0, time * SECOND);
        let mut places = vec![at(1), at(5), at(12), at(30)];
        assert_eq!(due(&mut places, 31), (vec![1, 5, 12, 30], vec![], 140));
        // 4 comes: its own window shows at once, 5 and 12 have changed and wait for a minute; 1 and 30 don't hold it.
        places.insert(1, at(4));
        assert_eq!(due(&mut places, 40), (vec![4], vec![], 91));
        assert_eq!(due(&mut places, 90), (vec![], vec![], 91));
        assert_eq!(due(&mut places, 91), (vec![5, 12], vec![5, 12], 140));
        // Another record of 12 comes: it is due at 151, but its lateness ends before.
        places[3].is_fresh = true;
        assert_eq!(due(&mut places, 112), (vec![], vec![], 112));
        assert_eq!(due(&mut places, 113), (vec![12], vec![12], 140));
    }

    #[test]
    fn what_changes_the_windows_of_one_key_leaves_those_of_others() {
        let mut places = vec![Place::fresh(0, 0), Place { given: Some(0), is_fresh: false, ..Place::fresh(1, SECOND) }];
        assert_eq!(due(&mut places, 1_000), (vec![0], vec![], 111));
    }
}
