//! The newest records of a log, decoded as a run would: what would be taken, and what would be rejected and why.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

use super::PreflightError;
use crate::event::{Decoded, EventTime, Reject, ResumeOffset, Stream};
use crate::sources::{Logs, SourceError, SourceEvent};
use crate::start::LogFacts;
use crate::time::clock::Clock;

/// Records that are looked at, over all partitions.
pub const SAMPLE_RECORDS_MAX: i64 = 1_000;
/// Rejects that are kept to be shown.
const EXAMPLES_MAX: usize = 5;
/// Bytes of a rejected record that are shown.
const EXAMPLE_BYTES_MAX: usize = 80;
/// How long the records of one stream may take.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How long one look at the source may take.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// Records of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Those that were decoded.
    pub decoded: u64,
    /// Rejected ones, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Some of the rejected ones.
    pub examples: Vec<RejectExample>,
    /// Least and greatest event time of those that were decoded.
    pub event_times: Option<(EventTime, EventTime)>,
    /// Whether records that are there didn't come in time.
    pub cut_short: bool,
}

impl Sample {
    /// How many were rejected.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// A rejected record, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectExample {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in words.
    pub detail: String,
    /// The beginning of its bytes, with everything escaped that isn't printable.
    pub raw: String,
}

/// What was taken from a log.
pub(super) struct Taken {
    pub(super) sample: Sample,
    /// The log's timestamps of the first and the newest record, by partition.
    pub(super) times: BTreeMap<i32, (Option<EventTime>, Option<EventTime>)>,
}

/// Takes the newest records of a log; of a file, which has no end before it is read, the first ones.
pub(super) fn take(
    stream: &Stream,
    logs: &dyn Logs,
    facts: &BTreeMap<i32, LogFacts>,
    clock: &dyn Clock,
) -> Result<Taken, SourceError> {
    let filled =
        facts.iter().filter(|(_, facts)| facts.high > facts.low).map(|(&partition, &facts)| (partition, facts));
    let filled: BTreeMap<i32, LogFacts> = filled.collect();
    let mut taken = Taken { sample: Sample::default(), times: BTreeMap::new() };
    let is_bounded = logs.is_bounded(stream);
    let from = match is_bounded {
        true => filled.iter().map(|(&partition, facts)| (partition, facts.low)).collect(),
        false => newest(&filled),
    };
    let ends = filled.iter().map(|(&partition, facts)| (partition, facts.high)).collect();
    let came = read(stream, logs, &from, ends, clock, |decoded| {
        taken.sample.add(stream, decoded);
        let (first, last) = log_times(stream, decoded);
        let times = taken.times.entry(decoded.partition).or_default();
        *times = (times.0.or(first), last.or(times.1));
        i64::try_from(taken.sample.decoded + taken.sample.rejected_total()).unwrap_or(i64::MAX) < SAMPLE_RECORDS_MAX
    })?;
    taken.sample.cut_short = !came;
    if !is_bounded {
        first_times(stream, logs, &filled, clock, &mut taken)?;
    }
    Ok(taken)
}

/// Where the newest records begin: each partition gives as many, and where one has fewer, the others give more.
fn newest(filled: &BTreeMap<i32, LogFacts>) -> BTreeMap<i32, ResumeOffset> {
    let mut by_length: Vec<(i64, i32, i64)> =
        filled.iter().map(|(&partition, facts)| (facts.high.0 - facts.low.0, partition, facts.high.0)).collect();
    by_length.sort_unstable();
    let mut left = SAMPLE_RECORDS_MAX;
    let mut from = BTreeMap::new();
    for (index, (length, partition, high)) in by_length.iter().enumerate() {
        let partitions_left = i64::try_from(by_length.len() - index).unwrap_or(i64::MAX);
        // At least one: a partition that isn't looked at may be the broken one.
        let share = (left / partitions_left).max(1).min(*length);
        left = (left - share).max(0);
        from.insert(*partition, ResumeOffset(high - share));
    }
    from
}

/// The timestamps of the first records, where the sample doesn't hold them.
fn first_times(
    stream: &Stream,
    logs: &dyn Logs,
    filled: &BTreeMap<i32, LogFacts>,
    clock: &dyn Clock,
    taken: &mut Taken,
) -> Result<(), SourceError> {
    let from = filled.iter().map(|(&partition, facts)| (partition, facts.low)).collect();
    let ends = filled.iter().map(|(&partition, facts)| (partition, ResumeOffset(facts.low.0 + 1))).collect();
    let mut seen: BTreeMap<i32, Option<EventTime>> = BTreeMap::new();
    read(stream, logs, &from, ends, clock, |decoded| {
        seen.entry(decoded.partition).or_insert_with(|| log_times(stream, decoded).0);
        true
    })?;
    for (partition, first) in seen {
        taken.times.entry(partition).or_default().0 = first;
    }
    Ok(())
}

/// Gives what is read to `take` until each partition has come to its end, or `take` has enough; whether all of it came.
fn read(
    stream: &Stream,
    logs: &dyn Logs,
    from: &BTreeMap<i32, ResumeOffset>,
    mut ends: BTreeMap<i32, ResumeOffset>,
    clock: &dyn Clock,
    mut take: impl FnMut(&Decoded) -> bool,
) -> Result<bool, SourceError> {
    if from.is_empty() {
        return Ok(true);
    }
    let mut source = logs.open(stream, from)?;
    let started = clock.elapsed();
    while !ends.is_empty() {
        match source.poll(POLL_WAIT)? {
            SourceEvent::Records(decoded) => {
                if !take(&decoded) {
                    return Ok(true);
                }
                if ends.get(&decoded.partition).is_some_and(|end| decoded.next_offset >= *end) {
                    ends.remove(&decoded.partition);
                }
            }
            // Behind the last record there may be markers of transactions, which are no records.
            SourceEvent::AtEnd { partition, .. } => drop(ends.remove(&partition)),
            SourceEvent::Ended => return Ok(true),
            SourceEvent::Idle => {}
        }
        if clock.elapsed().saturating_sub(started) > WAIT_MAX {
            return Ok(ends.is_empty());
        }
    }
    Ok(true)
}

impl Sample {
    fn add(&mut self, stream: &Stream, decoded: &Decoded) {
        self.decoded += decoded.records.num_rows() as u64;
        let times = decoded.records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let least = arrow::compute::min(times).map(EventTime);
        let greatest = arrow::compute::max(times).map(EventTime);
        if let (Some(least), Some(greatest)) = (least, greatest) {
            let (from, to) = self.event_times.unwrap_or((least, greatest));
            self.event_times = Some((from.min(least), to.max(greatest)));
        }
        for reject in &decoded.rejects {
            *self.rejected.entry(reject.reason.as_str()).or_default() += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(example(reject));
            }
        }
    }
}

fn example(reject: &Reject) -> RejectExample {
    let shown = &reject.raw[..reject.raw.len().min(EXAMPLE_BYTES_MAX)];
    let mut raw: String = String::from_utf8_lossy(shown).chars().flat_map(escaped).collect();
    if reject.raw.len() > EXAMPLE_BYTES_MAX {
        raw.push('…');
    }
    let Reject { partition, offset, detail, .. } = reject.clone();
    RejectExample { partition, offset, reason: reject.reason.as_str(), detail, raw }
}

/// What could move a terminal's cursor must not reach it.
fn escaped(character: char) -> Vec<char> {
    match character.is_control() {
        true => character.escape_default().collect(),
        false => vec![character],
    }
}

/// The log's timestamps of the first and the last record of a piece.
fn log_times(stream: &Stream, decoded: &Decoded) -> (Option<EventTime>, Option<EventTime>) {
    let stamps = decoded.records.column(stream.timestamp_index()).as_primitive::<TimestampMicrosecondType>();
    let offsets = decoded.records.column(stream.offset_index()).as_primitive::<arrow::datatypes::Int64Type>();
    let good = (0..stamps.len()).map(|row| (offsets.value(row), stamps.is_valid(row).then(|| stamps.value(row))));
    let bad = decoded.rejects.iter().map(|reject| (reject.offset, reject.timestamp));
    let times = |at: Option<(i64, Option<i64>)>| at.and_then(|(_, time)| time).map(EventTime);
    (times(good.clone().chain(bad.clone()).min()), times(good.chain(bad).max()))
}

/// What is wrong with the records, if anything is.
pub(super) fn judge(stream: &str, sample: &Sample, rejects_max_millionths: u32) -> Vec<PreflightError> {
    let (rejected, records) = (sample.rejected_total(), sample.decoded + sample.rejected_total());
    let mut problems = Vec::new();
    if u128::from(rejected) * 1_000_000 > u128::from(records) * u128::from(rejects_max_millionths) {
        problems.push(PreflightError::Rejects { stream: stream.to_owned(), rejected, records });
    }
    if sample.cut_short {
        problems.push(PreflightError::Slow { stream: stream.to_owned(), records, seconds: WAIT_MAX.as_secs() });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_the_sample_and_short_ones_leave_their_rest_to_the_others() {
        let taken = |lengths: &[i64]| {
            let facts =
                |&length: &i64| LogFacts { low: ResumeOffset(7), high: ResumeOffset(7 + length), at_time: None };
            let filled: BTreeMap<i32, LogFacts> = (0..).zip(lengths.iter().map(facts)).collect();
            newest(&filled).iter().map(|(partition, from)| filled[partition].high.0 - from.0).collect::<Vec<_>>()
        };
        assert_eq!(taken(&[5_000]), [1_000]);
        assert_eq!(taken(&[5_000, 2, 5_000]), [499, 2, 499]);
        assert_eq!(taken(&[3, 2]), [3, 2]);
        assert_eq!(taken(&[9; 2_000]).iter().sum::<i64>(), 2_000);
        assert_eq!(taken(&[]), Vec::<i64>::new());
    }

    #[test]
    fn what_is_shown_of_a_reject_is_short_and_moves_no_cursor() {
        let reject = |raw: &[u8]| Reject {
            partition: 3,
            offset: 9,
            timestamp: None,
            raw: bytes::Bytes::copy_from_slice(raw),
            sides: Vec::new(),
            reason: crate::event::RejectReason::Undecodable,
            detail: "no JSON".to_owned(),
        };
        assert_eq!(example(&reject(b"a\x1b[2J\n\xff")).raw, "a\\u{1b}[2J\\n\u{fffd}");
        let long = example(&reject(&[b'x'; 200])).raw;
        assert_eq!((long.chars().count(), long.chars().last()), (EXAMPLE_BYTES_MAX + 1, Some('…')));
    }
}
