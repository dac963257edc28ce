//! What has come out of the engine and waits for the next checkpoint.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::record_batch::RecordBatch;

use super::replacing::Replaced;
use crate::engine::{Counts, EpochOutput, FrozenPane, WindowRows};
use crate::event::EventTime;

/// Rows that may wait for a checkpoint before the logs are not read on: an outage of store or catalog must not fill
/// the memory. At 50 bytes a row, some 200 MB.
pub(super) const PENDING_ROWS_MAX: usize = 4_000_000;

/// Outputs of the epochs since the last barrier.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// For each INSERT, rows of closed windows.
    pub(super) results: Vec<Vec<RecordBatch>>,
    /// For each INSERT, what tells rows that later ones take the place of.
    pub(super) replaced: Vec<Vec<Replaced>>,
    /// For each INSERT, windows that may come again, as they are now, by their marks.
    pub(super) windows: Vec<BTreeMap<EventTime, WindowRows>>,
    /// For each INSERT and stream, rows for its late table.
    pub(super) late: Vec<BTreeMap<usize, Vec<RecordBatch>>>,
    /// For each INSERT and partition, what became of the records.
    pub(super) counts: Vec<BTreeMap<i32, Counts>>,
    /// For each INSERT, before which time no open window begins ([`crate::engine::OpenWindows::opens_from`]), as of the last
    /// epoch; where that says nothing, the least.
    pub(super) opens_from: Vec<EventTime>,
    /// State that changed, at the barrier.
    pub(super) frozen: Vec<(usize, FrozenPane)>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    pub(super) fn new(inserts: usize) -> Pending {
        Pending {
            results: vec![Vec::new(); inserts],
            replaced: vec![Vec::new(); inserts],
            windows: vec![BTreeMap::new(); inserts],
            late: vec![BTreeMap::new(); inserts],
            counts: vec![BTreeMap::new(); inserts],
            opens_from: vec![EventTime::MIN; inserts],
            frozen: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes the output of one epoch.
    pub(super) fn take(&mut self, output: EpochOutput) {
        for (index, insert) in output.inserts.into_iter().enumerate() {
            self.opens_from[index] = insert.open.opens_from.unwrap_or(EventTime::MIN);
            insert.results.iter().for_each(|rows| self.came(rows));
            insert.late.iter().for_each(|late| self.came(&late.rows));
            let before = self.results[index].len();
            let replaced = insert.replaced.into_iter().map(|told_by| Replaced { told_by, before });
            self.replaced[index].extend(replaced);
            self.results[index].extend(insert.results);
            for window in insert.windows {
                self.take_window(index, window);
            }
            for late in insert.late {
                self.late[index].entry(late.stream).or_default().push(late.rows);
            }
            for (partition, counts) in insert.counts {
                let partition = partition.expect("a log's batch is of one partition");
                let total = self.counts[index].entry(partition).or_default();
                total.accepted += counts.accepted;
                total.late += counts.late;
            }
        }
        self.frozen.extend(output.frozen.unwrap_or_default());
    }

    fn take_window(&mut self, index: usize, mut window: WindowRows) {
        self.came(&window.rows);
        let place = self.windows[index].entry(window.mark);
        // What this checkpoint would have published of it is replaced before anybody sees it.
        if let Entry::Occupied(before) = &place {
            window.again = before.get().again;
            self.rows -= before.get().rows.num_rows();
            self.bytes -= before.get().rows.get_array_memory_size();
        }
        place.insert_entry(window);
    }

    fn came(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
    }

    /// Rows of results and late tables in here.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of them, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
