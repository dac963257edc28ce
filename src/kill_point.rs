//! Kill points: places in the work where a test ends the process, as a crash would.
//! Invariant: without the feature `failpoints` of crate `fail`, which `Cargo.toml` switches on for tests only, a call is
//! empty and the environment is not read: nothing of a kill point is in what users build.
//!
//! A test starts `kappa` with `FAILPOINTS=before_barrier=2*off->return`: the process aborts when it gets to that point for
//! the third time. Nothing is flushed, closed or released.

/// Where a process can be ended. Names are in [`KillPoint::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPoint {
    /// K1: records are taken, and the barrier of a checkpoint is about to be sent.
    BeforeBarrier,
    /// K2: the source has cut its flow, and a worker has the barrier; the driver has its output from none.
    BetweenBarriers,
    /// K3: a state file is written in part.
    InStateFile,
    /// K4: a result file is written, and no manifest names it or those beside it.
    ResultFilesUploading,
    /// K5: all files of a checkpoint are written, its manifest is not.
    FilesWritten,
    /// K6: the manifest is written, and no commit is sent.
    ManifestWritten,
    /// K7: the catalog has taken a commit, and nobody has looked at its answer.
    CommitUnanswered,
    /// K8: a table has the checkpoint, another one of its tables has not.
    BetweenTables,
    /// K9: all tables have the checkpoint, and the logs aren't told how far.
    BeforeGroupOffsets,
    /// K10: a start has claimed the store, and not all of its tables.
    StoreClaimed,
    /// K11: some of the files of old checkpoints are removed, others are not.
    Collecting,
    /// K12: a start finishes what the run before has left.
    Recovering,
    /// K13: workers take up the state of a checkpoint, which may be of another number of workers.
    Rescaling,
    /// K14: a backfill replaces a range: before its commit, between result and late rows, or before these.
    InRangeOverwrite,
    /// K15: small files are rewritten into large ones, before or after the commit.
    InCompaction,
}

impl KillPoint {
    /// All of them, by the names under which tests set them.
    pub const ALL: [(KillPoint, &str); 15] = [
        (KillPoint::BeforeBarrier, "before_barrier"),
        (KillPoint::BetweenBarriers, "between_barriers"),
        (KillPoint::InStateFile, "in_state_file"),
        (KillPoint::ResultFilesUploading, "result_files_uploading"),
        (KillPoint::FilesWritten, "files_written"),
        (KillPoint::ManifestWritten, "manifest_written"),
        (KillPoint::CommitUnanswered, "commit_unanswered"),
        (KillPoint::BetweenTables, "between_tables"),
        (KillPoint::BeforeGroupOffsets, "before_group_offsets"),
        (KillPoint::StoreClaimed, "store_claimed"),
        (KillPoint::Collecting, "collecting"),
        (KillPoint::Recovering, "recovering"),
        (KillPoint::Rescaling, "rescaling"),
        (KillPoint::InRangeOverwrite, "in_range_overwrite"),
        (KillPoint::InCompaction, "in_compaction"),
    ];

    /// Ends the process if a test wants it to end here.
    #[inline]
    pub fn reach(self) {
        if self.is_last() {
            self.end_process();
        }
    }

    /// As [`KillPoint::reach`], but whoever asks calls [`KillPoint::end_process`] himself, when he has left what a process
    /// that ends in the middle would leave.
    #[inline]
    #[must_use]
    pub fn is_last(self) -> bool {
        fail::fail_point!(self.name(), |_| true);
        false
    }

    /// Aborts: no destructor runs, and nothing is released.
    pub fn end_process(self) -> ! {
        eprintln!("killed at {}", self.name());
        std::process::abort()
    }

    fn name(self) -> &'static str {
        KillPoint::ALL[self as usize].1
    }
}

/// Whether kill points are built in at all.
const BUILT_IN: bool = fail::has_failpoints();

/// Takes from the environment at which point the process is to end. What is returned is held until its end.
#[must_use]
pub fn armed() -> impl Sized {
    BUILT_IN.then(fail::FailScenario::setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_stands_at_its_own_number() {
        for (index, (point, name)) in KillPoint::ALL.into_iter().enumerate() {
            assert_eq!((point as usize, point.name()), (index, name));
        }
    }
}
