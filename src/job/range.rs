//! Ranges of a result's time partition column, in windows and in watermarks. Pure.
//! Invariant: a range on partition edges names the same windows for a live run's sealing and for a backfill.

use std::ops::Range;

use super::{Insert, Publish, WindowEdge};
use crate::event::{EventTime, Micros, Transform};
use crate::windows::{PublishRange, Window};

impl Insert {
    /// The time transform that ranges go by.
    pub fn range_transform(&self) -> Transform {
        self.partitions[self.range.partition].transform
    }

    /// End (exclusive) of the window that starts at `start`.
    pub fn end_of(&self, start: EventTime) -> EventTime {
        let Window::Tumbling(tumbling) = self.window;
        tumbling.end(start)
    }

    /// The range column is the window's start plus this much.
    fn range_ahead(&self) -> Micros {
        let Window::Tumbling(tumbling) = self.window;
        match self.range.edge {
            WindowEdge::Start => Micros(0),
            WindowEdge::End => tumbling.size,
            WindowEdge::Time => Micros(tumbling.size.0 - 1),
        }
    }

    /// The least value of the range column in windows that start at or after `start`.
    pub fn range_from(&self, start: EventTime) -> EventTime {
        start.plus(self.range_ahead())
    }

    /// The least value of the range column in windows behind those that have `time` in it.
    pub fn range_after(&self, time: EventTime) -> EventTime {
        let Window::Tumbling(tumbling) = self.window;
        self.range_from(tumbling.start_at_or_after(self.first_start(time.plus(Micros(1)))))
    }

    /// Start of the first window whose range column lies at or after `edge`, or a time shortly before it.
    pub fn first_start(&self, edge: EventTime) -> EventTime {
        edge.minus(self.range_ahead())
    }

    /// How far before its start the records of a window may lie.
    pub fn reach(&self) -> Micros {
        let Window::Tumbling(_) = self.window;
        Micros(0)
    }

    /// The windows whose range column lies in `range`.
    pub fn windows_in(&self, range: &Range<EventTime>) -> PublishRange {
        let ahead = self.range_ahead();
        PublishRange { from: range.start.minus(ahead), to: range.end.minus(ahead) }
    }

    /// The event times of all records that can fall in these windows.
    pub fn times_of(&self, windows: PublishRange) -> Range<EventTime> {
        let Window::Tumbling(tumbling) = self.window;
        let first =
            if windows.from == EventTime::MIN { windows.from } else { tumbling.start_at_or_after(windows.from) };
        let end = if windows.to == EventTime::MAX { windows.to } else { tumbling.start_at_or_after(windows.to) };
        first..end
    }

    /// The watermark from which on no window below `edge` of the range column can change any more.
    pub fn complete_at(&self, edge: EventTime) -> EventTime {
        if edge == EventTime::MIN || edge == EventTime::MAX {
            return edge;
        }
        let Window::Tumbling(tumbling) = self.window;
        let windows = self.windows_in(&(EventTime::MIN..edge));
        // The last window that starts below the edge.
        let last = tumbling.start(windows.to.minus(Micros(1)));
        tumbling.end(last).plus(self.allowed)
    }

    /// The greatest partition edge below which no window can change any more at this watermark.
    pub fn sealed_edge(&self, watermark: EventTime) -> EventTime {
        if watermark == EventTime::MIN || watermark == EventTime::MAX {
            return watermark;
        }
        let transform = self.range_transform();
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
        let Window::Tumbling(tumbling) = self.window;
        match self.publish {
            Publish::EachWindow => self.range_from(tumbling.start(watermark)),
            Publish::WholePartitions => self.sealed_edge(watermark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PartitionField, TableName};
    use crate::job::RangeColumn;
    use crate::windows::Tumbling;

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
        assert_eq!(insert.sealed_edge(EventTime(HOUR - 1)), EventTime(0));
        assert_eq!(insert.sealed_edge(EventTime(HOUR)), EventTime(HOUR));
    }

    #[test]
    fn windows_that_cross_the_edge_hold_it_back() {
        // Windows of 7 minutes: the last that starts in the first hour begins at 0:56 and ends at 1:03.
        let insert = insert(7 * MINUTE, WindowEdge::Start);
        assert_eq!(insert.complete_at(EventTime(HOUR)), EventTime(63 * MINUTE));
        assert_eq!(insert.sealed_edge(EventTime(62 * MINUTE)), EventTime(0));
        assert_eq!(insert.sealed_edge(EventTime(63 * MINUTE)), EventTime(HOUR));
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
        assert_eq!(insert.sealed_edge(EventTime(HOUR - MINUTE)), EventTime(HOUR));
        assert_eq!(insert.sealed_edge(EventTime(HOUR - MINUTE - 1)), EventTime(0));
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
