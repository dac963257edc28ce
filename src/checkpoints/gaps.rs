//! Windows of a result that nobody has published, as its job was moved on past them: noted in the result table until a
//! backfill has published them, or the job has gone back to them. By their times in the time partition column.
//!
//! Invariant: the ranges are in order, none is empty, and no two touch. Pure.

use std::ops::Range;

use super::{format_time, parse_time};
use crate::event::EventTime;

/// Ranges of windows that nobody has published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(Vec<Range<EventTime>>);

impl Gaps {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Range<EventTime>> {
        self.0.iter()
    }

    /// These, and a range that nobody has published either.
    pub fn with(&self, added: Range<EventTime>) -> Gaps {
        let mut all = self.0.clone();
        all.push(added);
        all.retain(|range| range.start < range.end);
        all.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<EventTime>> = Vec::with_capacity(all.len());
        for range in all {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Gaps(joined)
    }

    /// What is left of them when somebody has published a range.
    pub fn without(&self, published: &Range<EventTime>) -> Gaps {
        if published.start >= published.end {
            return self.clone();
        }
        let left = self
            .0
            .iter()
            .flat_map(|gap| [gap.start..gap.end.min(published.start), gap.start.max(published.end)..gap.end]);
        Gaps(left.filter(|range| range.start < range.end).collect())
    }

    /// What is left of them when everything from a time on is published.
    pub fn below(&self, time: EventTime) -> Gaps {
        self.without(&(time..EventTime::MAX))
    }

    /// As a table property holds them: `from/to,from/to`.
    pub(super) fn format(&self) -> String {
        let ranges: Vec<String> =
            self.0.iter().map(|range| format!("{}/{}", format_time(range.start), format_time(range.end))).collect();
        ranges.join(",")
    }

    /// What [`Gaps::format`] wrote; `None`: it did not.
    pub(super) fn parse(text: &str) -> Option<Gaps> {
        let range = |text: &str| {
            let (from, to) = text.split_once('/')?;
            Some(parse_time(from)?..parse_time(to)?)
        };
        let ranges: Vec<Range<EventTime>> = text.split(',').map(range).collect::<Option<_>>()?;
        let gaps = Gaps(ranges);
        let is_sound = gaps.0.iter().all(|range| range.start < range.end)
            && gaps.0.windows(2).all(|pair| pair[0].end < pair[1].start);
        is_sound.then_some(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(ranges: &[(i64, i64)]) -> Gaps {
        ranges.iter().fold(Gaps::default(), |gaps, range| gaps.with(between(*range)))
    }

    fn between((from, to): (i64, i64)) -> Range<EventTime> {
        EventTime(from)..EventTime(to)
    }

    fn told(gaps: &Gaps) -> Vec<(i64, i64)> {
        gaps.iter().map(|range| (range.start.0, range.end.0)).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(told(&gaps(&[(10, 20), (30, 40)])), [(10, 20), (30, 40)]);
        assert_eq!(told(&gaps(&[(30, 40), (10, 20), (20, 30)])), [(10, 40)]);
        assert_eq!(told(&gaps(&[(10, 40), (20, 30), (5, 5), (9, 3)])), [(10, 40)]);
    }

    #[test]
    fn what_is_published_is_no_gap_any_more() {
        let two = gaps(&[(10, 20), (30, 40)]);
        let left = |published| told(&two.without(&between(published)));
        assert_eq!(left((0, 50)), []);
        assert_eq!(left((15, 35)), [(10, 15), (35, 40)]);
        assert_eq!(left((12, 18)), [(10, 12), (18, 20), (30, 40)]);
        for elsewhere in [(0, 10), (20, 30), (40, 50), (15, 15), (18, 12)] {
            assert_eq!(left(elsewhere), [(10, 20), (30, 40)], "{elsewhere:?}");
        }
        assert_eq!(told(&two.below(EventTime(35))), [(10, 20), (30, 35)]);
        assert!(two.below(EventTime::MIN).is_empty());
    }

    #[test]
    fn texts_read_back_and_others_are_refused() {
        let hour = 3_600_000_000;
        let two = gaps(&[(0, hour), (5 * hour, 6 * hour)]);
        let text = "1970-01-01T00:00:00.000000Z/1970-01-01T01:00:00.000000Z,\
                    1970-01-01T05:00:00.000000Z/1970-01-01T06:00:00.000000Z";
        assert_eq!(two.format(), text);
        assert_eq!(Gaps::parse(text), Some(two));
        let (from, to) = ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z");
        for wrong in ["", from, &format!("{to}/{from}"), &format!("{from}/{to},{from}/{to}")] {
            assert_eq!(Gaps::parse(wrong), None, "{wrong}");
        }
    }
}
