//! What a worker holds for a key of an open window: the engine with one worker, one window, and as many keys as are asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use kappa::engine::{Engine, EngineOptions};
use kappa::event::{EventBatch, EventTime, TIMESTAMP_ZONE};
use kappa::job::{Plan, compile};
use kappa::windows::PublishRange;

use crate::events::HOUR_START_MS;

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

/// Resident bytes of this process once a window with `keys` keys is open. Each key comes twice, so that its state is whole.
pub fn measure(keys: u64) -> u64 {
    let plan = Arc::new(compile("held", JOB).expect("the job is right"));
    let options = EngineOptions { workers: 1, publish: vec![PublishRange::ALL], ..EngineOptions::default() };
    let mut engine = Engine::start(&plan, options).expect("the job can be set up");
    for _ in 0..2 {
        for first in (0..keys).step_by(BATCH_ROWS as usize) {
            let records = records(&plan, first..(first + BATCH_ROWS).min(keys));
            engine.feed(EventBatch { stream: 0, partition: Some(0), records, closed_below: EventTime::MIN });
            engine.close_epoch(EventTime::MIN, false);
            futures::executor::block_on(engine.next()).expect("nothing fails");
        }
    }
    resident()
}

fn records(plan: &Plan, numbers: std::ops::Range<u64>) -> RecordBatch {
    let rows = (numbers.end - numbers.start) as usize;
    let time: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_value(HOUR_START_MS * 1_000, rows).with_timezone(TIMESTAMP_ZONE));
    let offsets = Int64Array::from_iter_values(numbers.clone().map(|number| number as i64));
    let columns: Vec<ArrayRef> = vec![
        Arc::clone(&time),
        Arc::new(StringArray::from_iter_values(numbers.map(|number| format!("key-{number:07}")))),
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
