//! Which state files a checkpoint needs: those that still hold something of an open window.
//! Invariant: for each open pane, the listed files hold each of its rows exactly once.

use std::collections::BTreeSet;

use crate::event::EventTime;

/// A state file that a checkpoint needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile<F> {
    /// The worker whose keys it holds; a new run deals keys out anew, so numbers of different runs don't mix.
    pub worker: usize,
    /// Number of the leg.
    pub leg: usize,
    /// Starts of the windows in it that count: others in it are closed, or were written again as a whole.
    pub panes: BTreeSet<EventTime>,
    /// What tells the file.
    pub file: F,
}

/// The state files of a running job.
#[derive(Clone, Debug)]
pub struct StateFiles<F> {
    live: Vec<LiveFile<F>>,
}

impl<F> Default for StateFiles<F> {
    fn default() -> Self {
        StateFiles { live: Vec::new() }
    }
}

impl<F: Clone> StateFiles<F> {
    /// Adds a file. Panes in `whole` replace what the same worker wrote of them before.
    pub fn add(&mut self, added: LiveFile<F>, whole: &BTreeSet<EventTime>) {
        self.forget(added.worker, added.leg, whole);
        self.live.push(added);
        self.drop_empty();
    }

    /// Forgets what a worker wrote of panes.
    pub fn forget(&mut self, worker: usize, leg: usize, panes: &BTreeSet<EventTime>) {
        for file in self.live.iter_mut().filter(|file| file.worker == worker && file.leg == leg) {
            file.panes.retain(|pane| !panes.contains(pane));
        }
        self.drop_empty();
    }

    /// Forgets the panes of windows that are closed.
    pub fn close(&mut self, is_closed: impl Fn(usize, EventTime) -> bool) {
        for file in &mut self.live {
            let leg = file.leg;
            file.panes.retain(|&start| !is_closed(leg, start));
        }
        self.drop_empty();
    }

    /// The files that are needed now.
    pub fn live(&self) -> &[LiveFile<F>] {
        &self.live
    }

    fn drop_empty(&mut self) {
        self.live.retain(|file| !file.panes.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(worker: usize, panes: &[i64], name: &'static str) -> LiveFile<&'static str> {
        LiveFile { worker, leg: 0, panes: panes.iter().copied().map(EventTime).collect(), file: name }
    }

    fn names(files: &StateFiles<&'static str>) -> Vec<&'static str> {
        files.live().iter().map(|file| file.file).collect()
    }

    #[test]
    fn a_pane_written_as_a_whole_replaces_what_its_own_worker_wrote() {
        let mut files = StateFiles::default();
        files.add(file(0, &[1, 2], "a"), &BTreeSet::new());
        files.add(file(1, &[1], "b"), &BTreeSet::new());
        files.add(file(0, &[1], "c"), &BTreeSet::from([EventTime(1)]));
        assert_eq!(names(&files), ["a", "b", "c"]);
        assert_eq!(files.live()[0].panes, BTreeSet::from([EventTime(2)]));
        assert_eq!(files.live()[1].panes, BTreeSet::from([EventTime(1)]));
    }

    #[test]
    fn a_file_goes_when_its_last_window_is_closed() {
        let mut files = StateFiles::default();
        files.add(file(0, &[1, 2], "a"), &BTreeSet::new());
        files.close(|_, start| start <= EventTime(1));
        assert_eq!(names(&files), ["a"]);
        files.close(|_, start| start <= EventTime(2));
        assert!(names(&files).is_empty());
    }
}
