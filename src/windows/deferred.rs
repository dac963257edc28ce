//! States that are worked out when somebody needs them: by the writer of a checkpoint, while records go on, or by the window
//! that closes before.
//! Invariant: they are worked out once, and are the same rows whoever asks first.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;

use super::pane::PaneError;

/// A batch of partial states; a clone is the same batch.
#[derive(Clone)]
pub struct Deferred {
    work: Arc<Mutex<Work>>,
    /// Rows that it has at most.
    rows: usize,
    /// What it holds before it is worked out, in bytes.
    bytes: usize,
}

type Todo = Box<dyn FnOnce() -> Result<RecordBatch, PaneError> + Send>;

enum Work {
    Todo(Todo),
    Done(Result<RecordBatch, Arc<PaneError>>),
    /// Somebody is at it, or has panicked.
    Taken,
}

impl Deferred {
    /// What `work` gives: so many rows at most. It holds so many bytes until then.
    pub(super) fn new(
        rows: usize,
        bytes: usize,
        work: impl FnOnce() -> Result<RecordBatch, PaneError> + Send + 'static,
    ) -> Deferred {
        Deferred { work: Arc::new(Mutex::new(Work::Todo(Box::new(work)))), rows, bytes }
    }

    /// What is there already.
    pub(super) fn of(states: RecordBatch) -> Deferred {
        Deferred { rows: states.num_rows(), bytes: 0, work: Arc::new(Mutex::new(Work::Done(Ok(states)))) }
    }

    /// The states in another layout.
    #[must_use]
    pub(super) fn map(&self, change: impl FnOnce(&RecordBatch) -> RecordBatch + Send + 'static) -> Deferred {
        let states = self.clone();
        // What is changed counts where it came from.
        Deferred::new(self.rows, 0, move || Ok(change(&states.get()?)))
    }

    /// The states. Works them out if nobody has; waits for whoever is at it. Fails if an accumulator fails.
    pub fn get(&self) -> Result<RecordBatch, PaneError> {
        let mut work = self.lock();
        if let Work::Done(done) = &*work {
            return done.clone().map_err(PaneError::Deferred);
        }
        let Work::Todo(todo) = std::mem::replace(&mut *work, Work::Taken) else {
            unreachable!("it is only taken under the lock")
        };
        let done = todo().map_err(Arc::new);
        *work = Work::Done(done.clone());
        done.map_err(PaneError::Deferred)
    }

    /// Rows, or before they are known the most that there can be.
    pub(super) fn rows(&self) -> usize {
        match self.work.try_lock().as_deref() {
            Ok(Work::Done(Ok(states))) => states.num_rows(),
            _ => self.rows,
        }
    }

    /// Memory held, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        match self.work.try_lock().as_deref() {
            Ok(Work::Done(Ok(states))) => states.get_array_memory_size(),
            _ => self.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("whoever works it out doesn't panic")
    }
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deferred").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn states() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("a0_0", column)]).expect("one column")
    }

    #[test]
    fn whoever_asks_they_are_worked_out_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let deferred = Deferred::new(5, 80, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(states())
        });
        assert_eq!((deferred.rows(), deferred.bytes(), calls.load(Ordering::SeqCst)), (5, 80, 0));
        let got: Vec<RecordBatch> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| deferred.clone().get().expect("two rows"))).collect();
            asked.into_iter().map(|asked| asked.join().expect("no panic")).collect()
        });
        assert!(got.iter().all(|rows| *rows == states()));
        assert_eq!((deferred.rows(), calls.load(Ordering::SeqCst)), (2, 1));
        assert_eq!(deferred.bytes(), states().get_array_memory_size());
    }

    #[test]
    fn a_failure_is_told_to_everybody() {
        let failed = || Err(PaneError::Overflow { aggregate: "total".to_owned(), key: "k = 1".to_owned() });
        let deferred = Deferred::new(1, 0, failed);
        let expected = "total overflows its type for k = 1; cast its argument to a wider DECIMAL or to DOUBLE";
        for _ in 0..2 {
            assert_eq!(deferred.get().expect_err("it fails").to_string(), expected);
        }
    }
}
