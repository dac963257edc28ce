//! Ranges of a result's time partition column, in windows and in watermarks. Pure.
//! Invariant: a range on partition edges names the same windows for a live run's sealing and for a backfill.

use std::ops::Range;

use super::{Insert, Publish};
use crate::event::{EventTime, Micros, Transform};
use crate::windows::{ByData, PublishRange, Window, WindowEdge};

impl Insert {
    /// The time transform that ranges go by.
    pub fn range_transform(&self) -> Transform {
        self.partitions[self.range.partition].transform
    }

    /// The least value of the range column in windows that start at or after `start`.
    pub fn range_from(&self, start: EventTime) -> EventTime {
        self.window.edge_from(self.range.edge, start)
    }

    /// Start of the first window whose range column lies at or after `edge`, or a time shortly before it.
    pub fn first_start(&self, edge: EventTime) -> EventTime {
        self.window.start_by(self.range.edge, edge)
    }

    /// How far before its start the records of a window may lie.
    pub fn reach(&self) -> Micros {
        self.window.reach()
    }

    /// The windows whose range column lies in `range`.
    pub fn windows_in(&self, range: &Range<EventTime>) -> PublishRange {
        match self.window {
            Window::ByData(_) => PublishRange { from: range.start, to: range.end, by: self.range.edge },
            _ => PublishRange::of_starts(self.first_start(range.start), self.first_start(range.end)),
        }
    }

    /// The event times of the late records that belong to these windows: where the data makes windows, of those with an
    /// event time in the range.
    pub fn late_times_of(&self, windows: PublishRange) -> Range<EventTime> {
        match self.window {
            Window::ByData(_) => windows.from..windows.to,
            _ => self.times_of(windows),
        }
    }

    /// The event times of all records that can fall in these windows, or decide where they begin.
    pub fn times_of(&self, windows: PublishRange) -> Range<EventTime> {
        if let Window::ByData(by_data) = &self.window {
            return times_by_data(by_data, windows);
        }
        let first = self.window.start_at_or_after(windows.from);
        first..self.window.last_end_below(WindowEdge::Start, windows.to).max(first)
    }

    /// The watermark from which on no window below `edge` of the range column can change any more.
    pub fn complete_at(&self, edge: EventTime) -> EventTime {
        match self.window.last_end_below(self.range.edge, edge) {
            never @ (EventTime::MIN | EventTime::MAX) => never,
            end => end.plus(self.allowed),
        }
    }

    /// The watermark from which on the state of a pane is needed no more.
    pub fn pane_needed_until(&self, pane: EventTime) -> EventTime {
        self.window.pane_needed_until(pane).plus(self.allowed)
    }

    /// The greatest partition edge below which no window can change any more at this watermark. `opens_from`: no window that
    /// is open begins before it; it decides only where the data makes windows and ranges go by their starts.
    pub fn sealed_edge(&self, watermark: EventTime, opens_from: EventTime) -> EventTime {
        if watermark == EventTime::MIN || watermark == EventTime::MAX {
            return watermark;
        }
        let transform = self.range_transform();
        if let Window::ByData(by_data) = &self.window {
            let closed = by_data.closed_below(self.range.edge, watermark.minus(self.allowed), opens_from);
            return if closed == EventTime::MIN { closed } else { transform.floor(closed) };
        }
        let mut edge = transform.floor(watermark.minus(self.allowed));
        while self.complete_at(edge) > watermark {
            edge = transform.floor(edge.minus(Micros(1)));
        }
        // Where ranges go by the end of windows, the partition may be complete before the watermark has reached its edge.
        while self.complete_at(transform.next_edge(edge)) <= watermark {
            edge = transform.next_edge(edge);
        }
        edge
    }

    /// The time of the range column below which every window is published at this watermark.
    pub fn published_below(&self, watermark: EventTime) -> EventTime {
        if watermark == EventTime::MIN || watermark == EventTime::MAX {
            return watermark;
        }
        match (self.publish, &self.window) {
            // What is held back for late records is not published before they end.
            (Publish::EachWindow, Window::ByData(by_data)) => {
                by_data.closed_below(self.range.edge, watermark.minus(self.allowed), EventTime::MIN)
            }
            (Publish::EachWindow, _) => self.range_from(self.window.first_open(watermark)),
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
            _ => true,
        }
    }

    /// How many of the group keys, from the first, rows are dealt out to workers by.
    pub fn partition_keys(&self) -> usize {
        match &self.window {
            Window::ByData(by_data) => by_data.partition_keys(self.keys.len()),
            _ => self.keys.len(),
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
    use super::*;
    use crate::event::{PartitionField, TableName};
    use crate::job::RangeColumn;
    use crate::windows::{Tumbling, Window};

    const HOUR: i64 = 3_600_000_000;
    const MINUTE: i64 = 60_000_000;

    fn insert(size: i64, edge: WindowEdge) -> Insert {
        let empty = std::sync::Arc::new(arrow::datatypes::Schema::empty());
        let table = TableName::parse("a.b").expect("two parts");
        Insert {
            table: table.clone(),
            stream: 0,
            filter: None,
            window: Window::Tumbling(Tumbling { size: Micros(size), offset: Micros(0) }),
            allowed: Micros(0),
            keys: vec![],
            aggregates: vec![],
            closed_schema: empty.clone(),
            having: None,
            columns: vec![],
            result_schema: empty,
            partitions: vec![PartitionField { column: "w".into(), transform: Transform::Hour }],
            range: RangeColumn { partition: 0, edge },
            sort: vec![],
            late: table,
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
}
