//! Windows over windowed results: windows of a leg lie in windows of the INSERT, by their `window_time`. What is said of the
//! INSERT's windows, in words of the leg's. Pure.
//!
//! A leg's windows stay open until the window above them closes, so nothing is kept but what a leg always keeps, and the
//! window above is computed from all of their rows at once.

use super::{Insert, Leg};
use crate::event::{EventTime, Micros};
use crate::windows::{ByData, PublishRange, Window, WindowEdge};

impl Leg {
    /// The watermark at which its windows may close, where the job's is `watermark`: all of those in one window above close
    /// together.
    pub fn closes_at(&self, watermark: EventTime) -> EventTime {
        self.within.as_ref().map_or(watermark, |within| within.first_open(watermark))
    }

    /// Where its windows lie in others and may begin any time before these: the start from which on they are whole, when all
    /// records from `complete_from` on are read. Else always: then it is known which windows above are whole.
    pub fn whole_from(&self, complete_from: EventTime) -> EventTime {
        match (&self.window, &self.within) {
            (Window::ByData(ByData::Session(session)), Some(_)) => complete_from.plus(session.gap),
            _ => EventTime::MIN,
        }
    }

    /// The watermark from which on the state of a pane is needed no more.
    pub fn pane_needed_until(&self, pane: EventTime) -> EventTime {
        match (self.window.pane_needed_until(pane), &self.within) {
            // What is kept says itself when it goes.
            (EventTime::MAX, _) => EventTime::MAX,
            (end, Some(within)) => within.edge_from(WindowEdge::End, within.first_open(end.minus(Micros(1)))),
            (end, None) => end,
        }
    }
}

impl Insert {
    /// The windows of a leg that lie in windows of the INSERT.
    pub fn marks_of(&self, leg: &Leg, windows: PublishRange) -> PublishRange {
        let Some(within) = &leg.within else { return windows };
        if let Window::ByData(_) = leg.window {
            let [from, to] = [windows.from, windows.to].map(|mark| within.mark_at_or_after(mark));
            return PublishRange { from, to, by: WindowEdge::Time };
        }
        let mark = |mark| leg.window.mark_by(WindowEdge::Time, within.mark_at_or_after(mark));
        PublishRange::of_marks(mark(windows.from), mark(windows.to))
    }

    /// The windows by which records are judged: those of its legs, and which of them lie in `windows` of the INSERT.
    pub fn judged_by(&self, windows: PublishRange) -> (Window, PublishRange) {
        match self.legs.first() {
            Some(leg) => (leg.window, self.marks_of(leg, windows)),
            None => (self.window, windows),
        }
    }

    /// What makes windows that the data makes, those of the INSERT or those that lie in them.
    pub fn by_data(&self) -> Option<&ByData> {
        self.legs.iter().find_map(|leg| match &leg.window {
            Window::ByData(by_data) => Some(by_data),
            _ => None,
        })
    }

    /// The kind of the windows that lie in the INSERT's and may begin any time before these: whatever is read from a time on
    /// may cut one of them off.
    pub fn begins_anywhere(&self) -> Option<&ByData> {
        let is_nested = self.legs.iter().any(|leg| leg.within.is_some());
        self.by_data().filter(|by_data| is_nested && !by_data.can_begin_at(WindowEdge::Time))
    }

    /// How far before a window of the INSERT the first window in it may begin; where it may any time, how far before that what
    /// decides where it begins.
    pub fn reach_of_nested(&self) -> Micros {
        let longest = |leg: &Leg| leg.within.map_or(Micros(0), |_| leg.window.longest());
        self.legs.iter().map(longest).max().unwrap_or_default()
    }
}
