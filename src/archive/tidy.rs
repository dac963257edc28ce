//! Tidying up: when the watermark has passed a partition of history, its small files become few large ones.
//! Invariant: same rows; a failure leaves the partition as it was, to be tried again.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use crate::event::{EventTime, PartitionField, Stream, TableName, Transform};
use crate::iceberg::{CompactOptions, PartitionRange, compact};
use crate::sinks::{Publisher, layout};

/// Arrow bytes that are sorted at once. Larger partitions get several files, each sorted.
const MEMORY_BYTES: usize = 64 << 20;

/// Which partitions have got rows and are not tidied up yet.
#[derive(Debug)]
pub(super) struct Tidy {
    history: TableName,
    field: PartitionField,
    event_time: usize,
    sort: Vec<String>,
    touched: BTreeSet<EventTime>,
}

impl Tidy {
    pub(super) fn new(stream: &Stream, history: &TableName) -> Tidy {
        let spec = layout::history(stream);
        Tidy {
            history: history.clone(),
            field: spec.partitions[0].clone(),
            event_time: stream.event_time,
            sort: spec.sort,
            touched: BTreeSet::new(),
        }
    }

    fn transform(&self) -> Transform {
        self.field.transform
    }

    /// Notes which partitions get rows.
    pub(super) fn saw(&mut self, records: &[RecordBatch]) {
        for batch in records {
            let times = batch.column(self.event_time).as_primitive::<TimestampMicrosecondType>();
            let mut last = None;
            for &time in times.values() {
                let edge = self.transform().floor(EventTime(time));
                if last != Some(edge) {
                    self.touched.insert(edge);
                    last = Some(edge);
                }
            }
        }
    }

    /// Compacts every touched partition that ends at or before the watermark.
    pub(super) async fn up_to(&mut self, publisher: &Publisher, watermark: EventTime) {
        while let Some(&from) = self.touched.first() {
            let to = self.transform().next_edge(from);
            if to > watermark {
                return;
            }
            let range = PartitionRange { field: self.field.clone(), from, to };
            let options =
                CompactOptions { sort: self.sort.clone(), memory_bytes: MEMORY_BYTES, ..CompactOptions::default() };
            let rewritten = compact(publisher.catalog(), &self.history, &range, &options).await;
            match rewritten {
                Ok(None) => {}
                Ok(Some(change)) => {
                    if let Err(error) = publisher.replace(change).await {
                        tracing::warn!(%error, history = %self.history, "a partition was not compacted");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, history = %self.history, "a partition was not compacted");
                }
            }
            self.touched.remove(&from);
        }
    }
}
