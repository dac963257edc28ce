//! A case through the engine, with checkpoints and restarts as a driver makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use futures::executor::block_on;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Case, Outcome, Record};
use crate::engine::{Engine, EngineOptions, EpochOutput, RestoredPane};
use crate::event::{EventBatch, EventTime, Stream, TIMESTAMP_ZONE};
use crate::state::{LiveFile, StateFiles, decode, encode};

/// How a case is run.
pub(super) struct Options {
    pub(super) workers: usize,
    /// How likely the engine is started anew behind a checkpoint.
    pub(super) restarts: f64,
    /// How likely an epoch ends with a checkpoint.
    pub(super) frozen: f64,
}

pub(super) fn run(case: &Case, options: &Options, random: &mut StdRng) -> Outcome {
    let mut outcome = Outcome::default();
    run_with(case, options, random, &mut |number, happened| {
        if let Happened::Output(output) = happened {
            take(output, number, &mut outcome);
        }
    });
    outcome
}

/// What happens in a step.
pub(super) enum Happened {
    /// Its output.
    Output(EpochOutput),
    /// The engine is started anew behind it.
    Restart,
}

/// Runs a case, and tells what happens in each step.
pub(super) fn run_with(case: &Case, options: &Options, random: &mut StdRng, tell: &mut dyn FnMut(usize, Happened)) {
    let mut files: StateFiles<Vec<u8>> = StateFiles::default();
    let mut engine = start(case, options.workers, Vec::new(), EventTime::MIN);
    let mut closed_below = EventTime::MIN;
    for (number, step) in case.steps.iter().enumerate() {
        for records in step.batches.iter().filter(|records| !records.is_empty()) {
            let records = batch(&case.plan.streams[0], records);
            engine.feed(EventBatch { stream: 0, partition: None, records, closed_below });
        }
        let barrier = random.random_bool(options.frozen);
        engine.close_epoch(step.watermark, barrier);
        let output = block_on(engine.next()).unwrap_or_else(|error| panic!("{error}"));
        keep_files(case, &mut files, &output);
        tell(number, Happened::Output(output));
        closed_below = step.watermark;
        if barrier && random.random_bool(options.restarts) {
            let workers = random.random_range(1..4);
            tell(number, Happened::Restart);
            drop(engine);
            engine = start(case, workers, restored(&files), step.watermark);
            // A new run deals keys out anew and writes all of its state again.
            files = StateFiles::default();
        }
    }
}

fn start(case: &Case, workers: usize, restored: Vec<RestoredPane>, published_below: EventTime) -> Engine {
    let options = EngineOptions {
        workers,
        publish: vec![case.publish],
        restored,
        watermark: published_below,
        published_below: vec![published_below],
        ..EngineOptions::default()
    };
    Engine::start(&case.plan, options).unwrap_or_else(|error| panic!("{error}"))
}

/// As `live::checkpoint` keeps the files of a run.
fn keep_files(case: &Case, files: &mut StateFiles<Vec<u8>>, output: &EpochOutput) {
    let Some(frozen) = &output.frozen else { return };
    let workers: BTreeSet<usize> = frozen.iter().map(|(worker, _)| *worker).collect();
    for worker in workers {
        let panes = || frozen.iter().filter(|(of, _)| *of == worker).map(|(_, pane)| pane);
        files.forget(worker, 0, &panes().filter(|pane| pane.states.is_none()).map(|pane| pane.start).collect());
        let mut content: Vec<(EventTime, RecordBatch)> = Vec::new();
        let mut covers = BTreeMap::new();
        for pane in panes() {
            let Some(states) = &pane.states else { continue };
            content.push((pane.start, states.get().expect("a state")));
            covers.insert(pane.start, pane.covers.clone());
        }
        let file = encode(&content).expect("memory takes it");
        files.add(LiveFile { worker, leg: 0, panes: covers, file });
    }
    let insert = &case.plan.inserts[0];
    files.close(|_, pane| insert.pane_needed_until(&insert.legs[0], pane) <= output.watermark);
}

fn restored(files: &StateFiles<Vec<u8>>) -> Vec<RestoredPane> {
    let mut restored = Vec::new();
    for file in files.live() {
        for (start, rows) in decode(&file.file).expect("it was just written") {
            if file.panes.contains_key(&start) {
                restored.push(RestoredPane { leg: 0, start, rows });
            }
        }
    }
    restored
}

fn take(output: EpochOutput, step: usize, outcome: &mut Outcome) {
    for insert in output.inserts {
        for counts in insert.counts.values() {
            outcome.accepted += counts.accepted;
            outcome.late_for_all += counts.late;
        }
        for rows in insert.results {
            let instants = |column: usize| rows.column(column).as_primitive::<TimestampMicrosecondType>();
            let numbers = |column: usize| rows.column(column).as_primitive::<Int64Type>();
            let keys = rows.column(2).as_primitive::<Int32Type>();
            let sums = rows.column(6).as_primitive::<Float64Type>();
            for row in 0..rows.num_rows() {
                let key = u8::try_from(keys.value(row)).expect("a small key");
                let group = (instants(0).value(row), instants(1).value(row), key);
                let values =
                    (numbers(3).value(row), numbers(4).value(row), numbers(5).value(row), sums.value(row).to_bits());
                let before = outcome.rows.insert(group, (step, values));
                assert_eq!(before, None, "{group:?} came twice");
            }
        }
        for rows in insert.late.into_iter().map(|late| late.rows) {
            let column = |name: &str| rows.column_by_name(name).expect("a column of the late table");
            let small = |name: &str, row: usize| column(name).as_primitive::<Int32Type>().value(row);
            let instant = |name: &str, row: usize| column(name).as_primitive::<TimestampMicrosecondType>().value(row);
            for row in 0..rows.num_rows() {
                let offset = column("_offset").as_primitive::<Int64Type>().value(row);
                let late = (
                    column("reason").as_string::<i32>().value(row).to_owned(),
                    small("windows", row),
                    small("windows_late", row),
                    instant("first_late", row),
                    instant("last_late", row),
                );
                let before = outcome.late.insert((small("_partition", row), offset), late);
                assert_eq!(before, None, "a record is in the late table twice");
            }
        }
    }
}

fn batch(stream: &Stream, records: &[Record]) -> RecordBatch {
    let instants = |instants: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(instants).with_timezone(TIMESTAMP_ZONE))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(records.iter().map(|record| Some(i32::from(record.key))).collect::<Int32Array>()),
        Arc::new(records.iter().map(|record| Some(record.number)).collect::<Int64Array>()),
        Arc::new(records.iter().map(|record| Some(record.double)).collect::<Float64Array>()),
        instants(records.iter().map(|record| Some(record.time)).collect()),
        Arc::new(records.iter().map(|record| record.partition).collect::<Int32Array>()),
        Arc::new(records.iter().map(|record| record.offset).collect::<Int64Array>()),
        instants(vec![None; records.len()]),
        instants(records.iter().map(|record| record.seen).collect()),
    ];
    RecordBatch::try_new(stream.record_schema(), columns).expect("columns fit the schema")
}
