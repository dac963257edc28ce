//! What a driver does when memory gets short: smaller epochs first, then nothing more is taken until a cut has given back
//! what waits for it; what is still too much then is held by open windows, and no waiting ever frees it.
//!
//! A cut is what makes a driver give back all that it can: a checkpoint in a run, an epoch whose rows are written at once
//! in a recomputation. Pure: what the process holds comes in as an argument.

use super::{Memory, Pressure};

/// By how much epochs are smaller when memory is nearly used up.
const SMALLER: usize = 8;
/// Rows of an epoch however short memory is: fewer would cost more than they hold.
const EPOCH_ROWS_MIN: usize = 1_024;
/// Part of the limit that rows may hold that wait for a checkpoint when memory is nearly used up: one in so many bytes.
/// Small against the limit, large against a commit.
const PENDING_PART: u64 = 20;

/// How far a driver has got with giving memory back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// No need.
    #[default]
    None,
    /// A cut is to be made.
    Wanted,
    /// It is under way.
    UnderWay,
}

/// What is done about memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relief {
    memory: Memory,
    step: Step,
}

impl Relief {
    /// Notes what the process holds now.
    pub fn observe(&mut self, memory: Memory) {
        self.memory = memory;
        self.step = match (memory.pressure(), self.step) {
            (Pressure::Over, Step::None) => Step::Wanted,
            (Pressure::Over, step) => step,
            _ => Step::None,
        };
    }

    /// What was noted last.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether more may be taken from the logs.
    pub fn may_take(&self) -> bool {
        self.memory.pressure() < Pressure::Over
    }

    /// Rows after which an epoch closes that would else be closed after `rows`.
    pub fn epoch_rows(&self, rows: usize) -> usize {
        match self.memory.pressure() {
            Pressure::None => rows,
            _ => (rows / SMALLER).max(EPOCH_ROWS_MIN).min(rows),
        }
    }

    /// Whether a cut is due for memory's sake, with so many bytes waiting for one.
    pub fn wants_cut(&self, pending_bytes: u64) -> bool {
        let limit = self.memory.limit_bytes.unwrap_or(u64::MAX);
        let is_much = pending_bytes >= limit / PENDING_PART;
        self.step == Step::Wanted || (is_much && self.memory.pressure() >= Pressure::Near)
    }

    /// A cut was made.
    pub fn cut(&mut self) {
        if self.step == Step::Wanted {
            self.step = Step::UnderWay;
        }
    }

    /// What was cut is written, and the process holds `memory` now: whether all that can be given back has been, and it is
    /// still too much.
    pub fn is_exhausted(&mut self, memory: Memory) -> bool {
        let was_for_relief = self.step == Step::UnderWay;
        if was_for_relief {
            self.step = Step::None;
        }
        self.observe(memory);
        was_for_relief && memory.pressure() == Pressure::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(used_bytes: u64) -> Memory {
        Memory { used_bytes, limit_bytes: Some(1_000) }
    }

    #[test]
    fn less_is_taken_at_a_time_before_nothing_is() {
        let mut relief = Relief::default();
        relief.observe(holding(500));
        assert_eq!((relief.may_take(), relief.epoch_rows(65_536)), (true, 65_536));
        assert!(!relief.wants_cut(900), "there is room");
        relief.observe(holding(850));
        assert_eq!((relief.may_take(), relief.epoch_rows(65_536)), (true, 8_192));
        assert_eq!(relief.epoch_rows(500), 500, "never larger than without need");
        assert!(!relief.wants_cut(49) && relief.wants_cut(50));
        relief.observe(holding(1_000));
        assert!(!relief.may_take() && relief.wants_cut(0));
    }

    #[test]
    fn only_a_cut_that_was_made_for_it_tells_that_nothing_helps() {
        let mut relief = Relief::default();
        // Under way before memory got short.
        relief.cut();
        relief.observe(holding(1_001));
        assert!(!relief.is_exhausted(holding(1_001)));
        assert!(relief.wants_cut(0));
        relief.cut();
        assert!(!relief.wants_cut(0), "one is enough");
        relief.observe(holding(1_001));
        assert!(relief.is_exhausted(holding(1_001)));
    }

    #[test]
    fn what_a_cut_gives_back_lets_the_driver_go_on() {
        let mut relief = Relief::default();
        relief.observe(holding(1_200));
        relief.cut();
        assert!(!relief.is_exhausted(holding(700)));
        assert!(relief.may_take() && !relief.wants_cut(0));
    }

    #[test]
    fn without_a_limit_nothing_is_ever_short() {
        let mut relief = Relief::default();
        relief.observe(Memory { used_bytes: u64::MAX, limit_bytes: None });
        assert!(relief.may_take() && !relief.wants_cut(1 << 40));
    }
}
