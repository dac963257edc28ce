//! What becomes of a session when time has come so far. One pure function, so that its rules stand in one place.

use super::walk::Found;
use super::{Reached, Session};
use crate::event::{EventTime, Micros};
use crate::windows::REVISION_INTERVAL;

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Wait,
    /// It is given, in the place of what was given of it. It stays if late records may still change it.
    Give { stays: bool },
    /// What was given of it is no session any more, and what is one isn't over.
    Withdraw,
    /// It was given, and nothing can change it any more.
    Drop,
}

impl Fate {
    /// The fate of a session, and before when it has no other unless records come. Late records may change sessions for
    /// `allowed` behind their ends.
    pub(super) fn of(session: &Found, window: &Session, allowed: Micros, at: Reached) -> (Fate, EventTime) {
        let end = EventTime(window.end(session.last));
        let is_over = end <= at.over && !session.goes_on;
        let is_final = end <= at.settled && !session.goes_on;
        // Where what goes on ends isn't known before the records that go on with it are looked at.
        let [over_at, last_chance] = if session.goes_on { [EventTime::MAX; 2] } else { [end, end.plus(allowed)] };
        let give = |stays| (Fate::Give { stays }, if stays { last_chance } else { EventTime::MAX });
        let Some(given) = session.given else {
            return if is_over { give(!is_final) } else { (Fate::Wait, over_at) };
        };
        let has_changed = session.is_new || session.goes_on;
        let due = EventTime(given).plus(REVISION_INTERVAL).min(last_chance);
        match (has_changed, is_final || due <= at.over, is_over) {
            (false, ..) if is_final => (Fate::Drop, EventTime::MAX),
            (false, ..) => (Fate::Wait, last_chance),
            (true, false, _) => (Fate::Wait, due),
            (true, true, true) => give(!is_final),
            (true, true, false) => (Fate::Withdraw, over_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::{Piece, Walk};
    use super::*;

    const SECOND: i64 = 1_000_000;
    const GAP: Session = Session { gap: Micros(10 * SECOND), partition_keys: 0 };

    /// One session of pieces (first, last, given), in seconds; 100 seconds are allowed.
    fn fate(pieces: &[(i64, i64, Option<i64>)], goes_on: bool, watermark: i64) -> (Fate, i64) {
        let pieces = pieces.iter().zip(0..).map(|(&(first, last, given), row)| {
            let [first, last] = [first, last].map(|time| time * SECOND);
            Piece { key: 0, first, last, row, given: given.map(|given| given * SECOND) }
        });
        let mut walk = Walk::along(pieces.collect(), GAP);
        assert_eq!(walk.found.len(), 1);
        walk.found[0].goes_on = goes_on;
        let allowed = Micros(100 * SECOND);
        let over = EventTime(watermark * SECOND);
        let (fate, next) = Fate::of(&walk.found[0], &GAP, allowed, Reached { over, settled: over.minus(allowed) });
        (fate, if next == EventTime::MAX { i64::MAX } else { next.0 / SECOND })
    }

    #[test]
    fn a_session_is_given_when_it_is_over_and_stays_while_it_may_change() {
        assert_eq!(fate(&[(1, 12, None)], false, 21), (Fate::Wait, 22));
        assert_eq!(fate(&[(1, 12, None)], false, 22), (Fate::Give { stays: true }, 122));
        assert_eq!(fate(&[(1, 12, None)], true, 22), (Fate::Wait, i64::MAX));
        assert_eq!(fate(&[(1, 12, None)], false, 122), (Fate::Give { stays: false }, i64::MAX));
        assert_eq!(fate(&[(1, 12, Some(22))], false, 121), (Fate::Wait, 122));
        assert_eq!(fate(&[(1, 12, Some(22))], false, 122), (Fate::Drop, i64::MAX));
    }

    #[test]
    fn a_session_that_has_changed_is_given_again_once_a_minute_and_in_the_end() {
        let changed = [(1, 12, Some(22)), (5, 5, None)];
        assert_eq!(fate(&changed, false, 81), (Fate::Wait, 82));
        assert_eq!(fate(&changed, false, 82), (Fate::Give { stays: true }, 122));
        // Given at 100, it would be due at 160, but its lateness ends.
        let changed = [(1, 12, Some(100)), (5, 5, None)];
        assert_eq!(fate(&changed, false, 121), (Fate::Wait, 122));
        assert_eq!(fate(&changed, false, 122), (Fate::Give { stays: false }, i64::MAX));
    }

    #[test]
    fn a_session_that_was_given_and_goes_on_is_withdrawn_until_it_is_over() {
        let longer = [(1, 12, Some(22)), (20, 75, None)];
        assert_eq!(fate(&longer, false, 81), (Fate::Wait, 82));
        assert_eq!(fate(&longer, false, 82), (Fate::Withdraw, 85));
        assert_eq!(fate(&[(1, 12, Some(22))], true, 82), (Fate::Withdraw, i64::MAX));
        assert_eq!(fate(&longer, false, 85), (Fate::Give { stays: true }, 185));
    }
}
