//! A lane: one thread that polls a source, judges what it gives by time, and hands it on.
//! Invariants: a partition stays in one lane, so `seen` follows its offsets; nothing at or behind a partition's limit is
//! handed on, positions neither; a full channel stops the polling, which is how back-pressure reaches the log. A lane
//! that ends early says so: a source that is silent is never taken for a quiet one.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Source, SourceError, SourceEvent};
use crate::event::{Decoded, EventTime, Reject, ResumeOffset, Stream};
use crate::time::{Judged, judge};

/// How long a lane waits for records before it looks whether it should stop.
const POLL_WAIT: Duration = Duration::from_millis(100);

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
    /// Bytes of all of them as they came.
    pub bytes: u64,
    /// The log's timestamp of the last good record.
    pub logged: Option<EventTime>,
}

/// What the driver wants of a lane and the lane hasn't done yet. The newest order of a partition stands, so there are no
/// more of them than partitions, and the driver never waits for a lane that waits for the driver.
#[derive(Debug, Default)]
struct Orders {
    assign: BTreeMap<i32, ResumeOffset>,
    paused: BTreeMap<i32, bool>,
}

fn lock(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    // Orders are plain maps: a thread that died while it held them has left them whole.
    orders.lock().unwrap_or_else(PoisonError::into_inner)
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
    orders: Arc<Mutex<Orders>>,
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
        let orders = Arc::new(Mutex::new(Orders::default()));
        let stop = CancellationToken::new();
        let mut polling = Polling {
            stream: stream.clone(),
            source,
            options,
            events,
            orders: orders.clone(),
            stop: stop.clone(),
            beyond: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("lane-{}", stream.name))
            .spawn(move || polling.run_to_the_end())
            .expect("the system gives a thread");
        Lane { orders, stop, thread: Some(thread) }
    }

    /// Adds a partition that was found while running. Never waits.
    pub fn assign(&self, partition: i32, from: ResumeOffset) {
        lock(&self.orders).assign.insert(partition, from);
    }

    /// Holds a partition that runs ahead of the others in event time, or lets it go on. Never waits; records that are
    /// under way still come.
    pub fn set_paused(&self, partition: i32, paused: bool) {
        lock(&self.orders).paused.insert(partition, paused);
    }

    /// Tells the thread to end at its next poll, without waiting for it.
    pub fn cancel(&self) {
        self.stop.cancel();
    }
}

impl Drop for Lane {
    /// Waits for the thread: at most one poll, and what the client needs to close.
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
    orders: Arc<Mutex<Orders>>,
    stop: CancellationToken,
    /// Partitions whose log goes on behind their limit: paused for good.
    beyond: BTreeSet<i32>,
}

impl Polling {
    /// As [`Polling::run`]; a panic becomes the lane's last word.
    fn run_to_the_end(&mut self) {
        // Nothing of the lane is used afterwards but its channel.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            self.hand_on(LaneEvent::Failed(SourceError::Stopped { stream: self.stream.name.clone(), message }));
        }
    }

    fn run(&mut self) {
        while !self.stop.is_cancelled() {
            let polled = self.obey().and_then(|()| self.source.poll(POLL_WAIT));
            let event = match polled.and_then(|event| self.event(event)) {
                Ok(None) => continue,
                Ok(Some(event)) => event,
                Err(error) => LaneEvent::Failed(error),
            };
            let last = matches!(event, LaneEvent::Ended { .. } | LaneEvent::Failed(_));
            if !self.hand_on(event) || last {
                return;
            }
        }
    }

    /// What the driver is told of something that the source said.
    fn event(&mut self, event: SourceEvent) -> Result<Option<LaneEvent>, SourceError> {
        let stream = self.options.stream;
        Ok(match event {
            SourceEvent::Idle => None,
            SourceEvent::Ended => Some(LaneEvent::Ended { stream }),
            SourceEvent::Records(decoded) => self.below_limit(decoded)?.map(|decoded| self.judge(decoded)),
            SourceEvent::AtEnd { partition, .. } if self.beyond.contains(&partition) => None,
            SourceEvent::AtEnd { partition, offset } => {
                // Between the limit and the end stand no records, or they would have come first.
                let limit = self.options.limits.get(&partition).copied().unwrap_or(offset);
                Some(LaneEvent::AtEnd { stream, partition, offset: offset.min(limit) })
            }
        })
    }

    /// The part of some records that lies below the partition's limit. What lies behind it is for a later run, so the
    /// partition is not read on.
    fn below_limit(&mut self, decoded: Decoded) -> Result<Option<Decoded>, SourceError> {
        match self.options.limits.get(&decoded.partition) {
            Some(&limit) if decoded.next_offset > limit => {
                if !self.beyond.insert(decoded.partition) {
                    return Ok(None);
                }
                self.source.set_paused(decoded.partition, true)?;
                Ok(Some(cut(&self.stream, decoded, limit)))
            }
            _ => Ok(Some(decoded)),
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
        let Orders { assign, paused } = std::mem::take(&mut *lock(&self.orders));
        for (partition, from) in assign {
            self.source.assign(partition, from)?;
        }
        for (partition, paused) in paused {
            if !self.beyond.contains(&partition) {
                self.source.set_paused(partition, paused)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, decoded: Decoded) -> LaneEvent {
        let partition = decoded.partition;
        let logged = last_timestamp(&self.stream, &decoded.records);
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
            bytes: decoded.bytes,
            logged,
        })
    }
}

fn last_timestamp(stream: &Stream, records: &RecordBatch) -> Option<EventTime> {
    let stamps = records.column(stream.timestamp_index()).as_primitive::<TimestampMicrosecondType>();
    let last = records.num_rows().checked_sub(1)?;
    stamps.is_valid(last).then(|| EventTime(stamps.value(last)))
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
