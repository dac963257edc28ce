//! Which deltas of a pane a checkpoint puts together, so that it writes what changed and not what is held, and that deltas
//! stay few.
//!
//! ```text
//! freezes   0123456789abcdef                a delta of tier 1, which took the place of sixteen of tier 0
//!           0123456789abcdef 0 1 2          and three that came behind it
//! ```
//!
//! A delta begins in the tier of its size. Sixteen of one tier become one of the next, so each row is written once a tier: with n
//! freezes log16(n) times more than it has to be, and there are at most fifteen deltas a tier. What is much larger than the
//! rest isn't written again with it. (Tiered compaction of a log-structured merge tree; P.
//! O'Neil and others, "The log-structured merge-tree", Acta Informatica 33, 1996, merge into one tree a tier instead.)

use std::ops::Range;

/// Deltas of one tier that are put together.
const WIDTH: usize = 16;
/// Rows of the least delta that begins above the lowest tier.
const ROWS_OF_FIRST: usize = 4_096;
/// What was put together because keys were held too often: put together with others only for that reason again.
const WHOLE: u32 = u32::MAX;

/// The deltas of one pane, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tiers {
    /// The first freeze that each holds, and its tier; tiers don't rise.
    deltas: Vec<(u64, u32)>,
    next: u64,
}

impl Tiers {
    /// Number of the next freeze.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Counts one more freeze, of so many rows. Answers those that are to be one delta now: it, and the ones before it that it
    /// is put together with.
    pub(super) fn add(&mut self, rows: usize) -> Range<u64> {
        let mut added = (self.next, tier_of(rows));
        self.next += 1;
        loop {
            // What is smaller than it costs little to take along, and would keep its likes apart.
            let smaller = self.deltas.iter().rev().take_while(|(_, tier)| *tier < added.1).count();
            let alike = self.deltas.iter().rev().skip(smaller).take_while(|(_, tier)| *tier == added.1).count();
            let (taken, tier) = match alike + 1 {
                WIDTH => (smaller + alike, added.1 + 1),
                _ => (smaller, added.1),
            };
            if taken == 0 {
                break;
            }
            let first = self.deltas.len() - taken;
            added = (self.deltas[first].0, tier);
            self.deltas.truncate(first);
        }
        self.deltas.push(added);
        added.0..self.next
    }

    /// Counts one more freeze, which is put together with all.
    pub(super) fn add_to_all(&mut self) -> Range<u64> {
        self.next += 1;
        self.deltas = vec![(0, WHOLE)];
        0..self.next
    }
}

fn tier_of(rows: usize) -> u32 {
    (rows / ROWS_OF_FIRST).checked_ilog(WIDTH).map_or(0, |tier| tier + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_of_a_tier_become_one_of_the_next() {
        let mut tiers = Tiers::default();
        let covers: Vec<Range<u64>> = (0..300).map(|_| tiers.add(1)).collect();
        for (number, covers) in (0..).zip(&covers) {
            let first = match number + 1 {
                256 => 0,
                whole if whole % 16 == 0 => number - 15,
                _ => number,
            };
            assert_eq!(*covers, first..number + 1);
        }
        // 1 of tier 2, then 2 of tier 1, then 12.
        assert_eq!(tiers.deltas.len(), 1 + 2 + 12);
    }

    #[test]
    fn what_is_whole_stays_out_of_tiers() {
        let mut tiers = Tiers::default();
        for _ in 0..20 {
            tiers.add(1);
        }
        assert_eq!(tiers.add_to_all(), 0..21);
        let covers: Vec<Range<u64>> = (0..16).map(|_| tiers.add(1)).collect();
        assert_eq!(covers[14], 35..36);
        assert_eq!(covers[15], 21..37);
    }

    #[test]
    fn a_large_delta_takes_smaller_ones_along_and_is_left_alone_by_them() {
        let mut tiers = Tiers::default();
        assert_eq!([tiers.add(4_095), tiers.add(4_096), tiers.add(65_535)], [0..1, 0..2, 2..3]);
        assert_eq!(tiers.deltas, [(0, 1), (2, 1)]);
        assert_eq!(tiers.add(65_536), 0..4);
        let covers: Vec<Range<u64>> = (0..16).map(|_| tiers.add(1)).collect();
        assert_eq!((covers[14].clone(), covers[15].clone()), (18..19, 4..20));
        assert_eq!(tiers.deltas, [(0, 2), (4, 1)]);
    }

    #[test]
    fn a_percent_a_freeze_writes_two_percent_over_many() {
        let mut tiers = Tiers::default();
        // A million rows, then 200 freezes that each bring one in a hundred of them, all of them others.
        tiers.add(1_000_000);
        let written: u64 = (0..200).map(|_| tiers.add(10_000)).map(|covers| covers.end - covers.start).sum();
        assert!(written <= 400, "{written}");
    }
}
