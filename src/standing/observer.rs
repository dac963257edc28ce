//! Fills in the numbers across the attempts of one driver, and shows them to whoever watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{LastCheckpoint, LogSpan, Phase, Standing, StreamStanding, TableStanding};
use crate::checkpoints::{Claim, PartitionProgress, StreamProgress};
use crate::event::{EventTime, Stream, TableName};
use crate::sources::{Ends, Logs};
use crate::time::clock::Clock;
use crate::vitals::Vitals;

/// How often a driver shows how it stands: fluent on a terminal, and no load.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// What one attempt has read of a stream, beside its progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Bytes of messages.
    pub bytes: u64,
    /// For each partition, the log's timestamp of the newest record.
    pub logged: BTreeMap<i32, EventTime>,
}

/// Watches one driver.
pub struct Observer<'a> {
    watch: &'a (dyn Fn(&Standing) + Sync),
    clock: Arc<dyn Clock>,
    vitals: Vitals,
    logs: Arc<dyn Logs>,
    streams: Vec<Arc<Stream>>,
    /// From the first attempt that reads on.
    ends: Option<Ends>,
    standing: Standing,
    /// For each stream and partition, records taken and rejected before this process.
    before: BTreeMap<(usize, i32), (u64, u64)>,
    /// For each stream, bytes read by attempts before this one.
    bytes_before: Vec<u64>,
    attempts: u64,
    shown: Option<Duration>,
    committed: Option<Duration>,
    writing: Option<Duration>,
    owed: Option<Duration>,
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl<'a> Observer<'a> {
    /// Of a driver that begins now. The logs of its streams are asked for their ends as soon as it reads them.
    pub fn new(
        standing: Standing,
        logs: (&Arc<dyn Logs>, &[Arc<Stream>]),
        clock: &Arc<dyn Clock>,
        watch: &'a (dyn Fn(&Standing) + Sync),
    ) -> Observer<'a> {
        let (logs, streams) = logs;
        Observer {
            watch,
            clock: clock.clone(),
            logs: logs.clone(),
            streams: streams.to_vec(),
            ends: None,
            vitals: Vitals::new(clock),
            standing,
            before: BTreeMap::new(),
            bytes_before: vec![0; streams.len()],
            attempts: 0,
            shown: None,
            committed: None,
            writing: None,
            owed: None,
        }
    }

    /// Where the edges tell what fails.
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// The numbers, to be filled in by the driver.
    pub fn standing(&mut self) -> &mut Standing {
        &mut self.standing
    }

    /// Another process is at work, and its end is waited for. Shown at once, and no more after that.
    pub fn waits_for(&mut self, claim: &Claim) {
        self.standing.phase = Phase::Waiting;
        self.standing.waits_for = Some(claim.clone());
        self.show();
        self.standing.waits_for = None;
    }

    /// An attempt begins, with streams where a checkpoint left them.
    pub fn attempt(&mut self, streams: &[StreamProgress]) {
        self.ends.get_or_insert_with(|| Ends::ask(&self.logs, &self.streams, &self.vitals));
        self.attempts += 1;
        for (index, partitions) in streams.iter().enumerate() {
            self.bytes_before[index] = self.standing.streams[index].bytes;
            if self.attempts == 1 {
                let counts = partitions.iter().map(|(&partition, at)| ((index, partition), (at.taken, at.rejected)));
                self.before.extend(counts);
            }
        }
        self.standing.restarts = self.attempts - 1;
        self.writing = None;
        self.owed = None;
        // What an attempt was repeating when it died is nobody's any more.
        self.vitals.forget();
    }

    /// How far a stream is taken.
    pub fn stream(&mut self, index: usize, progress: &StreamProgress, read: &Read) {
        let end = self.ends.as_ref().map(|ends| ends.of(index)).unwrap_or_default();
        let standing = &mut self.standing.streams[index];
        standing.bytes = self.bytes_before[index] + read.bytes;
        for (&partition, at) in progress {
            let PartitionProgress { next_offset, seen, taken, rejected } = *at;
            let before = self.before.get(&(index, partition)).copied().unwrap_or_default();
            let shown = standing.partitions.entry(partition).or_default();
            // What a failed attempt had taken is taken again: it counts when it is more.
            shown.taken = shown.taken.max(taken.saturating_sub(before.0));
            shown.rejected = shown.rejected.max(rejected.saturating_sub(before.1));
            shown.position = next_offset;
            shown.seen = seen;
            shown.logged = read.logged.get(&partition).copied().or(shown.logged);
            shown.log = end.partitions.get(&partition).map(|facts| LogSpan { low: facts.low, high: facts.high });
            shown.retention = end.retention;
        }
    }

    /// A checkpoint is being written from now on.
    pub fn checkpoint_begun(&mut self) {
        self.writing = Some(self.clock.elapsed());
    }

    /// It is committed, with files of so many bytes.
    pub fn checkpoint_written(&mut self, bytes: u64, watermark: EventTime) {
        let now = self.clock.elapsed();
        let took = now.saturating_sub(self.writing.take().unwrap_or(now));
        self.committed = Some(now);
        self.standing.frontier = watermark;
        let checkpoints = &mut self.standing.checkpoints;
        checkpoints.count += 1;
        checkpoints.spent += took;
        checkpoints.bytes += bytes;
        checkpoints.last = Some(LastCheckpoint { ago: Duration::ZERO, took, bytes });
    }

    /// So many epochs are in flight; `brought`: one has just come out.
    pub fn epochs(&mut self, in_flight: usize, brought: bool) {
        self.standing.epochs_in_flight = in_flight;
        if in_flight == 0 {
            self.owed = None;
        } else if brought || self.owed.is_none() {
            self.owed = Some(self.clock.elapsed());
        }
    }

    /// Whether it is time to fill in the numbers and show them.
    pub fn is_due(&self) -> bool {
        self.shown.is_none_or(|shown| self.clock.elapsed() >= shown + SHOW_INTERVAL)
    }

    /// Does something that takes its time before or after the reading, and shows meanwhile that the driver is alive.
    pub async fn showing<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut tick = tokio::time::interval(SHOW_INTERVAL);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => self.show(),
            }
        }
    }

    /// Shows the numbers as they are filled in.
    pub fn show(&mut self) {
        let now = self.clock.elapsed();
        self.shown = Some(now);
        let since = |then: Option<Duration>| then.map(|then| now.saturating_sub(then));
        let standing = &mut self.standing;
        standing.now = self.clock.now();
        standing.commits = self.vitals.commits();
        standing.outages = self.vitals.outages();
        standing.epoch_owed = since(self.owed).unwrap_or_default();
        standing.checkpoints.under_way = since(self.writing);
        if let (Some(last), Some(ago)) = (&mut standing.checkpoints.last, since(self.committed)) {
            last.ago = ago;
        }
        (self.watch)(standing);
    }
}

impl Standing {
    /// Of a driver that has just begun on these streams and tables.
    pub fn begun(owner: &str, streams: &[Arc<Stream>], tables: &[TableName]) -> Standing {
        let stream = |stream: &Arc<Stream>| StreamStanding { name: stream.name.clone(), ..StreamStanding::default() };
        Standing {
            streams: streams.iter().map(stream).collect(),
            tables: tables.iter().cloned().map(TableStanding::of).collect(),
            ..Standing::of(owner)
        }
    }
}
