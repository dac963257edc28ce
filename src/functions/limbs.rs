//! Integers of any length times a power of two: what an exact sum spills into, and sums of squares live in.

use super::rounding::{Scaled, round};

/// `sum of words[i] * 2^(64 * (base + i))`, two's complement: the sign is the top bit of the last word. No words: zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Limbs {
    base: i32,
    words: Vec<u64>,
}

impl Limbs {
    /// Heap memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    pub(super) fn add_signed(&mut self, mantissa: i128, exponent: i32) {
        self.add(mantissa < 0, mantissa.unsigned_abs(), exponent);
    }

    /// Adds `±magnitude * 2^exponent`.
    pub(super) fn add(&mut self, negative: bool, magnitude: u128, exponent: i32) {
        if magnitude == 0 {
            return;
        }
        let (word, offset) = (exponent.div_euclid(64), exponent.rem_euclid(64).cast_unsigned());
        let shifted = magnitude << offset;
        let top = if offset == 0 { 0 } else { magnitude >> (128 - offset) };
        let parts = [shifted as u64, (shifted >> 64) as u64, top as u64];
        self.make_room(word);
        let first = (word - self.base).cast_unsigned() as usize;
        let (low, rest) = self.words[first..].split_at_mut(3);
        let mut carry = false;
        let step = |word: u64, part: u64, carry: bool| {
            if negative {
                let (word, under) = word.overflowing_sub(part);
                let (word, under_again) = word.overflowing_sub(u64::from(carry));
                (word, under || under_again)
            } else {
                let (word, over) = word.overflowing_add(part);
                let (word, over_again) = word.overflowing_add(u64::from(carry));
                (word, over || over_again)
            }
        };
        for (word, part) in low.iter_mut().zip(parts) {
            (*word, carry) = step(*word, part, carry);
        }
        for word in rest {
            if !carry {
                break;
            }
            (*word, carry) = step(*word, 0, carry);
        }
    }

    pub(super) fn add_limbs(&mut self, other: &Limbs) {
        let Some((&top, lower)) = other.words.split_last() else { return };
        for (index, &word) in (0..).zip(lower) {
            self.add(false, u128::from(word), 64 * (other.base + index));
        }
        let index = i32::try_from(lower.len()).expect("some dozens of words");
        self.add_signed(i128::from(top.cast_signed()), 64 * (other.base + index));
    }

    /// Words for a value at `word`, and a top word that no carry can turn over.
    fn make_room(&mut self, word: i32) {
        if self.words.is_empty() {
            self.base = word;
        }
        if word < self.base {
            let missing = (self.base - word).cast_unsigned() as usize;
            self.words.splice(0..0, std::iter::repeat_n(0, missing));
            self.base = word;
        }
        let needed = (word - self.base).cast_unsigned() as usize + 4;
        let top = self.words.last().map_or(0, |top| top.cast_signed());
        let sign = (top >> 63).cast_unsigned();
        // A carry is one; it can't reach the sign of a word below 2^62.
        let full = usize::from(top.unsigned_abs() >= 1 << 62);
        let needed = needed.max(self.words.len() + full);
        self.words.resize(needed, sign);
    }

    /// Sign and magnitude, the latter as words from the least.
    fn magnitude(&self) -> (bool, Vec<u64>) {
        let negative = self.words.last().is_some_and(|top| top.cast_signed() < 0);
        let mut words = self.words.clone();
        if negative {
            let mut carry = true;
            for word in &mut words {
                (*word, carry) = (!*word).overflowing_add(u64::from(carry));
            }
        }
        while words.last() == Some(&0) {
            words.pop();
        }
        (negative, words)
    }

    /// The 128 bits from the top: sign, bits, their exponent, and whether anything is below them.
    fn top(&self) -> (bool, u128, i32, bool) {
        let (negative, words) = self.magnitude();
        let Some(&first) = words.last() else { return (false, 0, 0, false) };
        let word = |back: usize| words.len().checked_sub(back).map_or(0, |index| words[index]);
        let lead = first.leading_zeros();
        let (second, third) = (u128::from(word(2)), word(3));
        let below = if lead == 0 { 0 } else { u128::from(third >> (64 - lead)) };
        let bits = (u128::from(first) << 64 | second) << lead | below;
        let sticky = third << lead != 0 || words[..words.len().saturating_sub(3)].iter().any(|&word| word != 0);
        let length = i32::try_from(words.len()).expect("some dozens of words");
        (negative, bits, 64 * (self.base + length - 2) - lead.cast_signed(), sticky)
    }

    /// The nearest double.
    pub(super) fn round(&self) -> f64 {
        let (negative, bits, exponent, sticky) = self.top();
        round(negative, bits, exponent, sticky)
    }

    /// The nearest number of 53 bits, with an exponent of its own.
    pub(super) fn scaled(&self) -> Scaled {
        let (negative, bits, exponent, sticky) = self.top();
        Scaled::new(negative, bits, exponent, sticky)
    }

    /// The same number as 127 bits and sign times a power of two, if it is one.
    pub(super) fn narrow(&self) -> Option<(i128, i32)> {
        let (negative, words) = self.magnitude();
        let Some(zeros) = words.iter().position(|&word| word != 0) else { return Some((0, 0)) };
        let trailing = words[zeros].trailing_zeros();
        let mut magnitude: u128 = 0;
        for (index, &word) in words[zeros..].iter().enumerate() {
            let place = i64::try_from(64 * index).expect("some dozens of words") - i64::from(trailing);
            let shifted = match place {
                ..=0 => Some(u128::from(word) >> -place),
                1..=127 => Some(u128::from(word) << place).filter(|shifted| shifted >> place == u128::from(word)),
                _ => None,
            };
            magnitude |= shifted?;
        }
        let magnitude = i128::try_from(magnitude).ok()?;
        let start = i32::try_from(zeros).expect("some dozens of words");
        let exponent = 64 * (self.base + start) + trailing.cast_signed();
        Some((if negative { -magnitude } else { magnitude }, exponent))
    }

    /// The product of two numbers.
    pub(super) fn times(&self, other: &Limbs) -> Limbs {
        let ((left_negative, left), (right_negative, right)) = (self.magnitude(), other.magnitude());
        let mut product = Limbs::default();
        for (i, &a) in (0..).zip(&left) {
            for (j, &b) in (0..).zip(&right) {
                let exponent = 64 * (self.base + other.base + i + j);
                product.add(left_negative != right_negative, u128::from(a) * u128::from(b), exponent);
            }
        }
        product
    }

    /// This number less another.
    pub(super) fn minus(mut self, other: &Limbs) -> Limbs {
        let (negative, words) = other.magnitude();
        for (index, &word) in (0..).zip(&words) {
            self.add(!negative, u128::from(word), 64 * (other.base + index));
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The words, least first, each little-endian, and the power of two of the first bit. The same for the same number:
    /// no word at either end that says nothing.
    pub(super) fn to_bytes(&self) -> (Vec<u8>, i32) {
        let Some(zeros) = self.words.iter().position(|&word| word != 0) else { return (Vec::new(), 0) };
        let mut words = &self.words[zeros..];
        while let [.., below, top] = words {
            if (below.cast_signed() >> 63).cast_unsigned() != *top {
                break;
            }
            words = &words[..words.len() - 1];
        }
        let start = i32::try_from(zeros).expect("some dozens of words");
        (words.iter().flat_map(|word| word.to_le_bytes()).collect(), 64 * (self.base + start))
    }

    /// Reads [`Limbs::to_bytes`]; `None` for bytes that it doesn't write.
    pub(super) fn from_bytes(bytes: &[u8], exponent: i32) -> Option<Limbs> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || exponent % 64 != 0 {
            return None;
        }
        let words = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        Some(Limbs { base: exponent / 64, words })
    }
}
