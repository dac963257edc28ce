//! How many distinct hashes there were, from a few kilobytes: a sparse set while they are few, then HyperLogLog.
//! Invariant: a sketch is a function of the set of its hashes, however they came in and were merged.
//!
//! Sparse, it keeps of each hash the first 26 bits and the place of the first one behind them: two hashes are taken for
//! one once in 2^26, so the count is exact but for one sketch in 14 when it is full. At more than [`SPARSE_MAX`] of them it
//! becomes dense: 2^14 registers with the place of the first one behind the first 14 bits. Any part that is dense has
//! more than so many already, so it is the set that decides. The dense estimate has a standard error of 1.04 / sqrt(2^14)
//! = 0.81 %. (P. Flajolet et al., "HyperLogLog", 2007; S. Heule et al., "HyperLogLog in practice", 2013, for the sparse
//! form; O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, for an estimate without tables
//! or thresholds.)

/// Bits of a hash that choose a register.
const REGISTER_BITS: u32 = 14;
/// Registers of a dense sketch, one byte each.
const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bits of a hash that a sparse entry keeps.
const INDEX_BITS: u32 = 26;
/// Bits of an entry for the place of the first one behind the index: at most 39.
const RANK_BITS: u32 = 6;
/// Entries that a sparse sketch holds: as many as fill three quarters of a table of the size of the registers.
const SPARSE_MAX: usize = REGISTERS / size_of::<u32>() / 4 * 3;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 4;
/// The greatest value of a register: 50 bits behind the register's number, all zero.
const REGISTER_MAX: u8 = 51;

/// Number of distinct hashes, nearly.
#[derive(Clone, Debug)]
pub(super) enum HyperLogLog {
    /// A hash table of entries, open addressing; 0 is a free slot, as every rank is at least 1. A power of two long, at
    /// most three quarters full.
    Sparse { slots: Box<[u32]>, count: u32 },
    /// One rank for each register.
    Dense(Box<[u8]>),
}

impl Default for HyperLogLog {
    fn default() -> HyperLogLog {
        HyperLogLog::Sparse { slots: Box::default(), count: 0 }
    }
}

/// The first 26 bits of a hash, and behind them the place of the first one in the rest, from 1.
fn entry(hash: u64) -> u32 {
    let index = (hash >> (64 - INDEX_BITS)) as u32;
    let rest = hash << INDEX_BITS;
    let rank = if rest == 0 { 64 - INDEX_BITS + 1 } else { rest.leading_zeros() + 1 };
    index << RANK_BITS | rank
}

/// The register of an entry, and the rank there.
fn register(entry: u32) -> (usize, u8) {
    const MIDDLE_BITS: u32 = INDEX_BITS - REGISTER_BITS;
    let (index, rank) = (entry >> RANK_BITS, entry & ((1 << RANK_BITS) - 1));
    let middle = index << (32 - MIDDLE_BITS);
    let rank = if middle == 0 { MIDDLE_BITS + rank } else { middle.leading_zeros() + 1 };
    ((index >> MIDDLE_BITS) as usize, rank as u8)
}

/// The slot that holds an entry of the same index, or a free one for it. There is a free one.
fn slot_of(slots: &[u32], entry: u32) -> usize {
    let mask = slots.len() - 1;
    let mut slot = (entry >> RANK_BITS) as usize & mask;
    while slots[slot] != 0 && slots[slot] >> RANK_BITS != entry >> RANK_BITS {
        slot = (slot + 1) & mask;
    }
    slot
}

impl HyperLogLog {
    /// Adds a hash.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        self.insert_entry(entry(hash));
    }

    #[inline]
    fn insert_entry(&mut self, entry: u32) {
        match self {
            HyperLogLog::Dense(registers) => {
                let (register, rank) = register(entry);
                registers[register] = registers[register].max(rank);
            }
            HyperLogLog::Sparse { slots, count } => {
                if !slots.is_empty() {
                    let slot = slot_of(slots, entry);
                    let is_new = slots[slot] == 0;
                    if !is_new || *count as usize * 4 < slots.len() * 3 {
                        slots[slot] = slots[slot].max(entry);
                        *count += u32::from(is_new);
                        return;
                    }
                }
                self.insert_into_full(entry);
            }
        }
    }

    /// Adds an entry of a new index to a table that has no room for another: a larger table, or registers.
    #[cold]
    fn insert_into_full(&mut self, entry: u32) {
        match self {
            HyperLogLog::Sparse { slots, count } if (*count as usize) < SPARSE_MAX => {
                let mut larger = vec![0; (slots.len() * 2).max(SLOTS_MIN)].into_boxed_slice();
                for &old in slots.iter().filter(|slot| **slot != 0) {
                    let slot = slot_of(&larger, old);
                    larger[slot] = old;
                }
                *slots = larger;
            }
            _ => {
                self.make_dense();
            }
        }
        self.insert_entry(entry);
    }

    fn make_dense(&mut self) -> &mut [u8] {
        if let HyperLogLog::Sparse { slots, .. } = self {
            let mut registers = vec![0; REGISTERS].into_boxed_slice();
            for &entry in slots.iter().filter(|slot| **slot != 0) {
                let (register, rank) = register(entry);
                registers[register] = registers[register].max(rank);
            }
            *self = HyperLogLog::Dense(registers);
        }
        let HyperLogLog::Dense(registers) = self else { unreachable!("it was just made so") };
        registers
    }

    /// How many distinct hashes there were.
    pub(super) fn estimate(&self) -> u64 {
        match self {
            // Indices that two hashes share are too few to matter: half of one when the table is full.
            HyperLogLog::Sparse { count, .. } => u64::from(*count),
            HyperLogLog::Dense(registers) => estimate(registers).round() as u64,
        }
    }

    /// As bytes, the same for equal sets: the sorted entries, or the registers.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            HyperLogLog::Sparse { slots, .. } => {
                let mut entries: Vec<u32> = slots.iter().copied().filter(|slot| *slot != 0).collect();
                entries.sort_unstable();
                entries.into_iter().flat_map(u32::to_le_bytes).collect()
            }
            HyperLogLog::Dense(registers) => registers.to_vec(),
        }
    }

    /// Adds the set that another sketch wrote as bytes; `None` for bytes that none writes.
    pub(super) fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() == REGISTERS {
            for (register, &rank) in self.make_dense().iter_mut().zip(bytes) {
                *register = (*register).max(Some(rank).filter(|rank| *rank <= REGISTER_MAX)?);
            }
            return Some(());
        }
        let (entries, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || entries.len() > SPARSE_MAX {
            return None;
        }
        for entry in entries {
            let entry = u32::from_le_bytes(*entry);
            let rank = entry & ((1 << RANK_BITS) - 1);
            if !(1..=64 - INDEX_BITS + 1).contains(&rank) {
                return None;
            }
            self.insert_entry(entry);
        }
        Some(())
    }

    /// Heap memory in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            HyperLogLog::Sparse { slots, .. } => size_of_val(&slots[..]),
            HyperLogLog::Dense(registers) => registers.len(),
        }
    }
}

/// Ertl's improved estimate from the number of registers of each rank. Sums, products and roots in a fixed order: the same
/// on every machine.
fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0_u32; REGISTER_MAX as usize + 1];
    for &rank in registers {
        counts[usize::from(rank)] += 1;
    }
    let registers = REGISTERS as f64;
    let (last, inner) = counts.split_last().expect("there are registers");
    let mut z = registers * beyond(1.0 - f64::from(*last) / registers);
    for &count in inner[1..].iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += registers * below(f64::from(counts[0]) / registers);
    registers * registers / (2.0 * std::f64::consts::LN_2 * z)
}

/// Ertl's sigma: `x + sum of x^(2^k) * 2^(k - 1)`: what registers that saw nothing say.
fn below(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum == before || sum.is_infinite() {
            return sum;
        }
    }
}

/// Ertl's tau: a third of `1 - x - sum of (1 - x^(2^-k))^2 * 2^-k`: what registers that are full say.
fn beyond(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum == before {
            return sum / 3.0;
        }
    }
}
