//! State from history: the records of open windows that the log doesn't hold any more go through the engine first.
//! Invariant: nothing closes meanwhile, and no checkpoint is made, so a run that dies here begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;

use super::RunError;
use super::pending::Pending;
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine};
use crate::event::{EventBatch, EventTime, Stream};
use crate::handing::Feed;
use crate::sources::{History, HistoryEvent, HistoryOptions};

/// Feeds the history of one stream, of which `index` is the place in the job; answers how many records each partition
/// had. Late ones come out at once, into `pending`.
pub(super) async fn feed(
    engine: &mut Engine,
    pending: &mut Pending,
    (index, stream): (usize, &Arc<Stream>),
    feed: &Feed,
    epoch_rows: usize,
) -> Result<BTreeMap<i32, u64>, RunError> {
    let options = HistoryOptions {
        range: feed.times.clone(),
        columns: (0..stream.record_schema().fields().len()).collect(),
        readers: 1,
        unseen: false,
        anew: feed.anew.clone(),
    };
    let mut history = History::open(&feed.table, stream, options).await?;
    let mut taken = BTreeMap::new();
    let mut ended = false;
    while !(ended && engine.in_flight() == 0) {
        let may_take = !ended && (engine.rows_open() < epoch_rows || engine.in_flight() < EPOCHS_IN_FLIGHT_MAX);
        tokio::select! {
            biased;
            output = engine.next(), if engine.in_flight() > 0 => pending.take(output?),
            event = history.next(), if may_take => match event {
                Some(HistoryEvent::Records(records)) => {
                    for (partition, records) in by_partition(stream, &records) {
                        *taken.entry(partition).or_default() += records.num_rows() as u64;
                        let closed_below = EventTime::MIN;
                        engine.feed(EventBatch { stream: index, partition: Some(partition), records, closed_below });
                    }
                }
                Some(HistoryEvent::FileRead(_)) => {}
                Some(HistoryEvent::Failed(error)) => return Err(error.into()),
                None => ended = true,
            }
        }
        let is_full = engine.rows_open() >= epoch_rows || (ended && engine.rows_open() > 0);
        if is_full && engine.in_flight() < EPOCHS_IN_FLIGHT_MAX {
            engine.close_epoch(EventTime::MIN, false);
        }
    }
    Ok(taken)
}

/// The records of each partition, in their order.
fn by_partition(stream: &Stream, records: &RecordBatch) -> Vec<(i32, RecordBatch)> {
    let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>().values();
    let mut distinct: Vec<i32> = partitions.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if let [partition] = distinct[..] {
        return vec![(partition, records.clone())];
    }
    let of = |partition: i32| {
        let mask = BooleanBuffer::collect_bool(partitions.len(), |row| partitions[row] == partition);
        filter_record_batch(records, &BooleanArray::new(mask, None)).expect("the mask is as long as the batch")
    };
    distinct.into_iter().map(|partition| (partition, of(partition))).collect()
}
