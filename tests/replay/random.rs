//! Random numbers of our own: a seed that failed must fail again under every version of every library.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub struct Random {
    state: u64,
}

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` up to, not including, `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "an empty range");
        let width = high.abs_diff(low);
        low.wrapping_add((self.bits() % width).cast_signed())
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.between(0, i64::try_from(limit).expect("is small"))).expect("isn't negative")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: i64) -> bool {
        self.between(0, 100) < percent
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Up to `count` of them, in any order, none twice.
    pub fn several<T: Clone>(&mut self, choices: &[T], count: usize) -> Vec<T> {
        let mut rest = choices.to_vec();
        (0..count.min(choices.len())).map(|_| rest.swap_remove(self.below(rest.len()))).collect()
    }
}
