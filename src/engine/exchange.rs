//! Which worker keeps which keys, and how prepared rows get there.
//! Invariant: a key's hash depends on its value alone, not on the worker count or the batch it came in.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion_common::hash_utils::{RandomState, create_hashes};
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;

use super::container::Rows;

/// Key groups of the whole key space; a worker keeps every n-th.
const KEY_GROUPS: u64 = 256;

/// Seed of the key hash. Hashes are never stored: a restored pane is dealt out anew by its keys.
const HASH_SEED: u64 = 0x006b_6170_7061;

/// Deals rows out to workers by the hash of their key columns.
pub(super) struct ByKey {
    /// For each leg, which columns of its rows say whose they are; `None`: they stay on the worker that they are on.
    keys: Vec<Option<std::ops::Range<usize>>>,
    hashes: Vec<u64>,
    rows_of: Vec<Vec<u32>>,
}

/// The exchange between preparing and keeping.
pub(super) fn by_key(keys: Vec<Option<std::ops::Range<usize>>>) -> DistributorPact<impl FnOnce(usize) -> ByKey> {
    DistributorPact(move |peers| ByKey { keys, hashes: Vec::new(), rows_of: vec![Vec::new(); peers] })
}

/// The rows of `batch` whose keys belong to worker `index` of `peers`.
pub(super) fn rows_of_worker(
    batch: &RecordBatch,
    keys: &[ArrayRef],
    index: usize,
    peers: usize,
) -> Result<RecordBatch, datafusion_common::DataFusionError> {
    let mut hashes = vec![0; batch.num_rows()];
    hash_keys(keys, &mut hashes)?;
    let mine = hashes.iter().enumerate().filter(|&(_, &hash)| worker_of(hash, peers) == index);
    let rows = UInt32Array::from_iter_values(mine.map(|(row, _)| row as u32));
    Ok(take_record_batch(batch, &rows)?)
}

fn hash_keys(keys: &[ArrayRef], hashes: &mut [u64]) -> Result<(), datafusion_common::DataFusionError> {
    if !keys.is_empty() {
        create_hashes(keys, &RandomState::with_seed(HASH_SEED), hashes)?;
    }
    Ok(())
}

fn worker_of(hash: u64, peers: usize) -> usize {
    // The high bits choose the key group: the low ones choose the bucket inside the worker's own hash table.
    ((hash >> 56) % KEY_GROUPS) as usize % peers
}

impl Distributor<Rows> for ByKey {
    fn partition<T: Clone, P: Push<Message<T, Rows>>>(&mut self, container: &mut Rows, time: &T, pushers: &mut [P]) {
        let Some(batch) = container.rows.take() else { return };
        let Some(keys) = self.keys[container.leg].clone() else {
            let own = &mut pushers[container.from];
            Message::push_at(&mut Rows::new(container.leg, container.from, batch), time.clone(), own);
            return;
        };
        let keys: Vec<ArrayRef> = batch.columns()[keys].to_vec();
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        hash_keys(&keys, &mut self.hashes).expect("planning admits only key types that hash");
        for rows in &mut self.rows_of {
            rows.clear();
        }
        for (row, &hash) in self.hashes.iter().enumerate() {
            self.rows_of[worker_of(hash, pushers.len())].push(row as u32);
        }
        for (worker, rows) in self.rows_of.iter_mut().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let share = if rows.len() == batch.num_rows() {
                batch.clone()
            } else {
                take_record_batch(&batch, &UInt32Array::from(std::mem::take(rows))).expect("row numbers are in range")
            };
            Message::push_at(&mut Rows::new(container.leg, container.from, share), time.clone(), &mut pushers[worker]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Rows>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}
