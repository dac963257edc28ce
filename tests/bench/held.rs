//! What a worker holds for a key of an open window, and what a checkpoint of it costs: the engine with one worker, one
//! window, and as many keys as are asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use kappa::engine::{Engine, EngineOptions, EpochOutput};
use kappa::event::{EventBatch, EventTime, TIMESTAMP_ZONE};
use kappa::job::{Plan, compile};
use kappa::windows::{Deferred, PublishRange};

use crate::events::HOUR_START_MS;
use crate::usage::Stopwatch;

/// Keys of the smaller and of the greater measurement.
pub const KEYS: [u64; 2] = [10_000, 1_000_000];
/// Bytes of a key's text.
pub const KEY_BYTES: usize = 11;

const BATCH_ROWS: u64 = 50_000;
const JOB: &str = "
CREATE STREAM events (ts TIMESTAMP NOT NULL, key TEXT NOT NULL, value BIGINT, WATERMARK FOR ts)
LIVE FROM KAFKA 'events' FORMAT JSON;
INSERT INTO ICEBERG 'bench.held'
SELECT window_start, window_end, key, count(*) AS events, sum(value) AS total, avg(value) AS mean
FROM   TUMBLE(events, ts, INTERVAL '1 hour')
GROUP  BY window_start, window_end, key;
";

/// Keys whose records come between two checkpoints: one in a hundred.
const CHANGED: u64 = KEYS[1] / 100;
const CHECKPOINTS: u64 = 200;

/// Resident bytes of this process once a window with `keys` keys is open. Each key comes twice, so that its state is whole.
pub fn measure(keys: u64) -> u64 {
    let _open = Held::open(keys);
    resident()
}

/// What a checkpoint of a window with a million keys costs when one in a hundred has changed.
pub struct Checkpoints {
    /// How long no records are taken, in seconds: the 99th percentile.
    pub pause: f64,
    /// Keys that are written, of all, on average.
    pub written: f64,
}

/// Takes checkpoints one after the other, each behind records of other keys; another thread works out their states, as the
/// writer of a run does.
pub fn checkpoints() -> Checkpoints {
    let mut held = Held::open(KEYS[1]);
    let (states, written) = std::sync::mpsc::channel::<Vec<Deferred>>();
    let writer = std::thread::spawn(move || -> usize {
        let rows = |states: Deferred| states.get().expect("nothing fails").num_rows();
        let mut each = written.into_iter().map(|panes| panes.into_iter().map(rows).sum::<usize>());
        // The first brings all keys.
        each.next();
        each.sum()
    });
    let mut pauses = Vec::new();
    for checkpoint in 0..=CHECKPOINTS {
        if checkpoint > 0 {
            // A stride that is no divisor of the keys, from another place each time.
            held.feed((0..CHANGED).map(|number| (checkpoint * 7_919 + number * 101) % KEYS[1]));
        }
        let stopwatch = Stopwatch::start();
        let output = held.close(true);
        pauses.push(stopwatch.stop().wall.as_secs_f64());
        let frozen = output.frozen.expect("there was a barrier").into_iter();
        states.send(frozen.filter_map(|(_, pane)| pane.states).collect()).expect("the writer is there");
    }
    drop(states);
    let written = writer.join().expect("it counts") as f64 / (CHECKPOINTS * KEYS[1]) as f64;
    pauses.remove(0);
    pauses.sort_by(f64::total_cmp);
    Checkpoints { pause: pauses[pauses.len() * 99 / 100], written }
}

/// An engine of one worker with one window open.
struct Held {
    plan: Arc<Plan>,
    engine: Engine,
}

impl Held {
    fn open(keys: u64) -> Held {
        let plan = Arc::new(compile("held", JOB).expect("the job is right"));
        let options = EngineOptions { workers: 1, publish: vec![PublishRange::ALL], ..EngineOptions::default() };
        let engine = Engine::start(&plan, options).expect("the job can be set up");
        let mut held = Held { plan, engine };
        for _ in 0..2 {
            for first in (0..keys).step_by(BATCH_ROWS as usize) {
                held.feed(first..(first + BATCH_ROWS).min(keys));
            }
        }
        held
    }

    /// Takes a record of each key.
    fn feed(&mut self, keys: impl Iterator<Item = u64> + Clone) {
        let records = records(&self.plan, keys);
        self.engine.feed(EventBatch { stream: 0, partition: Some(0), records, closed_below: EventTime::MIN });
        self.close(false);
    }

    fn close(&mut self, barrier: bool) -> EpochOutput {
        self.engine.close_epoch(EventTime::MIN, barrier);
        futures::executor::block_on(self.engine.next()).expect("nothing fails")
    }
}

fn records(plan: &Plan, keys: impl Iterator<Item = u64> + Clone) -> RecordBatch {
    let offsets = Int64Array::from_iter_values(keys.clone().map(|key| key as i64));
    let rows = offsets.len();
    let time: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_value(HOUR_START_MS * 1_000, rows).with_timezone(TIMESTAMP_ZONE));
    let columns: Vec<ArrayRef> = vec![
        Arc::clone(&time),
        Arc::new(StringArray::from_iter_values(keys.map(|key| format!("key-{key:07}")))),
        Arc::new(offsets.clone()),
        Arc::new(Int32Array::from_value(0, rows)),
        Arc::new(offsets),
        Arc::clone(&time),
        time,
    ];
    RecordBatch::try_new(plan.streams[0].record_schema(), columns).expect("the columns of a record")
}

/// Bytes of memory that this process has, as the kernel counts them.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel says it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("among other things");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a number") * 1_024
}
