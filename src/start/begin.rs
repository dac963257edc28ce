//! A beginning in the log alone.

use std::collections::BTreeMap;

use super::{Asked, Begin, LogFacts, Stamp, Start, StartError, StartPlace};
use crate::event::{EventTime, Micros, ResumeOffset};

/// The record timestamp to look up for a start at `time`: every record below the offset that the log answers has a
/// timestamp, so an event time less MAX FUTURE, below it, and belongs to no window from `time` on.
///
/// `reach` is how far before a window's start its records may lie: zero for windows with fixed ends. Without MAX FUTURE
/// (the user vouches then) the event times themselves are taken for timestamps.
pub fn read_back(time: EventTime, reach: Micros, max_future: Option<Micros>) -> EventTime {
    time.minus(reach).minus(max_future.unwrap_or_default())
}

/// Where the timestamp of a record must be known to decide a beginning: where the log's beginning is cut off, where offsets
/// are given, and where a look-up by time has passed records over, which is right only if they have timestamps.
pub fn sampled(start: &Start, topic: &str, log: &BTreeMap<i32, LogFacts>) -> BTreeMap<i32, ResumeOffset> {
    let place = |(&partition, facts): (&i32, &LogFacts)| {
        let place = match start {
            Start::Earliest => (facts.low > ResumeOffset(0)).then_some(facts.low),
            Start::Time(_) | Start::Edge(_) => (facts.low < facts.high).then_some(facts.low),
            Start::Offsets(offsets) => {
                let named = offsets.get(topic).and_then(|offsets| offsets.get(&partition));
                let wanted = named.copied().unwrap_or(facts.low);
                // One outside of the log is refused as such, and nothing is to be read there.
                (wanted > ResumeOffset(0) && facts.low <= wanted && wanted <= facts.high).then_some(wanted)
            }
            Start::History => None,
        };
        Some((partition, place?))
    };
    log.iter().filter_map(place).collect()
}

/// Decides where a run over one stream begins in its log. [`Start::History`] has a function of its own
/// ([`super::hand_over`]).
///
/// # Errors
/// [`StartError`], with the way out.
pub fn begin(asked: &Asked<'_>) -> Result<Begin, StartError> {
    let positions = positions(asked)?;
    let wanted = match asked.start {
        Start::Time(time) | Start::Edge(time) => *time,
        Start::Earliest | Start::Offsets(_) | Start::History => EventTime::MIN,
    };
    let whole_from = match proved_from(asked, &positions) {
        _ if asked.vouched.allow_partial => EventTime::MIN,
        Ok(proved) => match asked.start {
            Start::Time(_) | Start::Edge(_) => proved.max(wanted),
            // Everything is whole, and yet the user wants less.
            _ => asked.vouched.whole_from.unwrap_or(proved),
        },
        Err(error) => asked.vouched.whole_from.ok_or(error)?.max(wanted),
    };
    let places = positions.into_iter().map(|(partition, offset)| (partition, StartPlace { offset, seen: None }));
    Ok(Begin { places: places.collect(), whole_from, from_history: false })
}

/// The first window start from which on no window has a record below `positions`, as far as log and timestamps prove it.
fn proved_from(asked: &Asked<'_>, positions: &BTreeMap<i32, ResumeOffset>) -> Result<EventTime, StartError> {
    let stream = || asked.stream.to_owned();
    let by_time = matches!(asked.start, Start::Time(_) | Start::Edge(_));
    if by_time && asked.max_future.is_none() {
        return Err(StartError::NoMaxFuture { stream: stream() });
    }
    let mut from = EventTime::MIN;
    for (&partition, &position) in positions {
        let low = asked.log[&partition].low;
        let stamp = asked.stamps.get(&partition).copied().unwrap_or(Stamp::NoRecord);
        if position == ResumeOffset(0) {
            continue;
        }
        if by_time && position > low {
            check_passed_over(asked, partition, stamp)?;
            continue;
        }
        match (stamp, asked.max_future) {
            (Stamp::ByLog(stamp), Some(max_future)) => {
                // Event times below the position are at most this.
                let greatest = stamp.plus(max_future);
                from = from.max(greatest.plus(asked.reach).plus(Micros(1)));
            }
            _ if matches!(asked.start, Start::Offsets(_)) => return Err(StartError::OffsetsOnly { stream: stream() }),
            _ => return Err(StartError::CutOff { stream: stream(), partition, low: low.0 }),
        }
    }
    Ok(from)
}

/// Whether all records below a look-up's answer are too old for the first window: those in the log are, if they have
/// timestamps at all; those that are gone are, if the log stamps or removes records by its clock.
fn check_passed_over(asked: &Asked<'_>, partition: i32, first: Stamp) -> Result<(), StartError> {
    let (stream, low) = (asked.stream.to_owned(), asked.log[&partition].low);
    let (Start::Time(wanted) | Start::Edge(wanted)) = *asked.start else { return Ok(()) };
    let from = read_back(wanted, asked.reach, asked.max_future);
    match first {
        Stamp::None => Err(StartError::NoTimestamps { stream, partition, offset: low.0 }),
        _ if low == ResumeOffset(0) => Ok(()),
        Stamp::ByLog(_) => Ok(()),
        _ if asked.removed_before.is_some_and(|removed| removed <= from) => Ok(()),
        _ => Err(StartError::Removed { stream, partition, low: low.0, from }),
    }
}

fn positions(asked: &Asked<'_>) -> Result<BTreeMap<i32, ResumeOffset>, StartError> {
    let Asked { stream, topic, start, log, .. } = *asked;
    let none = BTreeMap::new();
    let offsets = match start {
        Start::Offsets(offsets) => offsets.get(topic).unwrap_or(&none),
        _ => &none,
    };
    if let Some(&partition) = offsets.keys().find(|partition| !log.contains_key(partition)) {
        return Err(StartError::UnknownPartition { stream: stream.into(), partition, partitions: log.len() });
    }
    let position = |partition: i32, facts: &LogFacts| match (start, offsets.get(&partition)) {
        (Start::Time(_) | Start::Edge(_), _) => Ok(facts.at_time.unwrap_or(facts.high).max(facts.low)),
        (_, None) => Ok(facts.low),
        (_, Some(&wanted)) if facts.low <= wanted && wanted <= facts.high => Ok(wanted),
        (_, Some(&ResumeOffset(wanted))) => {
            Err(StartError::OutOfRange { partition, wanted, low: facts.low.0, high: facts.high.0 })
        }
    };
    log.iter().map(|(&partition, facts)| Ok((partition, position(partition, facts)?))).collect()
}
