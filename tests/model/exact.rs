//! Exact arithmetic on doubles: every sum, square and quotient is a ratio of whole numbers, rounded once at the end.
//! Slow and plain on purpose.

use std::cmp::Ordering;

/// Every finite double is a whole number of these: 2 to the power of -1074.
const UNIT_EXPONENT: i64 = -1074;

/// A whole number of any size: sign and magnitude, 32 bits a digit, lowest first, no zeros at the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    negative: bool,
    digits: Vec<u32>,
}

impl Whole {
    /// The whole number of units that a finite double is.
    pub fn from_double(value: f64) -> Whole {
        assert!(value.is_finite(), "{value} is no number");
        let bits = value.to_bits();
        let exponent = (bits >> 52) & 0x7ff;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let magnitude = Whole::from(i128::from(mantissa)).shifted_left(shift);
        Whole { negative: value < 0.0, digits: magnitude.digits }
    }

    /// This plus `other`.
    pub fn plus(&self, other: &Whole) -> Whole {
        if self.negative == other.negative {
            return Whole::new(self.negative, sum(&self.digits, &other.digits));
        }
        match compare(&self.digits, &other.digits) {
            Ordering::Less => Whole::new(other.negative, difference(&other.digits, &self.digits)),
            _ => Whole::new(self.negative, difference(&self.digits, &other.digits)),
        }
    }

    /// This less `other`.
    pub fn minus(&self, other: &Whole) -> Whole {
        self.plus(&Whole::new(!other.negative, other.digits.clone()))
    }

    /// This times `other`.
    pub fn times(&self, other: &Whole) -> Whole {
        let mut digits = vec![0_u32; self.digits.len() + other.digits.len()];
        for (low, left) in self.digits.iter().enumerate() {
            let mut carry = 0_u64;
            for (high, right) in other.digits.iter().enumerate() {
                let term = u64::from(*left) * u64::from(*right) + u64::from(digits[low + high]) + carry;
                digits[low + high] = low_half(term);
                carry = term >> 32;
            }
            digits[low + other.digits.len()] = low_half(carry);
        }
        Whole::new(self.negative != other.negative, digits)
    }

    fn new(negative: bool, mut digits: Vec<u32>) -> Whole {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Whole { negative: negative && !digits.is_empty(), digits }
    }

    fn shifted_left(&self, bits: u64) -> Whole {
        let places = usize::try_from(bits / 32).expect("fits in memory");
        let mut digits = vec![0_u32; places];
        let mut carry = 0_u64;
        for digit in &self.digits {
            let moved = (u64::from(*digit) << (bits % 32)) | carry;
            digits.push(low_half(moved));
            carry = moved >> 32;
        }
        digits.push(low_half(carry));
        Whole::new(self.negative, digits)
    }

    fn bit_length(&self) -> i64 {
        let Some(top) = self.digits.last() else { return 0 };
        let whole_digits = i64::try_from(self.digits.len() - 1).expect("fits in memory");
        whole_digits * 32 + i64::from(32 - top.leading_zeros())
    }

    fn bit(&self, at: i64) -> bool {
        let Ok(at) = usize::try_from(at) else { return false };
        self.digits.get(at / 32).is_some_and(|digit| digit >> (at % 32) & 1 == 1)
    }

    fn any_bit_below(&self, at: i64) -> bool {
        (0..at).any(|lower| self.bit(lower))
    }

    /// Quotient and whether a remainder is left, of magnitudes; `divisor` below 2 to the power of 32.
    fn divided(&self, divisor: u64) -> (Whole, bool) {
        let mut digits = vec![0_u32; self.digits.len()];
        let mut rest = 0_u64;
        for (at, digit) in self.digits.iter().enumerate().rev() {
            let part = (rest << 32) | u64::from(*digit);
            digits[at] = low_half(part / divisor);
            rest = part % divisor;
        }
        (Whole::new(self.negative, digits), rest != 0)
    }
}

impl From<i128> for Whole {
    fn from(value: i128) -> Whole {
        let magnitude = value.unsigned_abs();
        let digits = (0..4).map(|place| low_half((magnitude >> (32 * place)) as u64)).collect();
        Whole::new(value < 0, digits)
    }
}

/// `numerator / divisor` as the nearest double, ties to even, where the numerator counts units of
/// 2 to the power of `-1074 * powers` (1 for a sum of doubles, 2 for a sum of their products).
pub fn rounded(numerator: &Whole, powers: i64, divisor: u64) -> f64 {
    assert!(divisor > 0 && divisor <= u64::from(u32::MAX), "a divisor counts the rows of one window");
    // 128 bits more than the numerator has: the quotient then has more than the 53 that count.
    const EXTRA: i64 = 128;
    let (quotient, rest) = numerator.shifted_left(EXTRA as u64).divided(divisor);
    let exponent = UNIT_EXPONENT * powers - EXTRA;
    let length = quotient.bit_length();
    if length == 0 {
        return 0.0;
    }
    // The place of the last bit that is kept: 53 bits, fewer where the result is subnormal.
    let last = (length - 53).max(UNIT_EXPONENT - exponent);
    let mut mantissa = 0_u64;
    for at in (last..length).rev() {
        mantissa = mantissa << 1 | u64::from(quotient.bit(at));
    }
    let half = quotient.bit(last - 1);
    let more = rest || quotient.any_bit_below(last - 1);
    if half && (more || mantissa & 1 == 1) {
        mantissa += 1;
    }
    let value = scaled(mantissa, last + exponent);
    if numerator.negative { -value } else { value }
}

/// `mantissa * 2^exponent`, which is representable or beyond the greatest double.
fn scaled(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let length = i64::from(64 - mantissa.leading_zeros());
    if length + exponent > 1024 {
        return f64::INFINITY;
    }
    // Two exact steps: a subnormal result has few bits, so nothing is rounded in either.
    let first = exponent.max(-1000);
    let value = mantissa as f64 * 2_f64.powi(i32::try_from(first.min(900)).expect("is in range"));
    value * 2_f64.powi(i32::try_from(exponent - first.min(900)).expect("is in range"))
}

fn low_half(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

fn compare(left: &[u32], right: &[u32]) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

fn sum(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut digits = Vec::new();
    let mut carry = 0_u64;
    for at in 0..left.len().max(right.len()) {
        let digit = |of: &[u32]| u64::from(of.get(at).copied().unwrap_or(0));
        let total = digit(left) + digit(right) + carry;
        digits.push(low_half(total));
        carry = total >> 32;
    }
    digits.push(low_half(carry));
    digits
}

/// `left - right`, where left isn't smaller.
fn difference(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut digits = Vec::new();
    let mut borrow = 0_i64;
    for at in 0..left.len() {
        let digit = |of: &[u32]| i64::from(of.get(at).copied().unwrap_or(0));
        let mut rest = digit(left) - digit(right) - borrow;
        borrow = i64::from(rest < 0);
        if rest < 0 {
            rest += 1 << 32;
        }
        digits.push(u32::try_from(rest).expect("is one digit"));
    }
    digits
}

#[test]
fn a_sum_that_a_plain_loop_loses_is_exact() {
    let values = [1e300, 1.0, -1e300, 1e-300];
    let sum = values.iter().fold(Whole::default(), |sum, value| sum.plus(&Whole::from_double(*value)));
    assert_eq!(rounded(&sum, 1, 1), 1.0);
    assert_eq!(rounded(&sum, 1, 4), 0.25);
}

#[test]
fn every_kind_of_double_comes_back() {
    let kinds =
        [0.0, 1.0, -1.0, 0.1, 5e-324, -5e-324, 2.2e-308, 2.2250738585072014e-308, f64::MAX, -f64::MAX, 1e300, 1e-300];
    for value in kinds {
        assert_eq!(rounded(&Whole::from_double(value), 1, 1), value, "{value:e}");
    }
}

#[test]
fn ties_go_to_even_and_a_hair_more_goes_up() {
    let one = Whole::from_double(1.0);
    let half_step = Whole::from_double(2_f64.powi(-53));
    let hair = Whole::from_double(5e-324);
    assert_eq!(rounded(&one.plus(&half_step), 1, 1), 1.0);
    assert_eq!(rounded(&one.plus(&half_step).plus(&hair), 1, 1), 1.0 + 2_f64.powi(-52));
    let odd = Whole::from_double(1.0 + 2_f64.powi(-52));
    assert_eq!(rounded(&odd.plus(&half_step), 1, 1), 1.0 + 2_f64.powi(-51));
    assert_eq!(rounded(&Whole::from_double(5e-324), 1, 2), 0.0, "half the least double is a tie to zero");
    assert_eq!(rounded(&Whole::from_double(1.5e-323), 1, 2), 1e-323, "one and a half of them go to two");
}

#[test]
fn quotients_agree_with_the_hardware() {
    for (numerator, divisor) in [(1.0, 3), (2.0, 3), (1e300, 7), (1e-300, 7), (-10.0, 3), (22.0, 7), (5e-324, 3)] {
        let exact = rounded(&Whole::from_double(numerator), 1, divisor);
        assert_eq!(exact, numerator / divisor as f64, "{numerator:e} / {divisor}");
    }
}

#[test]
fn products_are_exact() {
    let square = |value: f64| Whole::from_double(value).times(&Whole::from_double(value));
    assert_eq!(rounded(&square(3.0), 2, 1), 9.0);
    assert_eq!(rounded(&square(1e-200), 2, 1), 0.0);
    assert_eq!(rounded(&square(1e200), 2, 1), f64::INFINITY);
    let noise = square(1e9 + 0.5).minus(&square(1e9));
    assert_eq!(rounded(&noise, 2, 1), 1e9 + 0.25);
    assert_eq!(rounded(&Whole::from(-7), 0, 2), -3.5);
}

#[test]
fn a_sum_beyond_the_greatest_double_is_infinite() {
    let twice = Whole::from_double(f64::MAX).plus(&Whole::from_double(f64::MAX));
    assert_eq!(rounded(&twice, 1, 1), f64::INFINITY);
    assert_eq!(rounded(&twice, 1, 2), f64::MAX);
}
