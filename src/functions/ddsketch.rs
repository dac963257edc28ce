//! Quantiles of numbers from counts in buckets whose edges grow by a fixed ratio: a DDSketch (C. Masson, J. Rim, H. Lee,
//! "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019).
//! Invariant: a sketch is a function of the multiset of its values, however they came in and were merged.
//!
//! Each octave (a doubling) is cut into 35 buckets, at the points where `6 s^3 - 21 s^2 + 50 s` is a whole number, `s`
//! being the fraction of the number behind its leading one. That polynomial follows 35 times the logarithm so closely that no
//! bucket's edges differ by more than a factor of exp(1/50); a value between them is off by at most tanh(1/100) < 1 %. It
//! takes no logarithm, only sums and products, so a value falls into the same bucket on every machine.
//!
//! Numbers of at most [`BUCKETS_MAX`] buckets are told apart. Beyond, all buckets are joined in pairs, as often as needed
//! (I. Epicoco et al., "UDDSketch", 2020): which are joined doesn't depend on what came first. A part never needs more joining
//! than the whole, and joining commutes with counting, so the whole is what decides. (The collapsing of the lowest
//! buckets in the first paper would do too, but it loses all of the lowest values, where this costs all of them a little.)
//! Positive data reach that bound only if they fill more than 58 octaves, 17 decimal orders of magnitude.

use super::rounding::times_power_of_two;

/// Buckets with values that a sketch has at most; signs, zero, infinities and NaN included.
pub(super) const BUCKETS_MAX: usize = 2_048;
/// Buckets of an octave.
const PER_OCTAVE: u32 = 35;
/// The exponent of the least number.
const EXPONENT_MIN: i32 = -1074;
/// Joinings after which any numbers fit: 2 * 73,430 buckets, 128 joined to one.
const LEVEL_MAX: u32 = 7;

/// Keys of what has no bucket, in the order of values: -infinity, zero, infinity, NaN.
const MINUS_INFINITY: i32 = i32::MIN;
const ZERO: i32 = 0;
const PLUS_INFINITY: i32 = i32::MAX - 1;
const NAN: i32 = i32::MAX;

/// Lower edges of an octave's buckets, from 1 below 2, then 2.
static EDGES: [f64; PER_OCTAVE as usize + 1] = edges();

/// How many buckets of its octave lie below a number `1 + s`.
const fn steps(s: f64) -> f64 {
    ((6.0 * s - 21.0) * s + 50.0) * s
}

const fn edges() -> [f64; PER_OCTAVE as usize + 1] {
    let mut edges = [2.0; PER_OCTAVE as usize + 1];
    let mut bucket = 0;
    while bucket < PER_OCTAVE as usize {
        // The polynomial grows, so halving finds the first number of the bucket.
        let (mut below, mut inside) = (0.0, 1.0);
        let mut halvings = 0;
        while halvings < 60 {
            let middle = (below + inside) / 2.0;
            if steps(middle) < bucket as f64 {
                below = middle;
            } else {
                inside = middle;
            }
            halvings += 1;
        }
        edges[bucket] = if bucket == 0 { 1.0 } else { 1.0 + inside };
        bucket += 1;
    }
    edges
}

/// The bucket of a positive finite number, counted from the least number of all.
fn bucket(magnitude: f64) -> u32 {
    let bits = magnitude.to_bits();
    let (biased, fraction) = ((bits >> 52) as u32, bits & ((1 << 52) - 1));
    // Octaves above the least number's, and the fraction behind the leading one.
    let (octave, fraction) = if biased == 0 {
        let shift = fraction.leading_zeros() - 11;
        (52 - shift, (fraction << shift) & ((1 << 52) - 1))
    } else {
        (biased + 51, fraction)
    };
    let s = f64::from_bits(1023 << 52 | fraction) - 1.0;
    octave * PER_OCTAVE + (steps(s) as u32).min(PER_OCTAVE - 1)
}

/// The lower edge of a bucket as a number from 1 below 2 and a power of two.
fn edge(bucket: u32) -> (f64, i32) {
    (EDGES[(bucket % PER_OCTAVE) as usize], (bucket / PER_OCTAVE).cast_signed() + EXPONENT_MIN)
}

/// The number that stands for the buckets from `first` to below `behind`: as far, relative to each, from both edges.
fn middle(first: u32, behind: u32) -> f64 {
    let ((low, low_exponent), (high, high_exponent)) = (edge(first), edge(behind));
    let ratio = times_power_of_two(low / high, low_exponent - high_exponent);
    times_power_of_two(2.0 * low / (1.0 + ratio), low_exponent)
}

/// The key of a value before any joining: in the order of values, as `min` and `max` have it.
fn key(value: f64) -> i32 {
    if value.is_nan() {
        NAN
    } else if value.is_infinite() {
        if value > 0.0 { PLUS_INFINITY } else { MINUS_INFINITY }
    } else if value == 0.0 {
        ZERO
    } else if value > 0.0 {
        bucket(value).cast_signed() + 1
    } else {
        -1 - bucket(-value).cast_signed()
    }
}

/// The key after joining so many times more.
fn joined(key: i32, times: u32) -> i32 {
    match key {
        MINUS_INFINITY | ZERO | PLUS_INFINITY | NAN => key,
        1.. => ((key - 1) >> times) + 1,
        _ => -1 - ((-1 - key) >> times),
    }
}

/// From which end ranks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The least value is the first.
    Ascending,
    /// The greatest value is the first.
    Descending,
}

/// Counts of values by their size.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DdSketch {
    /// How often buckets were joined in pairs.
    level: u32,
    /// Buckets with values, ascending.
    keys: Vec<i32>,
    /// Values in each.
    counts: Vec<i64>,
    /// Least and greatest finite value.
    extremes: Option<(f64, f64)>,
}

/// A sketch as partial states carry it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts<'s> {
    pub level: u32,
    pub keys: &'s [i32],
    pub counts: &'s [i64],
    pub extremes: Option<(f64, f64)>,
}

impl Parts<'_> {
    /// Whether a sketch can look like this.
    fn is_sound(&self) -> bool {
        let sorted = self.keys.windows(2).all(|pair| pair[0] < pair[1]);
        let positive = self.counts.iter().all(|count| *count > 0);
        let sizes = self.keys.len() == self.counts.len() && self.keys.len() <= BUCKETS_MAX;
        sorted && positive && sizes && self.level <= LEVEL_MAX
    }
}

impl DdSketch {
    /// Adds one value.
    #[inline]
    pub(super) fn insert(&mut self, value: f64) {
        let key = joined(key(value), self.level);
        if value.is_finite() {
            // Without the sign of zero, which would depend on which came first.
            let value = value + 0.0;
            let (least, greatest) = self.extremes.unwrap_or((value, value));
            self.extremes = Some((least.min(value), greatest.max(value)));
        }
        match self.keys.binary_search(&key) {
            Ok(index) => self.counts[index] += 1,
            Err(index) => {
                self.keys.insert(index, key);
                self.counts.insert(index, 1);
                self.bound();
            }
        }
    }

    /// Joins buckets while there are too many.
    fn bound(&mut self) {
        while self.keys.len() > BUCKETS_MAX {
            self.join(1);
        }
    }

    /// Joins buckets so many times.
    fn join(&mut self, times: u32) {
        self.level += times;
        let mut kept = 0;
        for index in 0..self.keys.len() {
            let (key, count) = (joined(self.keys[index], times), self.counts[index]);
            if kept > 0 && self.keys[kept - 1] == key {
                self.counts[kept - 1] += count;
            } else {
                self.keys[kept] = key;
                self.counts[kept] = count;
                kept += 1;
            }
        }
        self.keys.truncate(kept);
        self.counts.truncate(kept);
    }

    /// Adds another sketch; `None` for parts that none has.
    pub(super) fn merge(&mut self, other: Parts<'_>) -> Option<()> {
        if !other.is_sound() {
            return None;
        }
        if other.level > self.level {
            self.join(other.level - self.level);
        }
        let times = self.level - other.level;
        let most = self.keys.len() + other.keys.len();
        let mut merged =
            DdSketch { keys: Vec::with_capacity(most), counts: Vec::with_capacity(most), ..DdSketch::default() };
        let (mut left, mut right) = (0, 0);
        while left < self.keys.len() || right < other.keys.len() {
            let mine = self.keys.get(left).copied();
            let theirs = other.keys.get(right).map(|key| joined(*key, times));
            // A missing key is greater than all.
            if theirs.is_none() || mine.is_some_and(|mine| theirs.is_some_and(|theirs| mine <= theirs)) {
                merged.append(self.keys[left], self.counts[left]);
                left += 1;
            } else {
                merged.append(joined(other.keys[right], times), other.counts[right]);
                right += 1;
            }
        }
        (self.keys, self.counts) = (merged.keys, merged.counts);
        self.extremes = match (self.extremes, other.extremes) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        self.bound();
        Some(())
    }

    /// Adds to the last bucket, or opens one behind it.
    fn append(&mut self, key: i32, count: i64) {
        if self.keys.last() == Some(&key) {
            *self.counts.last_mut().expect("one count a key") += count;
        } else {
            self.keys.push(key);
            self.counts.push(count);
        }
    }

    /// The sketch as it is carried; the same for the same values.
    pub(super) fn parts(&self) -> Parts<'_> {
        Parts { level: self.level, keys: &self.keys, counts: &self.counts, extremes: self.extremes }
    }

    /// The first value with at least `share` of all values at or before it, as SQL's `percentile_disc`; off by at most 1 %
    /// of its size while no buckets are joined, by tanh(2^level / 100) of it then. Least and greatest are exact. `None`
    /// without values.
    pub(super) fn quantile(&self, share: f64, direction: Direction) -> Option<f64> {
        let total: i64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = ((share * total as f64).ceil() as i64).clamp(1, total);
        let rank = if direction == Direction::Ascending { rank } else { total + 1 - rank };
        let (mut below, mut found) = (0, 0);
        while below + self.counts[found] < rank {
            below += self.counts[found];
            found += 1;
        }
        let key = self.keys[found];
        let (least, greatest) = match (key, self.extremes) {
            (MINUS_INFINITY, _) => return Some(f64::NEG_INFINITY),
            (PLUS_INFINITY, _) => return Some(f64::INFINITY),
            (NAN, _) | (_, None) => return Some(f64::NAN),
            (_, Some(extremes)) => extremes,
        };
        let is_finite = |key: i32| !matches!(key, MINUS_INFINITY | PLUS_INFINITY | NAN);
        let is_first = below == 0 || !is_finite(self.keys[found - 1]);
        let is_last = self.keys.get(found + 1).is_none_or(|next| !is_finite(*next));
        if is_first && rank == below + 1 {
            return Some(least);
        }
        if is_last && rank == below + self.counts[found] {
            return Some(greatest);
        }
        Some(self.value(key).clamp(least, greatest))
    }

    /// What stands for the values of a finite bucket.
    fn value(&self, key: i32) -> f64 {
        let magnitude = |bucket: i32| {
            let first = bucket.cast_unsigned() << self.level;
            middle(first, first + (1 << self.level))
        };
        match key {
            ZERO => 0.0,
            1.. => magnitude(key - 1),
            _ => -magnitude(-1 - key),
        }
    }

    /// Heap memory in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<i32>() + self.counts.capacity() * size_of::<i64>()
    }
}
