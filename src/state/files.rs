//! Which state files a checkpoint needs: those that still hold something of an open window.
//! Invariant: for each open pane, the listed files hold each of its rows exactly once; rows set aside that others of them say to
//! be gone ([`crate::windows::Gone`]) are none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::event::EventTime;

/// A state file that a checkpoint needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile<F> {
    /// The worker whose keys it holds; a new run deals keys out anew, so numbers of different runs don't mix.
    pub worker: usize,
    /// Number of the leg.
    pub leg: usize,
    /// The panes in it that count, by their starts: others in it are closed, or were written again since. With the freezes of
    /// the pane on its worker whose changes it holds ([`crate::engine::FrozenPane::covers`]).
    pub panes: BTreeMap<EventTime, Range<u64>>,
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
    /// Adds a file. It takes the place of what the same worker wrote at the freezes that it holds.
    pub fn add(&mut self, added: LiveFile<F>) {
        for file in self.of_worker(added.worker, added.leg) {
            file.panes.retain(|pane, held| added.panes.get(pane).is_none_or(|now| !is_within(held, now)));
        }
        self.live.push(added);
        self.drop_empty();
    }

    /// Forgets what a worker wrote of panes.
    pub fn forget(&mut self, worker: usize, leg: usize, panes: &BTreeSet<EventTime>) {
        for file in self.of_worker(worker, leg) {
            file.panes.retain(|pane, _| !panes.contains(pane));
        }
        self.drop_empty();
    }

    /// Forgets the panes of windows that are closed.
    pub fn close(&mut self, is_closed: impl Fn(usize, EventTime) -> bool) {
        for file in &mut self.live {
            let leg = file.leg;
            file.panes.retain(|&start, _| !is_closed(leg, start));
        }
        self.drop_empty();
    }

    /// The files that are needed now.
    pub fn live(&self) -> &[LiveFile<F>] {
        &self.live
    }

    fn of_worker(&mut self, worker: usize, leg: usize) -> impl Iterator<Item = &mut LiveFile<F>> {
        self.live.iter_mut().filter(move |file| file.worker == worker && file.leg == leg)
    }

    fn drop_empty(&mut self) {
        self.live.retain(|file| !file.panes.is_empty());
    }
}

fn is_within(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panes by start, with the freezes that are in it.
    fn file(worker: usize, panes: &[(i64, Range<u64>)], name: &'static str) -> LiveFile<&'static str> {
        let panes = panes.iter().map(|(start, covers)| (EventTime(*start), covers.clone()));
        LiveFile { worker, leg: 0, panes: panes.collect(), file: name }
    }

    /// The files, each with the panes in it that count.
    fn listed(files: &StateFiles<&'static str>) -> Vec<(&'static str, Vec<i64>)> {
        files.live().iter().map(|file| (file.file, file.panes.keys().map(|start| start.0).collect())).collect()
    }

    #[test]
    fn a_pane_written_as_a_whole_replaces_what_its_own_worker_wrote() {
        let mut files = StateFiles::default();
        files.add(file(0, &[(1, 0..1), (2, 0..1)], "a"));
        files.add(file(1, &[(1, 0..1)], "b"));
        files.add(file(0, &[(1, 0..2)], "c"));
        assert_eq!(listed(&files), [("a", vec![2]), ("b", vec![1]), ("c", vec![1])]);
    }

    #[test]
    fn freezes_put_together_replace_those_and_no_others() {
        let mut files = StateFiles::default();
        files.add(file(0, &[(1, 0..1), (2, 0..1)], "a"));
        files.add(file(0, &[(1, 1..2), (2, 1..2)], "b"));
        files.add(file(0, &[(1, 2..3)], "c"));
        files.add(file(0, &[(1, 1..4), (2, 2..3)], "d"));
        assert_eq!(listed(&files), [("a", vec![1, 2]), ("b", vec![2]), ("d", vec![1, 2])]);
    }

    #[test]
    fn a_pane_that_is_gone_and_begins_anew_is_only_what_came_since() {
        let mut files = StateFiles::default();
        files.add(file(0, &[(1, 0..1)], "a"));
        files.add(file(0, &[(1, 1..2)], "b"));
        files.forget(0, 0, &BTreeSet::from([EventTime(1)]));
        files.add(file(0, &[(1, 0..1)], "c"));
        assert_eq!(listed(&files), [("c", vec![1])]);
    }

    #[test]
    fn a_file_goes_when_its_last_window_is_closed() {
        let mut files = StateFiles::default();
        files.add(file(0, &[(1, 0..1), (2, 0..1)], "a"));
        files.close(|_, start| start <= EventTime(1));
        assert_eq!(listed(&files), [("a", vec![2])]);
        files.close(|_, start| start <= EventTime(2));
        assert!(files.live().is_empty());
    }
}
