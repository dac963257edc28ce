//! Ranges of a result's time partition column, in windows and in watermarks. Pure.
//! Invariant: a range on partition edges names the same windows for a live run's sealing and for a backfill.

use std::ops::Range;

use super::{Insert, Leg, Publish};
use crate::event::{EventTime, Micros, Transform};
use crate::windows::{ByData, PublishRange, Window, WindowEdge};

impl Insert {
    /// Whether a window is published when the watermark passes its end, and again when late records change it. Else it is
    /// published once, when nothing can change it any more.
    pub fn revises(&self) -> bool {
        self.allowed.0 > 0 && self.publish == Publish::EachWindow && self.window.can_be_revised()
    }

    /// Whether a window that late records change is replaced as a whole. Where each key has windows of its own, those of
    /// one key are, and keys don't wait for each other.
    pub fn revises_whole_windows(&self) -> bool {
        self.revises() && !matches!(self.window, Window::ByData(_))
    }

    /// Whether the rows of a window must come together before they are rows of the result.
    pub fn is_gathered(&self) -> bool {
        self.above.is_some() || self.revises_whole_windows()
    }

    /// The time transform that ranges go by.
    pub fn range_transform(&self) -> Transform {
        self.partitions[self.range.partition].transform
    }

    /// The least value of the range column in windows whose mark ([`PublishRange`]) is `mark` or later.
    pub fn range_from(&self, mark: EventTime) -> EventTime {
        self.window.edge_from(self.range.edge, mark)
    }

    /// The least value of the range column in windows behind those that have `time` in it.
    pub fn range_after(&self, time: EventTime) -> EventTime {
        match self.window {
            // They may have any value of it.
            Window::ByData(_) => time.plus(Micros(1)),
            _ => self.range_from(self.window.mark_at_or_after(self.first_mark(time.plus(Micros(1))))),
        }
    }

    /// Mark of the first window whose range column lies at or after `edge`, or a time shortly before it.
    pub fn first_mark(&self, edge: EventTime) -> EventTime {
        self.window.mark_by(self.range.edge, edge)
    }

    /// Mark of the first window that is whole, where each stream that it reads is known from some time on.
    pub fn first_whole(&self, whole_from: impl Fn(usize) -> EventTime) -> EventTime {
        let from = self.streams().map(whole_from).max().unwrap_or(EventTime::MIN);
        self.window.first_mark(from.plus(self.reach_of_nested()))
    }

    /// How far before its start the records of a window may lie.
    pub fn reach(&self) -> Micros {
        Micros(self.window.reach().0.saturating_add(self.reach_of_nested().0))
    }

    /// The windows whose range column lies in `range`.
    pub fn windows_in(&self, range: &Range<EventTime>) -> PublishRange {
        match self.window {
            Window::ByData(_) => PublishRange { from: range.start, to: range.end, by: self.range.edge },
            _ => PublishRange::of_marks(self.first_mark(range.start), self.first_mark(range.end)),
        }
    }

    /// The event times of the late records that belong to these windows: where the data makes windows, of those with an
    /// event time in the range.
    pub fn late_times_of(&self, windows: PublishRange) -> Range<EventTime> {
        match self.judged_by(windows) {
            (Window::ByData(_), windows) => windows.from..windows.to,
            _ => self.times_of(windows),
        }
    }

    /// The event times of all records that can fall in these windows, or decide where they begin.
    pub fn times_of(&self, windows: PublishRange) -> Range<EventTime> {
        let (window, windows) = self.judged_by(windows);
        if let Window::ByData(by_data) = &window {
            return times_by_data(by_data, windows);
        }
        let first = window.first_start(windows.from);
        first..window.last_end_below(windows.to).max(first)
    }

    /// The watermark from which on no window below `edge` of the range column can change any more.
    pub fn complete_at(&self, edge: EventTime) -> EventTime {
        let last_end = match &self.window {
            Window::ByData(by_data) => by_data.last_end_below(self.range.edge, edge),
            window => window.last_end_below(self.first_mark(edge)),
        };
        match last_end {
            never @ (EventTime::MIN | EventTime::MAX) => never,
            end => end.plus(self.allowed),
        }
    }

    /// The watermark from which on the state of a pane of one of its legs is needed no more.
    pub fn pane_needed_until(&self, leg: &Leg, pane: EventTime) -> EventTime {
        leg.pane_needed_until(pane).plus(self.allowed)
    }

    /// The greatest partition edge below which no window can change any more at this watermark; without a window, below which
    /// only stragglers come. `opens_from`: no window that
    /// is open begins before it; it decides only where the data makes windows and ranges go by their starts.
    pub fn sealed_edge(&self, watermark: EventTime, opens_from: EventTime) -> EventTime {
        if watermark == EventTime::MIN || watermark == EventTime::MAX {
            return watermark;
        }
        if let Window::ByData(by_data) = &self.window {
            let closed = by_data.closed_below(self.range.edge, watermark.minus(self.allowed), opens_from);
            return if closed == EventTime::MIN { closed } else { self.range_transform().floor(closed) };
        }
        // The partition of the first window that can still change is the first that isn't sealed.
        let open = self.window.first_open(watermark.minus(self.allowed));
        self.range_transform().floor(self.range_from(open))
    }

    /// The time of the range column below which every window is published at this watermark.
    pub fn published_below(&self, watermark: EventTime) -> EventTime {
        // What is held back for late records is not published before they end.
        let held = if self.revises() { Micros(0) } else { self.allowed };
        self.over_below(watermark, held)
    }

    /// The time of the range column below which every window is published for good at this watermark.
    pub fn settled_below(&self, watermark: EventTime) -> EventTime {
        self.over_below(watermark, self.allowed)
    }

    fn over_below(&self, watermark: EventTime, held: Micros) -> EventTime {
        if watermark == EventTime::MIN || watermark == EventTime::MAX {
            return watermark;
        }
        match (self.publish, &self.window) {
            (Publish::EachWindow, Window::ByData(by_data)) => {
                by_data.closed_below(self.range.edge, watermark.minus(held), EventTime::MIN)
            }
            (Publish::EachWindow, _) => self.range_from(self.window.first_open(watermark.minus(held))),
            (Publish::WholePartitions, _) => self.sealed_edge(watermark, EventTime::MIN),
        }
    }

    /// Whether windows close in the order of the range column. Where they don't, nothing that is published can be published
    /// again window by window.
    pub fn closes_in_order(&self) -> bool {
        match &self.window {
            Window::ByData(by_data) => by_data.closes_in_order_of(self.range.edge),
            _ => true,
        }
    }

    /// Whether a run can begin with the first window at an instant of the range column, without all that came before.
    pub fn can_begin_at_an_edge(&self) -> bool {
        match &self.window {
            Window::ByData(by_data) => by_data.can_begin_at(self.range.edge),
            _ => self.begins_anywhere().is_none(),
        }
    }
}

/// Reading begins early enough for every window that begins in the range; those that end in it may begin at any time before.
fn times_by_data(window: &ByData, windows: PublishRange) -> Range<EventTime> {
    let length = window.longest();
    match (windows.by, window) {
        (WindowEdge::Start, ByData::Sliding(_)) => windows.from..windows.to.plus(length),
        (WindowEdge::Start, ByData::Session(_)) => windows.from.minus(length)..EventTime::MAX,
        (WindowEdge::Start, ByData::Counting(_)) => EventTime::MIN..windows.to.plus(length),
        (_, ByData::Sliding(_)) => windows.from.minus(length)..windows.to,
        (_, ByData::Session(_) | ByData::Counting(_)) => EventTime::MIN..windows.to,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{PartitionField, TableName};
    use crate::job::{LateTable, RangeColumn};
    use crate::windows::shared::SharesPanes;
    use crate::windows::{Adjacent, Calendar, CalendarLength, Cumulating, Hopping, Tumbling, Window, WindowEdge};

    const HOUR: i64 = 3_600_000_000;
    const MINUTE: i64 = 60_000_000;

    fn insert(size: i64, edge: WindowEdge) -> Insert {
        let empty = std::sync::Arc::new(arrow::datatypes::Schema::empty());
        let table = TableName::parse("a.b").expect("two parts");
        Insert {
            table: table.clone(),
            legs: vec![],
            window: Window::Tumbling(Tumbling { size: Micros(size), offset: Micros(0) }),
            allowed: Micros(0),
            above: None,
            having: None,
            columns: vec![],
            result_schema: empty,
            partitions: vec![PartitionField { column: "w".into(), transform: Transform::Hour }],
            range: RangeColumn { partition: 0, edge },
            sort: vec![],
            identity: 0,
            late: vec![LateTable { stream: 0, table }],
            publish: Publish::EachWindow,
        }
    }

    #[test]
    fn an_hour_of_minutes_is_sealed_when_its_last_minute_is_closed() {
        let insert = insert(MINUTE, WindowEdge::Start);
        assert_eq!(insert.sealed_edge(EventTime(HOUR - 1), EventTime::MIN), EventTime(0));
        assert_eq!(insert.sealed_edge(EventTime(HOUR), EventTime::MIN), EventTime(HOUR));
    }

    #[test]
    fn windows_that_cross_the_edge_hold_it_back() {
        // Windows of 7 minutes: the last that starts in the first hour begins at 0:56 and ends at 1:03.
        let insert = insert(7 * MINUTE, WindowEdge::Start);
        assert_eq!(insert.complete_at(EventTime(HOUR)), EventTime(63 * MINUTE));
        assert_eq!(insert.sealed_edge(EventTime(62 * MINUTE), EventTime::MIN), EventTime(0));
        assert_eq!(insert.sealed_edge(EventTime(63 * MINUTE), EventTime::MIN), EventTime(HOUR));
        let hour = insert.windows_in(&(EventTime(HOUR)..EventTime(2 * HOUR)));
        assert_eq!(insert.times_of(hour), EventTime(63 * MINUTE)..EventTime(126 * MINUTE));
    }

    #[test]
    fn behind_a_window_comes_the_next_one() {
        for (edge, ahead) in [(WindowEdge::Start, 0), (WindowEdge::End, 7 * MINUTE), (WindowEdge::Time, 7 * MINUTE - 1)]
        {
            let insert = insert(7 * MINUTE, edge);
            for time in [14 * MINUTE, 14 * MINUTE + 1, 21 * MINUTE - 1] {
                assert_eq!(insert.range_after(EventTime(time + ahead)), EventTime(21 * MINUTE + ahead), "{time}");
            }
        }
    }

    #[test]
    fn ranges_of_window_end_go_by_the_end() {
        let insert = insert(MINUTE, WindowEdge::End);
        let range = insert.windows_in(&(EventTime(HOUR)..EventTime(2 * HOUR)));
        assert_eq!((range.from, range.to), (EventTime(HOUR - MINUTE), EventTime(2 * HOUR - MINUTE)));
        assert_eq!(insert.complete_at(EventTime(HOUR)), EventTime(HOUR - MINUTE));
        assert_eq!(insert.sealed_edge(EventTime(HOUR - MINUTE), EventTime::MIN), EventTime(HOUR));
        assert_eq!(insert.sealed_edge(EventTime(HOUR - MINUTE - 1), EventTime::MIN), EventTime(0));
    }

    #[test]
    fn a_window_is_published_when_it_is_closed_or_with_its_partition() {
        let mut each = insert(7 * MINUTE, WindowEdge::Start);
        assert_eq!(each.published_below(EventTime(13 * MINUTE)), EventTime(7 * MINUTE));
        assert_eq!(each.published_below(EventTime(14 * MINUTE)), EventTime(14 * MINUTE));
        each.range.edge = WindowEdge::End;
        // The window [0:07, 0:14) is open, and its end is the least that is not published.
        assert_eq!(each.published_below(EventTime(13 * MINUTE)), EventTime(14 * MINUTE));
        let whole = Insert { publish: Publish::WholePartitions, ..insert(7 * MINUTE, WindowEdge::Start) };
        assert_eq!(whole.published_below(EventTime(62 * MINUTE)), EventTime(0));
        assert_eq!(whole.published_below(EventTime(63 * MINUTE)), EventTime(HOUR));
    }

    /// A window, and all of its kind that touch the times between -1,000 and 1,000 hours.
    fn any_window() -> impl Strategy<Value = (Window, Vec<(i64, i64)>)> {
        let grid = |period: i64, offset: i64| (-2_000..2_000).map(move |number| number * period + offset);
        let lengths = (1i64..300, 1i64..300).prop_map(|(slide, size)| (slide * 10 * MINUTE, size * 10 * MINUTE));
        let hop = (lengths, 0i64..100).prop_map(move |((slide, size), offset)| {
            let offset = offset * 7 * MINUTE % slide;
            let window = Hopping { slide: Micros(slide), size: Micros(size), offset: Micros(offset) };
            (Window::Hopping(window), grid(slide, offset).map(|start| (start, start + size)).collect())
        });
        let tumble = (1i64..300, 0i64..100).prop_map(move |(size, offset)| {
            let size = size * 10 * MINUTE;
            let offset = offset * 7 * MINUTE % size;
            let window = Tumbling { size: Micros(size), offset: Micros(offset) };
            (Window::Tumbling(window), grid(size, offset).map(|start| (start, start + size)).collect())
        });
        let cumulate = (1i64..40, 1i64..12, 0i64..100).prop_map(move |(step, steps, offset)| {
            let step = step * 10 * MINUTE;
            let size = step * steps;
            let offset = offset * 7 * MINUTE % size;
            let window = Cumulating { step: Micros(step), size: Micros(size), offset: Micros(offset) };
            let windows =
                grid(size, offset).flat_map(|start| (1..=steps).map(move |count| (start, start + count * step)));
            (Window::Cumulating(window), windows.collect())
        });
        let zone =
            prop::sample::select(vec![chrono_tz::Tz::UTC, chrono_tz::Tz::Europe__Berlin, chrono_tz::Tz::Asia__Kolkata]);
        let length = prop_oneof![
            (1i64..9).prop_map(|count| CalendarLength::Days { count, shift: count / 2 }),
            (1i32..4).prop_map(CalendarLength::Months),
        ];
        let calendar = (length, zone).prop_map(|(length, zone)| {
            let window = Calendar { length, zone };
            let mut windows = vec![window.span(-9_000 * HOUR)];
            while let Some(&(_, end)) = windows.last().filter(|(_, end)| *end < 9_000 * HOUR) {
                windows.push(window.span(end));
            }
            (Window::Calendar(window), windows)
        });
        prop_oneof![hop, tumble, cumulate, calendar]
    }

    fn column(edge: WindowEdge, (start, end): (i64, i64)) -> i64 {
        match edge {
            WindowEdge::Start => start,
            WindowEdge::End => end,
            WindowEdge::Time => end - 1,
        }
    }

    /// As [`PublishRange`] says.
    fn mark(window: &Window, (start, end): (i64, i64)) -> i64 {
        match window {
            Window::Cumulating(cumulating) => end - cumulating.size.0,
            _ => start,
        }
    }

    proptest! {
        #[test]
        fn ranges_are_those_of_all_windows_looked_at_one_by_one(
            (window, windows) in any_window(),
            edge in prop::sample::select(vec![WindowEdge::Start, WindowEdge::End, WindowEdge::Time]),
            transform in prop::sample::select(vec![Transform::Hour, Transform::Day, Transform::Month]),
            (from, length) in (-200i64..200, 1i64..100),
            watermark in -300 * 6..300i64 * 6,
            allowed in prop::sample::select(vec![0, 5 * MINUTE, 3 * HOUR]),
        ) {
            let edge = if window.ranges_by(edge) { edge } else { WindowEdge::End };
            let mut insert = Insert { window, allowed: Micros(allowed), ..insert(MINUTE, edge) };
            insert.partitions[0].transform = transform;
            let range = EventTime(from * HOUR)..EventTime((from + length) * HOUR);
            let inside = |window: &&(i64, i64)| (range.start.0..range.end.0).contains(&column(edge, **window));
            let published = insert.windows_in(&range);
            let times = insert.times_of(published);
            for window in &windows {
                prop_assert_eq!(published.contains(mark(&insert.window, *window)), inside(&window), "{:?}", window);
                if inside(&window) {
                    prop_assert!(times.start.0 <= window.0 && window.1 <= times.end.0, "{:?} in {:?}", window, times);
                }
            }
            let first = windows.iter().filter(inside).map(|(start, _)| *start).min();
            let last = windows.iter().filter(inside).map(|(_, end)| *end).max();
            if first.is_some() {
                prop_assert_eq!((Some(times.start.0), Some(times.end.0)), (first, last), "no more is read than needed");
            }

            let ends_below = |time: EventTime| {
                let below = windows.iter().filter(|window| column(edge, **window) < time.0);
                below.map(|window| window.1).max()
            };
            prop_assert_eq!(Some(insert.complete_at(range.end).0 - allowed), ends_below(range.end));

            let watermark = EventTime(watermark * 10 * MINUTE);
            let sealed = insert.sealed_edge(watermark, EventTime::MIN);
            let complete = |edge_time: EventTime| ends_below(edge_time).is_none_or(|end| end + allowed <= watermark.0);
            prop_assert_eq!(transform.floor(sealed), sealed);
            prop_assert!(complete(sealed) && !complete(transform.next_edge(sealed)), "{}", sealed);

            let below = insert.published_below(watermark);
            // What can't be revised is published when nothing can change it any more.
            let over = watermark.0 - if insert.revises() { 0 } else { allowed };
            let open = windows.iter().filter(|window| window.1 > over).map(|window| column(edge, *window)).min();
            prop_assert_eq!(Some(below.0), open);

            let first = insert.window.first_mark(range.start);
            let behind = windows.iter().map(|window| column(edge, *window)).filter(|&at| at > range.start.0).min();
            prop_assert_eq!(Some(insert.range_after(range.start).0), behind);

            let mark_of = |window: &(i64, i64)| mark(&insert.window, *window);
            let least = windows.iter().filter(|window| window.0 >= range.start.0).map(mark_of).min();
            let before = windows.iter().filter(|window| window.0 < range.start.0).map(mark_of).max();
            prop_assert!(before < Some(first.0) && Some(first.0) <= least, "{:?} {:?} {:?}", before, first, least);
            let marked = windows.iter().find(|window| window.0 >= range.start.0).expect("windows reach further");
            let first = EventTime(mark(&insert.window, *marked));
            prop_assert_eq!(insert.range_from(first).0, column(edge, *marked));
            prop_assert_eq!(insert.window.first_start(first).0, marked.0);
        }

        #[test]
        fn a_window_needs_its_panes_until_it_ends_and_reads_no_further_than_is_said(
            (window, windows) in any_window(),
            edge in prop::sample::select(vec![WindowEdge::Start, WindowEdge::End, WindowEdge::Time]),
            transform in prop::sample::select(vec![Transform::Hour, Transform::Day, Transform::Month]),
            (from, to) in (-6i64..6, 1i64..6),
        ) {
            let edge = if window.ranges_by(edge) { edge } else { WindowEdge::End };
            let around = window.read_around(edge, transform);
            let mut start = transform.floor(EventTime(from * 100 * HOUR));
            let first = start;
            for _ in 0..to {
                start = transform.next_edge(start);
            }
            for &(begin, end) in windows.iter().filter(|window| (first.0..start.0).contains(&column(edge, **window))) {
                let what = format!("{around:?}: [{}, {})", EventTime(begin), EventTime(end));
                prop_assert!(first.0 - begin <= around.warm_up.0, "{}", what);
                prop_assert!(end - start.0 <= around.run_out.0, "{}", what);
            }
            for &(begin, end) in windows.iter().skip(windows.len() / 2).take(20) {
                prop_assert!(end - begin <= window.longest().0);
                let pane = match window {
                    Window::Hopping(window) => window.pane(begin).0,
                    _ => begin,
                };
                prop_assert!(window.pane_needed_until(EventTime(pane)).0 >= end);
            }
        }
    }
}
