//! A lane: one thread that polls a source, judges what it gives by time, and hands it on.
//! Invariant: a partition stays in one lane, so `seen` follows its offsets; a full channel stops the polling, which is
//! how back-pressure reaches the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Source, SourceError, SourceEvent};
use crate::event::{Decoded, EventTime, Reject, ResumeOffset, Stream};
use crate::time::{Judged, judge};

/// How long a lane waits for records before it looks whether it should stop.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Orders that may wait for one lane; the driver sends one a partition at most.
const ORDERS_MAX: usize = 1_024;

/// What a lane tells the driver.
#[derive(Debug)]
pub enum LaneEvent {
    /// Consecutive records of one partition, judged by time.
    Records(LaneRecords),
    /// The partition stands at the end of its log, as a fetch just confirmed.
    AtEnd {
        /// Index of the stream in the job.
        stream: usize,
        /// The partition.
        partition: i32,
        /// The end.
        offset: ResumeOffset,
    },
    /// A bounded source has given all it has.
    Ended {
        /// Index of the stream in the job.
        stream: usize,
    },
    /// The source can't go on. Nothing follows.
    Failed(SourceError),
}

/// Consecutive records of one partition, judged by time.
#[derive(Debug)]
pub struct LaneRecords {
    /// Index of the stream in the job.
    pub stream: usize,
    /// The partition of all records.
    pub partition: i32,
    /// First offset not covered.
    pub next_offset: ResumeOffset,
    /// Greatest event time of the partition so far.
    pub seen: Option<EventTime>,
    /// The good records, laid out as [`Stream::record_schema`], `_seen` filled.
    pub records: RecordBatch,
    /// True for records beyond MAX FUTURE; `None` when there are none.
    pub future: Option<BooleanArray>,
    /// The bad records.
    pub rejects: Vec<Reject>,
}

/// What the driver tells a lane.
#[derive(Clone, Copy, Debug)]
enum Order {
    Assign(i32, ResumeOffset),
    Pause(i32, bool),
}

/// How a lane is started.
#[derive(Debug)]
pub struct LaneOptions {
    /// Index of the stream in the job.
    pub stream: usize,
    /// Greatest event time so far of each partition, from a checkpoint.
    pub seen: BTreeMap<i32, EventTime>,
    /// Offsets at which partitions end for this run; records there and behind are not handed on.
    pub limits: BTreeMap<i32, ResumeOffset>,
}

/// A running lane. Dropping it stops the thread at its next poll.
#[derive(Debug)]
pub struct Lane {
    orders: crossbeam_channel::Sender<Order>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts a thread that polls `source` and sends what it gives to `events`.
    pub fn spawn(
        stream: &Arc<Stream>,
        source: Box<dyn Source>,
        options: LaneOptions,
        events: mpsc::Sender<LaneEvent>,
    ) -> Lane {
        let (orders, incoming) = crossbeam_channel::bounded(ORDERS_MAX);
        let stop = CancellationToken::new();
        let mut polling =
            Polling { stream: stream.clone(), source, options, events, orders: incoming, stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name(format!("lane-{}", stream.name))
            .spawn(move || polling.run())
            .expect("the system gives a thread");
        Lane { orders, stop, thread: Some(thread) }
    }

    /// Adds a partition that was found while running.
    pub fn assign(&self, partition: i32, from: ResumeOffset) {
        self.order(Order::Assign(partition, from));
    }

    /// Holds a partition that runs ahead of the others in event time, or lets it go on.
    pub fn set_paused(&self, partition: i32, paused: bool) {
        self.order(Order::Pause(partition, paused));
    }

    fn order(&self, order: Order) {
        // A lane that has ended has nobody to order about; its last event says why it ended.
        if self.orders.send(order).is_err() {
            tracing::debug!(?order, "a lane had ended before an order came");
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a source's thread panicked");
        }
    }
}

struct Polling {
    stream: Arc<Stream>,
    source: Box<dyn Source>,
    options: LaneOptions,
    events: mpsc::Sender<LaneEvent>,
    orders: crossbeam_channel::Receiver<Order>,
    stop: CancellationToken,
}

impl Polling {
    fn run(&mut self) {
        while !self.stop.is_cancelled() {
            let event = match self.obey().and_then(|()| self.source.poll(POLL_WAIT)) {
                Ok(SourceEvent::Idle) => continue,
                Ok(SourceEvent::Records(decoded)) => self.judge(decoded),
                Ok(SourceEvent::AtEnd { partition, offset }) => {
                    LaneEvent::AtEnd { stream: self.options.stream, partition, offset }
                }
                Ok(SourceEvent::Ended) => LaneEvent::Ended { stream: self.options.stream },
                Err(error) => LaneEvent::Failed(error),
            };
            let last = matches!(event, LaneEvent::Ended { .. } | LaneEvent::Failed(_));
            if !self.hand_on(event) || last {
                return;
            }
        }
    }

    /// Sends an event, waiting for room; false when the driver is gone or the lane is stopped meanwhile.
    fn hand_on(&self, event: LaneEvent) -> bool {
        let sent = async {
            tokio::select! {
                sent = self.events.send(event) => sent.is_ok(),
                () = self.stop.cancelled() => false,
            }
        };
        futures::executor::block_on(sent)
    }

    fn obey(&mut self) -> Result<(), SourceError> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Assign(partition, from) => self.source.assign(partition, from)?,
                Order::Pause(partition, paused) => self.source.set_paused(partition, paused)?,
            }
        }
        Ok(())
    }

    fn judge(&mut self, decoded: Decoded) -> LaneEvent {
        let partition = decoded.partition;
        let decoded = match self.options.limits.get(&partition) {
            Some(&limit) if decoded.next_offset > limit => cut(&self.stream, decoded, limit),
            _ => decoded,
        };
        let mut seen = self.options.seen.get(&partition).copied();
        let Judged { records, future } = judge(&self.stream, decoded.records, &mut seen);
        if let Some(seen) = seen {
            self.options.seen.insert(partition, seen);
        }
        LaneEvent::Records(LaneRecords {
            stream: self.options.stream,
            partition,
            next_offset: decoded.next_offset,
            seen,
            records,
            future,
            rejects: decoded.rejects,
        })
    }
}

/// What of `decoded` lies below `limit`.
fn cut(stream: &Stream, mut decoded: Decoded, limit: ResumeOffset) -> Decoded {
    let offsets = decoded.records.column(stream.offset_index()).as_primitive::<Int64Type>();
    let rows = offsets.values().partition_point(|&offset| offset < limit.0);
    decoded.records = decoded.records.slice(0, rows);
    decoded.rejects.retain(|reject| reject.offset < limit.0);
    decoded.next_offset = limit;
    decoded
}
