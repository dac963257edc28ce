//! Hand-worked answers to what is asked of a window, of each kind in the order of [`kinds`].

use serde_json::json;

use super::super::{
    ByData, Calendar, CalendarLength, Counting, Cumulating, Hopping, Made, PublishRange, Session, Sliding, TZDATA,
    Tumbling, Window, WindowEdge,
};
use crate::event::{EventTime, Micros, Transform};

/// A day in microseconds; other times are small numbers of microseconds.
const DAY: i64 = 86_400_000_000;

const SESSION: Window = Window::ByData(ByData::Session(Session { gap: Micros(10), partition_keys: 1 }));
const COUNTING: Window = Window::ByData(ByData::Counting(Counting { size: 3, timeout: Micros(10), partition_keys: 1 }));
const SLIDING: Window = Window::ByData(ByData::Sliding(Sliding { size: Micros(10) }));

/// - `TUMBLE`: … [-50, 10), [10, 70), [70, 130) …
/// - `TUMBLE` by days: [0, DAY), [DAY, 2 DAY) …
/// - `HOP`: … [0, 45), [30, 75), [60, 105) …
/// - `CUMULATE`: … [10, 30), [10, 50), [10, 70), [70, 90) …; the mark of a window is its end less 60
/// - `SESSION`, `COUNT_WINDOW` and `SLIDING`, all of 10
/// - none
fn kinds() -> [Window; 8] {
    let day = CalendarLength::Days { count: 1, shift: 0 };
    [
        Window::Tumbling(Tumbling { size: Micros(60), offset: Micros(10) }),
        Window::Calendar(Calendar { length: day, zone: chrono_tz::UTC }),
        Window::Hopping(Hopping { slide: Micros(30), size: Micros(45), offset: Micros(0) }),
        Window::Cumulating(Cumulating { step: Micros(20), size: Micros(60), offset: Micros(10) }),
        SESSION,
        COUNTING,
        SLIDING,
        Window::EachRecord,
    ]
}

/// The answer of each kind.
fn each<T>(ask: impl Fn(Window) -> T) -> [T; 8] {
    kinds().map(ask)
}

/// The answer of each kind for an instant, in microseconds.
fn each_at(time: i64, ask: fn(&Window, EventTime) -> EventTime) -> [i64; 8] {
    each(|window| ask(&window, EventTime(time)).0)
}

const NEVER: i64 = i64::MIN;
const ALWAYS: i64 = i64::MAX;

#[test]
fn both_ends_of_time_stay_what_they_are() {
    let questions: [fn(&Window, EventTime) -> EventTime; 5] =
        [Window::mark_at_or_after, Window::first_start, Window::first_mark, Window::first_open, Window::last_end_below];
    for end in [NEVER, ALWAYS] {
        for ask in questions {
            assert_eq!(each_at(end, ask), [end; 8]);
        }
        for edge in [WindowEdge::Start, WindowEdge::End, WindowEdge::Time] {
            assert_eq!(each(|window| window.edge_from(edge, EventTime(end)).0), [end; 8]);
            assert_eq!(each(|window| window.mark_by(edge, EventTime(end)).0), [end; 8]);
        }
    }
}

#[test]
fn marks_are_starts_but_of_cumulating_windows() {
    let mark = |window: Window| window.mark_of(EventTime(10), EventTime(50)).0;
    assert_eq!(each(mark), [10, 10, 10, -10, 10, 10, 10, 10]);
    assert_eq!(each(|window| window.name_ahead().0), [0, 0, 0, 60, 0, 0, 0, 0]);
    assert_eq!(each_at(10, Window::mark_at_or_after), [10, DAY, 30, 10, 10, 10, 10, 10]);
    assert_eq!(each_at(11, Window::mark_at_or_after), [70, DAY, 30, 30, 11, 11, 11, 11]);
    assert_eq!(each_at(30, Window::mark_at_or_after), [70, DAY, 30, 30, 30, 30, 30, 30]);
    assert_eq!(each_at(DAY, Window::mark_at_or_after)[1], DAY);
}

#[test]
fn the_window_that_holds_an_instant_begins_at_or_before_it() {
    assert_eq!(each(|window| window.start_of(69)), [10, 0, 69, 69, 69, 69, 69, 69]);
    assert_eq!(each(|window| window.start_of(70)), [70, 0, 70, 70, 70, 70, 70, 70]);
    assert_eq!(each(|window| window.start_of(DAY + 5))[1], DAY);
}

#[test]
fn marks_and_starts_tell_each_other() {
    // Behind the mark 11, the first cumulating window is [70, 90).
    assert_eq!(each_at(10, Window::first_start), [10, DAY, 30, 10, 10, 10, 10, 10]);
    assert_eq!(each_at(11, Window::first_start), [70, DAY, 30, 70, 11, 11, 11, 11]);
    // Its first window from 10 on is [10, 30), from 11 on [70, 90).
    assert_eq!(each_at(10, Window::first_mark), [10, 10, 10, -30, 10, 10, 10, 10]);
    assert_eq!(each_at(11, Window::first_mark), [11, 11, 11, 30, 11, 11, 11, 11]);
}

#[test]
fn a_window_is_open_until_the_watermark_is_at_its_end() {
    // Of sessions and count windows, one that began any time ago may be open.
    assert_eq!(each_at(29, Window::first_open), [10, 0, 0, -30, NEVER, NEVER, 20, 29]);
    assert_eq!(each_at(30, Window::first_open), [10, 0, 0, -10, NEVER, NEVER, 21, 30]);
    assert_eq!(each_at(45, Window::first_open), [10, 0, 30, -10, NEVER, NEVER, 36, 45]);
    assert_eq!(each_at(69, Window::first_open), [10, 0, 30, 10, NEVER, NEVER, 60, 69]);
    assert_eq!(each_at(70, Window::first_open), [70, 0, 30, 30, NEVER, NEVER, 61, 70]);
    assert_eq!(each_at(DAY - 1, Window::first_open)[1], 0);
    assert_eq!(each_at(DAY, Window::first_open)[1], DAY);
}

#[test]
fn what_ends_last_below_a_mark() {
    // A session has any length; a count window its timeout at most.
    assert_eq!(each_at(10, Window::last_end_below), [10, DAY, 45, 50, ALWAYS, 19, 19, 10]);
    assert_eq!(each_at(11, Window::last_end_below), [70, DAY, 45, 70, ALWAYS, 20, 20, 11]);
    assert_eq!(each_at(30, Window::last_end_below)[2], 45);
    assert_eq!(each_at(31, Window::last_end_below)[2], 75);
    assert_eq!(each_at(DAY, Window::last_end_below)[1], DAY);
    assert_eq!(each_at(DAY + 1, Window::last_end_below)[1], 2 * DAY);
}

#[test]
fn columns_lie_ahead_of_marks() {
    let of = |edge, mark| each(|window| window.edge_from(edge, EventTime(mark)).0);
    assert_eq!(of(WindowEdge::Start, 30), [30, 30, 30, 30, 30, 30, 30, 30]);
    // A session lasts the gap at least, a count window of one record a microsecond.
    assert_eq!(of(WindowEdge::End, 30), [90, 2 * DAY, 75, 90, 40, 31, 40, 31]);
    assert_eq!(of(WindowEdge::Time, 30), [89, 2 * DAY - 1, 74, 89, 39, 30, 39, 30]);
    assert_eq!(of(WindowEdge::End, DAY)[1], 2 * DAY);
}

#[test]
fn columns_tell_marks() {
    let of = |edge, time| each(|window| window.mark_by(edge, EventTime(time)).0);
    assert_eq!(of(WindowEdge::Start, 70), [70, 70, 70, 70, 70, 70, 70, 70]);
    assert_eq!(of(WindowEdge::End, 70), [10, 0, 25, 10, NEVER, NEVER, 60, 69]);
    assert_eq!(of(WindowEdge::Time, 69), [10, 0, 25, 10, NEVER, NEVER, 59, 69]);
    assert_eq!((of(WindowEdge::End, DAY)[1], of(WindowEdge::End, DAY + 1)[1]), (0, DAY));
    assert_eq!((of(WindowEdge::Time, DAY - 1)[1], of(WindowEdge::Time, DAY)[1]), (0, DAY));
}

#[test]
fn what_is_kept_for_a_pane_is_kept_for_its_last_window() {
    // 10 begins a pane of the first hop, of all three cumulating windows; 30 one of the second hop, of two cumulating ones.
    assert_eq!(each_at(10, Window::pane_needed_until), [70, DAY, 45, 70, ALWAYS, ALWAYS, ALWAYS, 11]);
    assert_eq!(each_at(30, Window::pane_needed_until)[2..4], [75, 70]);
    assert_eq!(each_at(70, Window::pane_needed_until)[2..4], [105, 130]);
}

#[test]
fn lengths_are_those_of_the_longest_windows() {
    assert_eq!(each(|window| window.reach().0), [0, 0, 0, 0, 10, 10, 0, 0]);
    assert_eq!(each(|window| window.longest().0), [60, DAY, 45, 60, 10, 10, 10, 1]);
    let longest = |length, zone| Calendar { length, zone }.longest().0 / DAY;
    let days = CalendarLength::Days { count: 7, shift: 4 };
    // Where a zone has moved across the date line, a date may last a day longer.
    assert_eq!((longest(days, chrono_tz::UTC), longest(days, chrono_tz::Europe::Berlin)), (7, 8));
    let quarter = CalendarLength::Months(3);
    assert_eq!((longest(quarter, chrono_tz::UTC), longest(quarter, chrono_tz::Pacific::Apia)), (93, 94));
}

#[test]
fn kinds_differ_in_what_they_can() {
    let yes = |answers: [bool; 8]| -> Vec<usize> { (0..8).filter(|&kind| answers[kind]).collect() };
    assert_eq!(yes(each(|window| window.can_be_revised())), [0, 1, 2, 3, 4, 6]);
    assert_eq!(yes(each(|window| window.edges_decide_each_other())), [0, 1, 2, 6, 7]);
    assert_eq!(yes(each(|window| window.goes_by_positions())), [5]);
    assert_eq!(yes(each(|window| window.has_reason())), [5]);
    assert_eq!(yes(each(|window| window.is_without_end())), [7]);
    assert_eq!(yes(each(|window| window.is_late_by_time())), [4, 5, 6, 7]);
    assert_eq!(yes(each(|window| window.is_told_by_its_start())), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(yes(each(|window| window.shares_panes())), [2, 3]);
    // Cumulating windows begin together, so a start doesn't tell which is meant.
    assert_eq!(yes(each(|window| window.ranges_by(WindowEdge::Start))), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(yes(each(|window| window.ranges_by(WindowEdge::End))), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn every_kind_has_the_name_of_its_function() {
    let names = each(|window| window.name());
    assert_eq!(names[..4], ["TUMBLE", "TUMBLE", "HOP", "CUMULATE"]);
    assert_eq!(names[4..], ["SESSION", "COUNT_WINDOW", "SLIDING", "a SELECT without a window"]);
}

#[test]
fn what_lies_around_a_range_is_read() {
    let around = |window: Window, edge, partition| {
        let around = window.read_around(edge, partition);
        (around.warm_up.0, around.run_out.0)
    };
    let by_day = |edge| each(|window| around(window, edge, Transform::Day));
    // Sessions and count windows are known behind a quiet gap or timeout; the others are made of what is in them.
    let expected = [(0, 60), (0, DAY), (0, 15), (0, 60), (10, 10), (10, 10), (0, 10), (0, 0)];
    assert_eq!(by_day(WindowEdge::Start), expected);
    let expected = [(60, 0), (DAY, 0), (45, 0), (60, 0), (10, 0), (10, 0), (10, 0), (1, 0)];
    assert_eq!(by_day(WindowEdge::End), expected);
    let expected = [(60, 0), (DAY, 0), (45, 0), (60, 0), (10, 0), (10, 0), (10, 0), (0, 0)];
    assert_eq!(by_day(WindowEdge::Time), expected);

    let month = |count, zone| Window::Calendar(Calendar { length: CalendarLength::Months(count), zone });
    let months = |count, zone, partition| around(month(count, zone), WindowEdge::Start, partition).1 / DAY;
    assert_eq!(months(1, chrono_tz::UTC, Transform::Month), 0);
    assert_eq!(months(2, chrono_tz::UTC, Transform::Month), 62);
    assert_eq!(months(1, chrono_tz::UTC, Transform::Day), 31);
    assert_eq!(months(1, chrono_tz::Europe::Berlin, Transform::Month), 32);

    let cumulate = |size: i64, offset| {
        let (step, size) = (Micros::from_seconds(60), Micros::from_seconds(size));
        let window = Window::Cumulating(Cumulating { step, size, offset: Micros::from_seconds(offset) });
        around(window, WindowEdge::Time, Transform::Hour).0 / 1_000_000
    };
    assert_eq!([cumulate(3_600, 0), cumulate(3_600, 60), cumulate(420, 0)], [0, 3_600, 420]);
    // Its starts are no edges of partitions.
    let shifted = Hopping { slide: Micros(3_600_000_000), size: Micros(7_200_000_000), offset: Micros(1) };
    assert_eq!(around(Window::Hopping(shifted), WindowEdge::Start, Transform::Hour), (0, 7_200_000_000));
}

/// These stand in the fingerprints of jobs that have run: none may change.
#[test]
fn fingerprints_hold_all_that_decides() {
    let expected = [
        json!({ "tumbling": { "size_us": 60, "offset_us": 10 } }),
        json!({ "calendar": { "length": { "days": 1, "shift_days": 0 }, "zone": "UTC", "tzdata": null } }),
        json!({ "hopping": { "slide_us": 30, "size_us": 45, "offset_us": 0 } }),
        json!({ "cumulating": { "step_us": 20, "size_us": 60, "offset_us": 10 } }),
        json!({ "session": { "gap_us": 10, "partition_keys": 1 } }),
        json!({ "counting": { "size": 3, "timeout_us": 10, "partition_keys": 1 } }),
        json!({ "sliding": { "size_us": 10 } }),
        json!("each_record"),
    ];
    assert_eq!(each(|window| window.canonical()), expected);
    let berlin = Calendar { length: CalendarLength::Months(2), zone: chrono_tz::Europe::Berlin };
    let expected = json!({ "calendar": { "length": { "months": 2 }, "zone": "Europe/Berlin", "tzdata": TZDATA } });
    assert_eq!(Window::Calendar(berlin).canonical(), expected);
}

#[test]
fn a_range_is_half_open() {
    let range = PublishRange::of_marks(EventTime(10), EventTime(20));
    assert_eq!([9, 10, 19, 20].map(|mark| range.contains(mark)), [false, true, true, false]);
    let meets = [(0, 9), (0, 10), (0, 30), (19, 30), (20, 30)].map(|(first, last)| range.meets(first, last));
    assert_eq!(meets, [false, true, true, true, false]);
    assert!(!range.is_all() && PublishRange::ALL.is_all());
}

#[test]
fn windows_that_the_data_makes_are_published_by_the_column_of_the_range() {
    let published = |by, to: EventTime, start, end| {
        let window = Made { start, end, reason: None, whole: true };
        PublishRange { from: EventTime(10), to, by }.contains_made(&window)
    };
    let below_20 = |by, windows: [(i64, i64); 4]| windows.map(|(start, end)| published(by, EventTime(20), start, end));
    let half_open = [false, true, true, false];
    assert_eq!(below_20(WindowEdge::Start, [(9, 15), (10, 15), (19, 25), (20, 25)]), half_open);
    assert_eq!(below_20(WindowEdge::End, [(1, 9), (1, 10), (1, 19), (1, 20)]), half_open);
    assert_eq!(below_20(WindowEdge::Time, [(1, 10), (1, 11), (1, 20), (1, 21)]), half_open);
    // Without an end, the window that ends with time itself is published too.
    assert!(published(WindowEdge::End, EventTime::MAX, 15, i64::MAX));
    assert!(!published(WindowEdge::End, EventTime(i64::MAX - 1), 15, i64::MAX));
    assert!(!published(WindowEdge::Start, EventTime::MAX, 9, i64::MAX));
}
