//! Where the totals of all groups are kept: 64 bits each for as long as all of them fit, as nearly all do, since what a
//! window holds for a key is what a machine can hold of keys.

use arrow::datatypes::i256;
use datafusion_expr::EmitTo;

/// The totals of groups that are numbered from 0; each is exact.
pub(super) trait Sums<S>: Default + Send {
    /// Makes room for so many groups; new ones are zero.
    fn resize_to(&mut self, groups: usize);
    /// Adds to one group. The bits suffice for any number of rows that a machine can count.
    fn add(&mut self, group: usize, addend: S);
    /// Takes totals out, of all groups or of the first ones; those behind them are numbered anew from 0.
    fn take(&mut self, emit_to: EmitTo) -> Vec<S>;
    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
}

impl Sums<i256> for Vec<i256> {
    fn resize_to(&mut self, groups: usize) {
        self.resize(groups, i256::ZERO);
    }

    #[inline]
    fn add(&mut self, group: usize, addend: i256) {
        self[group] = self[group].wrapping_add(addend);
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<i256> {
        emit_to.take_needed(self)
    }

    fn bytes(&self) -> usize {
        self.capacity() * size_of::<i256>()
    }
}

/// Totals of 64 bits that become ones of 128, all together, when the first of them has to.
#[derive(Debug, Default)]
pub(super) struct Widening {
    /// Empty once they are wide.
    narrow: Vec<i64>,
    /// Empty until then.
    wide: Vec<i128>,
}

impl Widening {
    fn is_wide(&self) -> bool {
        !self.wide.is_empty()
    }

    #[inline(never)]
    fn add_wide(&mut self, group: usize, addend: i128) {
        if !self.is_wide() {
            self.wide = std::mem::take(&mut self.narrow).into_iter().map(i128::from).collect();
        }
        self.wide[group] = self.wide[group].wrapping_add(addend);
    }
}

impl Sums<i128> for Widening {
    fn resize_to(&mut self, groups: usize) {
        if self.is_wide() {
            self.wide.resize(groups, 0);
        } else {
            self.narrow.resize(groups, 0);
        }
    }

    #[inline]
    fn add(&mut self, group: usize, addend: i128) {
        if let (Some(total), Ok(addend)) = (self.narrow.get_mut(group), i64::try_from(addend))
            && let Some(sum) = total.checked_add(addend)
        {
            *total = sum;
            return;
        }
        self.add_wide(group, addend);
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<i128> {
        if self.is_wide() {
            return emit_to.take_needed(&mut self.wide);
        }
        emit_to.take_needed(&mut self.narrow).into_iter().map(i128::from).collect()
    }

    fn bytes(&self) -> usize {
        self.narrow.capacity() * size_of::<i64>() + self.wide.capacity() * size_of::<i128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(addends: &[(usize, i128)]) -> Widening {
        let mut sums = Widening::default();
        sums.resize_to(3);
        for &(group, addend) in addends {
            sums.add(group, addend);
        }
        sums
    }

    #[test]
    fn what_leaves_64_bits_is_exact_and_the_others_stay_as_they_were() {
        let most = i128::from(i64::MAX);
        let mut sums = added(&[(0, most), (1, -7), (0, 1), (1, -1), (2, 1 << 100)]);
        assert_eq!(sums.take(EmitTo::All), [most + 1, -8, 1 << 100]);
    }

    #[test]
    fn a_total_that_comes_back_to_64_bits_is_the_same_number_as_one_that_never_left() {
        let most = i128::from(i64::MAX);
        let mut there_and_back = added(&[(0, most), (0, most), (0, -most)]);
        assert_eq!(there_and_back.take(EmitTo::All), added(&[(0, most)]).take(EmitTo::All));
    }

    #[test]
    fn the_rest_is_numbered_anew_narrow_or_wide() {
        for first in [1, 1 << 70] {
            let mut sums = added(&[(0, first), (1, 2), (2, 3)]);
            assert_eq!(sums.take(EmitTo::First(1)), [first]);
            sums.resize_to(3);
            sums.add(0, 10);
            sums.add(2, 5);
            assert_eq!(sums.take(EmitTo::All), [12, 3, 5]);
        }
    }

    #[test]
    fn once_empty_it_takes_little_again() {
        let mut sums = added(&[(0, 1 << 70)]);
        sums.take(EmitTo::All);
        sums.resize_to(1_000);
        assert_eq!(sums.bytes(), 8_000);
    }
}
