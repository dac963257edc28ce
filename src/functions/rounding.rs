//! From an exact integer times a power of two to the nearest double: once, ties to even.

/// The double nearest to `±magnitude * 2^exponent`; `sticky` says that a little more than that is meant, which only a
/// magnitude of more than 64 bits may say.
pub(super) fn round(negative: bool, magnitude: u128, exponent: i32, sticky: bool) -> f64 {
    if magnitude == 0 {
        return 0.0;
    }
    let top = exponent + 127 - magnitude.leading_zeros().cast_signed();
    // The place of the last bit that a double of this size has.
    let last = (top - 52).max(-1074);
    let shift = last - exponent;
    let rounded = match shift {
        ..=0 => magnitude << -shift,
        1..=127 => {
            let kept = magnitude >> shift;
            let (rest, half) = (magnitude & ((1 << shift) - 1), 1_u128 << (shift - 1));
            let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
            kept + u128::from(up)
        }
        // Below half of the last place, or exactly half of it, which goes to the even zero.
        _ => u128::from(shift == 128 && (magnitude > 1 << 127 || (magnitude == 1 << 127 && sticky))),
    };
    if rounded == 0 {
        return 0.0;
    }
    // At most 2^53: exact. The product is representable, or beyond all doubles.
    let value = times_power_of_two(rounded as f64, last);
    if negative { -value } else { value }
}

/// `value * 2^power`; exact unless the result is subnormal or infinite.
pub(super) fn times_power_of_two(mut value: f64, mut power: i32) -> f64 {
    while power > 1000 {
        value *= power_of_two(1000);
        power -= 1000;
    }
    // Down in steps that leave a normal number until the last, which rounds at most once.
    while power < -1000 {
        value *= power_of_two(-900);
        power += 900;
    }
    value * power_of_two(power)
}

/// `2^power` for a normal result.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(u64::try_from(power + 1023).expect("a normal power of two") << 52)
}

/// A number with an exponent of its own: `fraction * 2^exponent`, `1 <= |fraction| <= 2`, or zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaled {
    pub fraction: f64,
    pub exponent: i32,
}

impl Scaled {
    /// Rounded to 53 bits, whatever the size.
    pub(super) fn new(negative: bool, magnitude: u128, exponent: i32, sticky: bool) -> Scaled {
        if magnitude == 0 {
            return Scaled { fraction: 0.0, exponent: 0 };
        }
        let bits = 127 - magnitude.leading_zeros().cast_signed();
        Scaled { fraction: round(negative, magnitude, -bits, sticky), exponent: exponent + bits }
    }

    /// Divided by a positive number that isn't huge.
    pub(super) fn divided_by(self, divisor: f64) -> Scaled {
        Scaled { fraction: self.fraction / divisor, ..self }
    }

    /// Divided by a number that isn't zero.
    pub(super) fn over(self, divisor: Scaled) -> Scaled {
        Scaled { fraction: self.fraction / divisor.fraction, exponent: self.exponent - divisor.exponent }
    }

    /// The square root of a number that isn't negative.
    pub(super) fn square_root(self) -> Scaled {
        let (fraction, exponent) = if self.exponent.rem_euclid(2) == 0 {
            (self.fraction, self.exponent)
        } else {
            (self.fraction * 2.0, self.exponent - 1)
        };
        Scaled { fraction: fraction.sqrt(), exponent: exponent / 2 }
    }

    pub(super) fn value(self) -> f64 {
        times_power_of_two(self.fraction, self.exponent)
    }
}
