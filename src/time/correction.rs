//! Clock correction: when something really happened, if the device that says so has a wrong clock.
//! Invariant: a function of the record alone; no corrected time is after the time of receipt. Pure: no I/O, no clock.

use crate::event::EventTime;

/// What three clocks say of one record. The first two are the same clock, the sender's, right or wrong; so how far it is
/// wrong shows when the record is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReadings {
    /// When it happened, by the sender's clock.
    pub occurred: EventTime,
    /// When it was sent, by the sender's clock.
    pub sent: EventTime,
    /// When it was received, by a clock that is trusted.
    pub received: EventTime,
}

impl ClockReadings {
    /// `occurred + (received - sent)`, never after `received`: what the sender says happened after it was sent, happened
    /// at the latest when it was received. `None` if that is before every instant that microseconds in 64 bits can tell.
    pub fn corrected(self) -> Option<EventTime> {
        let wrong_by = i128::from(self.received.0) - i128::from(self.sent.0);
        let corrected = i128::from(self.occurred.0) + wrong_by;
        i64::try_from(corrected.min(i128::from(self.received.0))).ok().map(EventTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn corrected(occurred: i64, sent: i64, received: i64) -> Option<i64> {
        let readings =
            ClockReadings { occurred: EventTime(occurred), sent: EventTime(sent), received: EventTime(received) };
        readings.corrected().map(|time| time.0)
    }

    #[test]
    fn cases_worked_by_hand() {
        let cases = [
            // A right clock: nothing changes, however long the record lay about.
            ("right, sent at once", (10 * HOUR, 10 * HOUR, 10 * HOUR), Some(10 * HOUR)),
            ("right, sent an hour later", (9 * HOUR, 10 * HOUR, 10 * HOUR), Some(9 * HOUR)),
            // The way takes half a second, which looks like a clock that is half a second behind.
            ("right, half a second on its way", (9 * HOUR, 10 * HOUR, 10 * HOUR + 500_000), Some(9 * HOUR + 500_000)),
            // An hour behind: 09:00 by its clock was 10:00.
            ("an hour behind", (9 * HOUR, 10 * HOUR, 11 * HOUR), Some(10 * HOUR)),
            // A year ahead.
            ("a year ahead", (8_769 * HOUR, 8_770 * HOUR, 10 * HOUR), Some(9 * HOUR)),
            // Set anew between the two: the record can't have happened after it was received.
            ("happened after it was sent", (12 * HOUR, 10 * HOUR, 11 * HOUR), Some(11 * HOUR)),
            ("before 1970", (-3, -2, -1), Some(-2)),
            ("beyond the end, so received", (i64::MAX, i64::MIN, 0), Some(0)),
            ("all at the end", (i64::MAX, i64::MAX, i64::MAX), Some(i64::MAX)),
            ("before the beginning", (i64::MIN, i64::MAX, 0), None),
            ("just before the beginning", (i64::MIN, 1, 0), None),
            ("at the beginning", (i64::MIN, 0, 0), Some(i64::MIN)),
        ];
        for (name, (occurred, sent, received), expected) in cases {
            assert_eq!(corrected(occurred, sent, received), expected, "{name}");
        }
    }
}
