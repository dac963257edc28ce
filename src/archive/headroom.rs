//! The one alarm whose loss is permanent: retention comes near to records that are not archived yet.
//! Pure: how partitions stand comes in, what is to be said comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::EventTime;
use crate::standing::PartitionStanding;

/// Below this share of the log's length, or of its retention time, headroom is small.
const SMALL_SHARE: f64 = 0.1;
/// Looks in a row at which it must be small: an archive that begins at a log's first record leaves it within seconds.
const LOOKS_MIN: u32 = 3;
/// Time between two looks: the log's ends aren't asked for more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is said again as long as it lasts.
const SAY_INTERVAL: Duration = Duration::from_secs(600);

/// What is known of the partitions of one stream.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    looked: Option<Duration>,
    small: BTreeMap<i32, Small>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Small {
    looks: u32,
    said: Option<Duration>,
}

/// A partition with little headroom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Warning {
    pub(super) partition: i32,
    /// Records between the log's low end and the position.
    pub(super) records: u64,
    /// They, as a part of the log's length.
    pub(super) share: f64,
    /// How long the log still keeps what comes next at least, where it says.
    pub(super) time: Option<Duration>,
}

impl Headroom {
    /// Looks at the partitions at the moment `elapsed`, and says which of them are to be warned of.
    pub(super) fn look(
        &mut self,
        partitions: &BTreeMap<i32, PartitionStanding>,
        now: EventTime,
        elapsed: Duration,
    ) -> Vec<Warning> {
        if self.looked.is_some_and(|looked| elapsed < looked + LOOK_INTERVAL) {
            return Vec::new();
        }
        self.looked = Some(elapsed);
        let mut warnings = Vec::new();
        for (&partition, at) in partitions {
            let Some(warning) = judge(partition, at, now) else {
                self.small.remove(&partition);
                continue;
            };
            let small = self.small.entry(partition).or_default();
            small.looks += 1;
            let was_said = small.said.is_some_and(|said| elapsed < said + SAY_INTERVAL);
            if small.looks >= LOOKS_MIN && !was_said {
                small.said = Some(elapsed);
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// Whether retention is near: only where there is something to lose and the log loses something.
fn judge(partition: i32, at: &PartitionStanding, now: EventTime) -> Option<Warning> {
    let low = at.log?.low;
    if at.lag_records()? == 0 {
        return None;
    }
    let share = at.headroom_share()?;
    let time = at.headroom(now);
    let time_is_short = match (time, at.retention) {
        (Some(time), Some(retention)) => time.as_secs_f64() < retention.as_secs_f64() * SMALL_SHARE,
        _ => false,
    };
    // A log whose beginning is still there hasn't lost anything by count.
    let is_near = low.0 > 0 && share < SMALL_SHARE;
    (is_near || time_is_short).then_some(Warning { partition, records: at.headroom_records()?, share, time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ResumeOffset;
    use crate::standing::LogSpan;

    const NOW: EventTime = EventTime(1_000_000_000_000);

    fn at(position: i64, low: i64, high: i64) -> BTreeMap<i32, PartitionStanding> {
        let log = LogSpan { low: ResumeOffset(low), high: ResumeOffset(high) };
        BTreeMap::from([(
            3,
            PartitionStanding {
                position: ResumeOffset(position),
                log: Some(log),
                logged: Some(EventTime(NOW.0 - 95_000_000)),
                ..PartitionStanding::default()
            },
        )])
    }

    /// The looks of so many seconds at which something was said.
    fn said(headroom: &mut Headroom, partitions: &BTreeMap<i32, PartitionStanding>, seconds: u64) -> Vec<u64> {
        let looks =
            (0..seconds).filter(|&second| !headroom.look(partitions, NOW, Duration::from_secs(second)).is_empty());
        looks.collect()
    }

    #[test]
    fn it_is_said_when_it_stays_small_and_again_every_ten_minutes() {
        assert_eq!(said(&mut Headroom::default(), &at(104, 100, 200), 1_300), [20, 620, 1_220]);
    }

    #[test]
    fn a_reader_that_gets_on_or_a_log_that_lost_nothing_is_fine() {
        for partitions in [at(110, 100, 200), at(4, 0, 100), at(200, 100, 200)] {
            assert_eq!(said(&mut Headroom::default(), &partitions, 100), [0; 0]);
        }
        let mut headroom = Headroom::default();
        assert_eq!(said(&mut headroom, &at(104, 100, 200), 15), [0; 0]);
        headroom.look(&at(150, 100, 200), NOW, Duration::from_secs(20));
        assert!(headroom.look(&at(104, 100, 200), NOW, Duration::from_secs(30)).is_empty(), "counted anew");
    }

    #[test]
    fn short_time_counts_however_many_records_there_are() {
        let mut partitions = at(90, 0, 100);
        let retained = |seconds| Some(Duration::from_secs(seconds));
        partitions.get_mut(&3).expect("it is there").retention = retained(100);
        let mut headroom = Headroom::default();
        assert_eq!(said(&mut headroom, &partitions, 100), [20]);
        partitions.get_mut(&3).expect("it is there").retention = retained(1_000);
        assert_eq!(said(&mut Headroom::default(), &partitions, 100), [0; 0]);
    }

    #[test]
    fn the_warning_holds_the_distance() {
        let mut headroom = Headroom::default();
        let partitions = at(104, 100, 200);
        let warnings = [0, 10, 20].map(|second| headroom.look(&partitions, NOW, Duration::from_secs(second)));
        assert_eq!(warnings[2], [Warning { partition: 3, records: 4, share: 0.04, time: None }]);
    }
}
