//! Every kind of start, on logs of one partition.

use std::collections::BTreeMap;

use super::*;

const HOUR: Micros = Micros::from_seconds(3_600);

/// What is asked, with nothing known but the log.
struct Case {
    start: Start,
    reach: Micros,
    max_future: Option<Micros>,
    log: LogFacts,
    stamp: Stamp,
    removed_before: Option<EventTime>,
    vouched: Vouched,
}

impl Case {
    fn new(start: Start, log: LogFacts) -> Case {
        Case {
            start,
            reach: Micros(0),
            max_future: Some(HOUR),
            log,
            stamp: Stamp::ByProducer(at(0)),
            removed_before: None,
            vouched: Vouched::default(),
        }
    }

    fn ask<T>(&self, decide: impl Fn(&Asked<'_>) -> T) -> T {
        let (log, stamps) = (BTreeMap::from([(0, self.log)]), BTreeMap::from([(0, self.stamp)]));
        decide(&Asked {
            stream: "s",
            topic: "t",
            start: &self.start,
            reach: self.reach,
            max_future: self.max_future,
            log: &log,
            stamps: &stamps,
            removed_before: self.removed_before,
            vouched: self.vouched,
        })
    }

    /// Position and first whole window.
    fn begin(&self) -> Result<(i64, EventTime), StartError> {
        let begun = self.ask(begin)?;
        assert!(!begun.from_history && begun.places[&0].seen.is_none());
        Ok((begun.places[&0].offset.0, begun.whole_from))
    }
}

fn at(hours: i64) -> EventTime {
    EventTime(hours * HOUR.0)
}

fn facts(low: i64, high: i64, at_time: Option<i64>) -> LogFacts {
    LogFacts { low: ResumeOffset(low), high: ResumeOffset(high), at_time: at_time.map(ResumeOffset) }
}

fn whole_from(time: EventTime) -> Vouched {
    Vouched { whole_from: Some(time), allow_partial: false }
}

const PARTIAL: Vouched = Vouched { whole_from: None, allow_partial: true };

fn offsets(offset: i64) -> Start {
    Start::Offsets(BTreeMap::from([("t".into(), BTreeMap::from([(0, ResumeOffset(offset))]))]))
}

#[test]
fn earliest_publishes_every_window_of_a_whole_log() {
    let mut case = Case::new(Start::Earliest, facts(0, 9, None));
    assert_eq!(case.begin(), Ok((0, EventTime::MIN)));
    case.vouched = whole_from(at(3));
    assert_eq!(case.begin(), Ok((0, at(3))), "a user may want less than everything");
}

#[test]
fn a_cut_off_log_needs_somebody_to_vouch_for_the_first_window() {
    for start in [Start::Earliest, Start::Time(at(5)), Start::Edge(at(5))] {
        let mut case = Case::new(start.clone(), facts(1, 9, Some(1)));
        assert_eq!(case.begin(), Err(StartError::CutOff { stream: "s".into(), partition: 0, low: 1 }));
        case.vouched = whole_from(at(7));
        assert_eq!(case.begin(), Ok((1, at(7))));
        case.vouched = PARTIAL;
        assert_eq!(case.begin(), Ok((1, EventTime::MIN)));
    }
    let mut early = Case::new(Start::Time(at(5)), facts(1, 9, Some(1)));
    early.vouched = whole_from(at(3));
    assert_eq!(early.begin(), Ok((1, at(5))), "no window before the one that was asked for");
}

#[test]
fn a_log_that_stamps_its_records_tells_the_first_whole_window_of_what_is_left() {
    // Event times below are at most the first stamp and MAX FUTURE.
    let mut case = Case::new(Start::Earliest, facts(4, 9, None));
    case.stamp = Stamp::ByLog(at(10));
    assert_eq!(case.begin(), Ok((4, EventTime(at(11).0 + 1))));
    case.reach = HOUR;
    assert_eq!(case.begin(), Ok((4, EventTime(at(12).0 + 1))));
    case.start = offsets(6);
    assert_eq!(case.begin(), Ok((6, EventTime(at(12).0 + 1))));
    case.start = Start::Time(at(20));
    case.log = facts(4, 9, Some(4));
    assert_eq!(case.begin(), Ok((4, at(20))), "later than what is known to be whole");
    case.max_future = None;
    case.start = Start::Earliest;
    assert!(matches!(case.begin(), Err(StartError::CutOff { .. })), "stamps bound no event time");
}

#[test]
fn what_is_removed_must_be_older_than_what_a_look_up_passes_over() {
    // The first record that is left is old, but one that is gone may be newer.
    let mut case = Case::new(Start::Time(at(10)), facts(3, 9, Some(5)));
    assert_eq!(
        case.begin(),
        Err(StartError::Removed { stream: "s".into(), partition: 0, low: 3, from: at(9) }),
        "@2 may have had any timestamp"
    );
    case.removed_before = Some(at(9));
    assert_eq!(case.begin(), Ok((5, at(10))), "retention goes by time");
    case.removed_before = Some(EventTime(at(9).0 + 1));
    assert!(case.begin().is_err());
    case.stamp = Stamp::ByLog(at(1));
    assert_eq!(case.begin(), Ok((5, at(10))), "stamps of the log rise");
}

#[test]
fn a_time_begins_where_the_log_answers_and_publishes_from_that_time() {
    assert_eq!(Case::new(Start::Time(at(5)), facts(0, 9, Some(4))).begin(), Ok((4, at(5))));
    assert_eq!(read_back(at(5), HOUR, Some(HOUR)), at(3));
    assert_eq!(read_back(at(5), HOUR, None), at(4));
}

#[test]
fn when_the_look_up_finds_nothing_the_end_that_was_asked_before_stands_in() {
    assert_eq!(Case::new(Start::Time(at(5)), facts(0, 100, None)).begin(), Ok((100, at(5))));
    let mut empty = Case::new(Start::Time(at(5)), facts(0, 0, None));
    empty.stamp = Stamp::NoRecord;
    assert_eq!(empty.begin(), Ok((0, at(5))));
}

#[test]
fn records_without_timestamps_are_found_by_no_time() {
    let mut case = Case::new(Start::Time(at(5)), facts(0, 9, None));
    case.stamp = Stamp::None;
    assert_eq!(case.begin(), Err(StartError::NoTimestamps { stream: "s".into(), partition: 0, offset: 0 }));
    case.start = Start::Earliest;
    assert_eq!(case.begin(), Ok((0, EventTime::MIN)));
}

#[test]
fn without_max_future_a_time_is_for_those_who_vouch() {
    let mut case = Case::new(Start::Time(at(5)), facts(0, 9, Some(4)));
    case.max_future = None;
    assert_eq!(case.begin(), Err(StartError::NoMaxFuture { stream: "s".into() }));
    case.vouched = PARTIAL;
    assert_eq!(case.begin(), Ok((4, EventTime::MIN)));
    case.vouched = whole_from(at(6));
    assert_eq!(case.begin(), Ok((4, at(6))));
}

#[test]
fn offsets_must_lie_in_the_log_and_be_vouched_for() {
    let log = facts(0, 9, None);
    assert_eq!(Case::new(offsets(4), log).begin(), Err(StartError::OffsetsOnly { stream: "s".into() }));
    assert_eq!(Case::new(offsets(0), log).begin(), Ok((0, EventTime::MIN)));
    let outside = Case::new(offsets(10), log).begin();
    assert_eq!(outside, Err(StartError::OutOfRange { partition: 0, wanted: 10, low: 0, high: 9 }));
    let elsewhere = Start::Offsets(BTreeMap::from([("t".into(), BTreeMap::from([(3, ResumeOffset(0))]))]));
    let unknown = Case::new(elsewhere, log).begin();
    assert_eq!(unknown, Err(StartError::UnknownPartition { stream: "s".into(), partition: 3, partitions: 1 }));
}

#[test]
fn a_record_is_looked_at_only_where_its_timestamp_decides() {
    let asked =
        |start: Start, log: LogFacts| sampled(&start, "t", &BTreeMap::from([(0, log)])).get(&0).map(|offset| offset.0);
    assert_eq!(asked(Start::Earliest, facts(0, 9, None)), None);
    assert_eq!(asked(Start::Earliest, facts(2, 9, None)), Some(2));
    assert_eq!(asked(Start::Time(at(1)), facts(0, 9, Some(4))), Some(0));
    assert_eq!(asked(Start::Time(at(1)), facts(9, 9, None)), None, "there is none");
    assert_eq!(asked(offsets(4), facts(0, 9, None)), Some(4));
    assert_eq!(asked(offsets(0), facts(0, 9, None)), None);
    assert_eq!(asked(offsets(9), facts(0, 9, None)), Some(9));
    for outside in [3, 10] {
        assert_eq!(asked(offsets(outside), facts(4, 9, None)), None, "refused without a look");
    }
}

fn place(offset: i64, seen: Option<i64>) -> StartPlace {
    StartPlace { offset: ResumeOffset(offset), seen: seen.map(at) }
}

/// History up to offset 50 with windows from 10:00 on from offset 40 on.
fn history() -> HistoryFacts {
    let archived = ArchivedPartition { first_needed: Some(place(40, Some(9))), end: place(50, Some(11)) };
    HistoryFacts { from: at(10), whole_from: Some(EventTime::MIN), partitions: BTreeMap::from([(0, archived)]) }
}

#[test]
fn a_hand_over_begins_at_the_first_record_that_the_first_window_needs() {
    let case = Case::new(Start::History, facts(40, 60, None));
    let begun = case.ask(|asked| hand_over(asked, &history())).expect("the log holds it");
    assert_eq!((begun.places[&0], begun.whole_from, begun.from_history), (place(40, Some(9)), at(10), false));
    let mut nothing_yet = history();
    nothing_yet.partitions.get_mut(&0).expect("one").first_needed = None;
    let begun = case.ask(|asked| hand_over(asked, &nothing_yet)).expect("the log holds it");
    assert_eq!(begun.places[&0], place(50, Some(11)), "all of history is below the first window");
}

#[test]
fn what_the_log_holds_no_more_comes_from_history() {
    let begun = Case::new(Start::History, facts(41, 60, None)).ask(|asked| hand_over(asked, &history()));
    let begun = begun.expect("history goes on to the log");
    assert_eq!((begun.places[&0], begun.from_history), (place(50, Some(11)), true));
}

#[test]
fn no_record_is_missing_between_history_and_log() {
    let gap = Case::new(Start::History, facts(53, 60, None)).ask(|asked| hand_over(asked, &history()));
    let gap = gap.expect_err("50 to 52 are nowhere");
    assert!(gap.to_string().contains("3 offsets, 50 to 52, are in neither"), "{gap}");
    let anew = Case::new(Start::History, facts(0, 7, None)).ask(|asked| hand_over(asked, &history()));
    assert_eq!(anew, Err(StartError::HistoryBeyondLog { stream: "s".into(), partition: 0, end: 50, high: 7 }));
    let mut added = history();
    added.partitions = BTreeMap::new();
    let begun = Case::new(Start::History, facts(0, 7, None)).ask(|asked| hand_over(asked, &added));
    assert_eq!(begun.expect("it is in the log whole").places[&0], place(0, None));
    assert!(Case::new(Start::History, facts(1, 7, None)).ask(|asked| hand_over(asked, &added)).is_err());
}

#[test]
fn history_that_was_begun_in_the_middle_is_whole_from_some_time_on() {
    let mut cut = history();
    cut.whole_from = Some(at(11));
    let mut case = Case::new(Start::History, facts(0, 60, None));
    let refused = case.ask(|asked| hand_over(asked, &cut)).expect_err("10:00 may be cut off");
    assert!(refused.to_string().contains("is whole from"), "{refused}");
    case.vouched = whole_from(at(9));
    assert_eq!(case.ask(|asked| hand_over(asked, &cut)).expect("vouched").whole_from, at(10));
}
