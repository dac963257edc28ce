//! The memory of a recomputation: smaller epochs when it gets short, and an end with the names of those who hold it when
//! nothing is left that could be given back.

use thiserror::Error;

use crate::engine::EpochOutput;
use crate::job::Plan;
use crate::memory::{Bytes, Held, HeldByOperator, Kept, Memory, Pressure, Relief};

/// Records after which the process' memory is looked at again: a look costs as much as some hundred of them.
const LOOK_ROWS: usize = 16_384;

/// The range takes more memory than there is.
#[derive(Debug, Error)]
#[error(
    "{used} of memory are in use, more than the {limit} of [run] memory_max, and smaller steps have given none of it back: \
     {held}; nothing has been changed: raise memory_max, run it on a larger machine or with fewer workers, take a shorter \
     range, or make the job hold less (shorter windows, fewer or shorter keys)"
)]
pub struct MemoryExhausted {
    /// What the process holds.
    used: Bytes,
    /// What it may hold.
    limit: Bytes,
    /// Who holds it.
    held: Box<Held>,
}

/// Fails if the process holds more than it may, with `held` to blame. For work that can't be done in smaller steps.
pub fn check_memory(memory_max: Option<u64>, held: impl FnOnce() -> Held) -> Result<(), MemoryExhausted> {
    let memory = Memory::now(memory_max);
    match memory.pressure() {
        Pressure::Over => Err(exhausted(memory, held())),
        _ => Ok(()),
    }
}

fn exhausted(memory: Memory, held: Held) -> MemoryExhausted {
    let limit = Bytes(memory.limit_bytes.unwrap_or(u64::MAX));
    MemoryExhausted { used: Bytes(memory.used_bytes), limit, held: Box::new(held) }
}

/// Watches over the memory of one pass.
pub(super) struct Guard {
    memory_max: Option<u64>,
    relief: Relief,
    held: Held,
    /// Records that were read since the last look.
    unseen_rows: usize,
}

impl Guard {
    pub(super) fn new(memory_max: Option<u64>) -> Guard {
        Guard { memory_max, relief: Relief::default(), held: Held::default(), unseen_rows: 0 }
    }

    /// So many records were read.
    pub(super) fn read(&mut self, rows: usize) {
        self.unseen_rows += rows;
        if self.unseen_rows >= LOOK_ROWS {
            self.unseen_rows = 0;
            self.relief.observe(Memory::now(self.memory_max));
        }
    }

    /// Whether more may be read.
    pub(super) fn may_take(&self) -> bool {
        self.relief.may_take()
    }

    /// Rows after which an epoch closes that would else be closed after `rows`.
    pub(super) fn epoch_rows(&self, rows: usize) -> usize {
        self.relief.epoch_rows(rows)
    }

    /// Whether the open epoch has to close, so that what it has brought can be given back.
    pub(super) fn wants_cut(&self) -> bool {
        self.relief.wants_cut(0)
    }

    /// The epoch was closed.
    pub(super) fn cut(&mut self) {
        self.relief.cut();
    }

    /// How close the process was to its limit at the last look.
    pub(super) fn pressure(&self) -> Pressure {
        self.relief.memory().pressure()
    }

    /// Notes what the open windows hold after an epoch.
    pub(super) fn note(&mut self, plan: &Plan, output: &EpochOutput) {
        let operators = plan.inserts.iter().zip(&output.inserts).map(|(insert, output)| HeldByOperator {
            table: insert.table.clone(),
            bytes: output.open.bytes as u64,
            windows: output.open.windows as u64,
            largest: output.open.largest.map(|(start, bytes)| (start, bytes as u64)),
        });
        self.held.operators = operators.collect();
    }

    /// An epoch's output was taken, and `kept` of what was taken so far is held still. With `last` no epoch is under way:
    /// then nothing more will be given back.
    ///
    /// # Errors
    /// When there is too little memory even so.
    pub(super) fn taken(&mut self, kept: Kept, last: bool) -> Result<(), MemoryExhausted> {
        self.held.kept = kept;
        let memory = Memory::now(self.memory_max);
        if !last {
            self.relief.observe(memory);
            return Ok(());
        }
        match self.relief.is_exhausted(memory) {
            true => Err(exhausted(memory, self.held.clone())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_ends_only_when_a_closed_epoch_has_given_nothing_back() {
        let mut guard = Guard::new(Some(1 << 20));
        assert!(guard.may_take() && !guard.wants_cut(), "nothing was looked at yet");
        let kept = Kept { what: "rows that wait to be compared", bytes: 3 << 20 };
        guard.read(LOOK_ROWS);
        assert!(!guard.may_take(), "queues count too");
        guard.taken(kept, false).expect("others are under way");
        assert!(!guard.may_take() && guard.wants_cut());
        guard.taken(kept, true).expect("no epoch was closed for it");
        guard.cut();
        assert!(!guard.wants_cut(), "one is enough");
        let message = guard.taken(kept, true).expect_err("there is no way on").to_string();
        let held =
            "smaller steps have given none of it back: rows that wait to be compared 3.0 MB; nothing has been changed";
        assert!(message.contains("more than the 1.0 MB of [run] memory_max") && message.contains(held), "{message}");
    }

    #[test]
    fn a_pass_without_a_limit_never_waits() {
        let mut guard = Guard::new(None);
        guard.taken(Kept::default(), true).expect("there is no limit");
        assert!(guard.may_take() && guard.pressure() == Pressure::None && guard.epoch_rows(65_536) == 65_536);
    }
}
