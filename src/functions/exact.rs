//! Exact sums of doubles, in fixed point: whatever the order and grouping of the additions, the sum is the same number,
//! rounded once at the end.
//!
//! A double is an integer times a power of two, so a sum of doubles is one too. [`Sums`] keeps it per group as a 128-bit
//! integer at an exponent that follows the data: 24 bytes a group, and one multiplication and one addition a row (2.2 ns,
//! where a plain addition takes 0.6). That window takes values from 24 doublings below to 38 above what comes first; it
//! moves when values leave it. Only a group whose sum has more than 126 bits between its first and its last (doubles of
//! like digits over some 22 decimal orders of magnitude) spills into [`Limbs`], as long as it must be: at most 34 words.
//!
//! Bound: the result is the double nearest to the true sum (ties to even), so no summation can be nearer. Finite sums
//! overflow to infinity only if the true sum does.
//!
//! This is a Kulisch accumulator (U. Kulisch, W. Miranker, "The arithmetic of the digital computer", SIAM Review 28,
//! 1986), made small by a floating window where R. Neal ("Fast exact summation using small and large superaccumulators",
//! 2015) keeps all 67 words. J. Demmel and H. D. Nguyen's binned sums ("Parallel reproducible summation", 2015) are
//! reproducible at 48 bytes, but not exact.

use super::limbs::Limbs;
use super::rounding::{Scaled, round};

/// Marks a cell whose window holds nothing: no value yet, or a value in `wide`. No double's exponent reaches it, so the
/// fast path never takes such a cell.
const NO_WINDOW: i16 = i16::MAX;
/// Bits that a window may use; one below the sign, one as room for a carry.
const WINDOW_BITS: i32 = 126;
/// Bits from the top of what is held to the bottom of a new window: 53 of a double and 24 below it.
const BITS_BELOW_TOP: i32 = 77;
/// Exponents of windows: from the least bit that a double has, so that no window takes a zero for a number, to where the
/// mantissa of an infinity would be just beyond the greatest shift.
const EXPONENTS: (i32, i32) = (-1074, 909);
/// What a mantissa is multiplied by to stand in its window. A table, as the compiler makes of a computed power a shift
/// over two words, which takes twice the time.
static POWERS: [i64; 63] = {
    let mut powers = [1; 63];
    let mut shift = 1;
    while shift < powers.len() {
        powers[shift] = powers[shift - 1] * 2;
        shift += 1;
    }
    powers
};

/// Flags: values that aren't numbers were among the addends.
pub(super) const PLUS_INFINITY: u8 = 1;
pub(super) const MINUS_INFINITY: u8 = 2;
pub(super) const NAN: u8 = 4;

/// The sum of one group.
#[derive(Clone, Copy, Debug)]
struct Cell {
    low: u64,
    high: u64,
    /// The sum is (high, low) times two to this.
    exponent: i16,
    flags: u8,
    /// One more than the index of the group's [`Limbs`]; 0: none.
    wide: u32,
}

impl Cell {
    const EMPTY: Cell = Cell { low: 0, high: 0, exponent: NO_WINDOW, flags: 0, wide: 0 };

    fn mantissa(&self) -> i128 {
        (u128::from(self.high) << 64 | u128::from(self.low)).cast_signed()
    }

    fn set(&mut self, mantissa: i128) {
        let bits = mantissa.cast_unsigned();
        self.low = bits as u64;
        self.high = (bits >> 64) as u64;
    }

    fn is_empty(&self) -> bool {
        self.exponent == NO_WINDOW && self.wide == 0
    }

    /// Not empty any more, with a sum of zero if it was.
    fn touch(&mut self) {
        if self.is_empty() {
            self.exponent = 0;
        }
    }
}

/// One sum as partial states carry it: the same for the same sum, however it came about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    /// Odd, or zero; zero if `wide` holds the sum.
    pub mantissa: i128,
    /// Power of two that the mantissa (or `wide`) is multiplied by.
    pub exponent: i32,
    pub flags: u8,
    /// Words of a sum that doesn't fit 128 bits, as [`Limbs::to_bytes`].
    pub wide: Option<Vec<u8>>,
}

/// The sums of all groups.
#[derive(Debug, Default)]
pub(super) struct Sums {
    cells: Vec<Cell>,
    wides: Vec<Limbs>,
}

impl Sums {
    pub(super) fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::EMPTY);
    }

    pub(super) fn bytes(&self) -> usize {
        let wides: usize = self.wides.iter().map(Limbs::bytes).sum();
        self.cells.capacity() * size_of::<Cell>() + self.wides.capacity() * size_of::<Limbs>() + wides
    }

    /// Adds one value to a group.
    #[inline]
    pub(super) fn add(&mut self, group: usize, value: f64) {
        let cell = &mut self.cells[group];
        let bits = value.to_bits();
        let biased = (bits >> 52) as i32 & 0x7ff;
        let shift = (biased - 1075 - i32::from(cell.exponent)).cast_unsigned();
        // Zero and subnormals are below every window; infinity and NaN, as numbers, above.
        if let Some(&power) = POWERS.get(shift as usize) {
            let magnitude = (bits & ((1 << 52) - 1) | 1 << 52).cast_signed();
            let sign = bits.cast_signed() >> 63;
            let addend = i128::from((magnitude ^ sign) - sign) * i128::from(power);
            if let Some(sum) = cell.mantissa().checked_add(addend) {
                cell.set(sum);
                return;
            }
        }
        self.add_outside(group, value);
    }

    /// Adds a value that the group's window doesn't hold, or that isn't a number.
    #[cold]
    #[inline(never)]
    fn add_outside(&mut self, group: usize, value: f64) {
        let cell = &mut self.cells[group];
        if value.is_nan() {
            self.flag(group, NAN);
        } else if value.is_infinite() {
            self.flag(group, if value > 0.0 { PLUS_INFINITY } else { MINUS_INFINITY });
        } else if value == 0.0 {
            cell.touch();
        } else {
            let (mantissa, exponent) = decompose(value);
            self.place(group, i128::from(mantissa), exponent);
        }
    }

    /// Adds the partial state of another run.
    pub(super) fn merge(&mut self, group: usize, parts: &Parts) -> Result<(), BadParts> {
        if parts.flags != 0 {
            self.flag(group, parts.flags);
        }
        let Some(bytes) = &parts.wide else {
            if parts.mantissa == 0 {
                self.cells[group].touch();
            } else {
                self.place(group, parts.mantissa, parts.exponent);
            }
            return Ok(());
        };
        let other = Limbs::from_bytes(bytes, parts.exponent).ok_or(BadParts)?;
        let index = self.widen(group);
        self.wides[index].add_limbs(&other);
        Ok(())
    }

    fn flag(&mut self, group: usize, flags: u8) {
        self.cells[group].touch();
        self.cells[group].flags |= flags;
    }

    /// Adds `mantissa * 2^exponent`, moving the window if need be, and going wide if there is none that holds both.
    fn place(&mut self, group: usize, mantissa: i128, exponent: i32) {
        let cell = &mut self.cells[group];
        if cell.wide != 0 {
            let index = cell.wide as usize - 1;
            self.wides[index].add_signed(mantissa, exponent);
            return;
        }
        let trailing = mantissa.trailing_zeros();
        let (stripped, lowest) = (mantissa >> trailing, exponent + trailing.cast_signed());
        let (mut low, mut high) = (lowest, lowest + magnitude_bits(stripped));
        let held = if cell.is_empty() { 0 } else { cell.mantissa() };
        let held_exponent = i32::from(cell.exponent) + if held == 0 { 0 } else { held.trailing_zeros().cast_signed() };
        if held != 0 {
            low = low.min(held_exponent);
            high = high.max(i32::from(cell.exponent) + magnitude_bits(held)) + 1;
        }
        // Whole doubles will follow, trailing zeros or not: leave room for their last bits where it can be had.
        if high - low <= WINDOW_BITS && high - exponent <= WINDOW_BITS {
            low = low.min(exponent);
        }
        let base = low.min(high - BITS_BELOW_TOP).clamp(EXPONENTS.0, EXPONENTS.1);
        if high - base > WINDOW_BITS {
            let index = self.widen(group);
            self.wides[index].add_signed(stripped, lowest);
            return;
        }
        let mut sum = stripped << (lowest - base);
        if held != 0 {
            sum += (held >> held.trailing_zeros()) << (held_exponent - base);
        }
        cell.exponent = i16::try_from(base).expect("exponents of doubles and their sums are far inside 16 bits");
        cell.set(sum);
    }

    /// Moves the group's sum into [`Limbs`], if it isn't there, and gives their index.
    fn widen(&mut self, group: usize) -> usize {
        let cell = &mut self.cells[group];
        if cell.wide == 0 {
            let mut limbs = Limbs::default();
            if !cell.is_empty() {
                limbs.add_signed(cell.mantissa(), i32::from(cell.exponent));
            }
            self.wides.push(limbs);
            let index = u32::try_from(self.wides.len()).expect("fewer than 2^32 groups");
            *cell = Cell { wide: index, flags: cell.flags, ..Cell::EMPTY };
        }
        cell.wide as usize - 1
    }

    /// The sum of one group: the double nearest to it. `None` if it got no value.
    pub(super) fn value(&self, group: usize) -> Option<f64> {
        let cell = &self.cells[group];
        if cell.is_empty() {
            return None;
        }
        Some(not_a_number(cell.flags).unwrap_or_else(|| match cell.wide {
            0 => {
                let mantissa = cell.mantissa();
                round(mantissa < 0, mantissa.unsigned_abs(), i32::from(cell.exponent), false)
            }
            wide => self.wides[wide as usize - 1].round(),
        }))
    }

    /// The sum of one group as a fraction in `[1, 2)` and a power of two, so that it can be divided before it overflows.
    /// `Err` holds the value if it isn't a finite number; `None` if the group got no value.
    pub(super) fn scaled(&self, group: usize) -> Option<Result<Scaled, f64>> {
        let cell = &self.cells[group];
        if cell.is_empty() {
            return None;
        }
        if let Some(value) = not_a_number(cell.flags) {
            return Some(Err(value));
        }
        Some(Ok(match cell.wide {
            0 => {
                let mantissa = cell.mantissa();
                Scaled::new(mantissa < 0, mantissa.unsigned_abs(), i32::from(cell.exponent), false)
            }
            wide => self.wides[wide as usize - 1].scaled(),
        }))
    }

    /// The exact sum of one group's finite values; `None` if it got no value, or one that isn't a number.
    pub(super) fn exact(&self, group: usize) -> Option<Limbs> {
        let cell = &self.cells[group];
        if cell.is_empty() || cell.flags != 0 {
            return None;
        }
        if cell.wide != 0 {
            return Some(self.wides[cell.wide as usize - 1].clone());
        }
        let mut limbs = Limbs::default();
        limbs.add_signed(cell.mantissa(), i32::from(cell.exponent));
        Some(limbs)
    }

    /// The sum of one group as a partial state; `None` if it got no value.
    pub(super) fn parts(&self, group: usize) -> Option<Parts> {
        let cell = &self.cells[group];
        if cell.is_empty() {
            return None;
        }
        let flags = cell.flags;
        if cell.wide == 0 {
            return Some(narrow_parts(cell.mantissa(), i32::from(cell.exponent), flags));
        }
        let limbs = &self.wides[cell.wide as usize - 1];
        Some(match limbs.narrow() {
            Some((mantissa, exponent)) => narrow_parts(mantissa, exponent, flags),
            None => {
                let (bytes, exponent) = limbs.to_bytes();
                Parts { mantissa: 0, exponent, flags, wide: Some(bytes) }
            }
        })
    }

    /// Forgets the first `groups` groups; those behind them move down.
    pub(super) fn drop_first(&mut self, groups: usize) {
        if groups >= self.cells.len() {
            *self = Sums::default();
        } else {
            // Their limbs stay until all is emitted: no index moves.
            self.cells.drain(..groups);
        }
    }
}

/// Bytes of a partial state that no sum writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadParts;

fn narrow_parts(mantissa: i128, exponent: i32, flags: u8) -> Parts {
    if mantissa == 0 {
        return Parts { mantissa: 0, exponent: 0, flags, wide: None };
    }
    let trailing = mantissa.trailing_zeros();
    Parts { mantissa: mantissa >> trailing, exponent: exponent + trailing.cast_signed(), flags, wide: None }
}

/// What IEEE 754 says of a set with such values in it, whatever the order; `None`: all are finite.
fn not_a_number(flags: u8) -> Option<f64> {
    match flags {
        0 => None,
        PLUS_INFINITY => Some(f64::INFINITY),
        MINUS_INFINITY => Some(f64::NEG_INFINITY),
        _ => Some(f64::NAN),
    }
}

fn magnitude_bits(value: i128) -> i32 {
    (128 - value.unsigned_abs().leading_zeros()).cast_signed()
}

/// A finite double as an integer times two to a power.
pub(super) fn decompose(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let magnitude = if biased == 0 { fraction } else { fraction | 1 << 52 };
    (if value.is_sign_negative() { -magnitude } else { magnitude }, biased.max(1) - 1075)
}
