//! L2, one of two: Arrow's JSON decoder on the events' bytes. The other is DuckDB's `read_json`, in `duckdb_bench.py`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::usage::{Cost, Stopwatch};

/// Rows a batch, as everywhere in the program.
pub const BATCH_ROWS: usize = 8_192;
/// Bytes that are given to the decoder at a time; reading them isn't measured.
const CHUNK_BYTES: usize = 8 << 20;

/// Columns of the job, as JSON has them.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Int64, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, true),
    ]))
}

/// Decodes the lines of `input`.
pub fn measure(input: &Path, count: u64) -> Cost {
    let mut file = File::open(input).expect("the events are there");
    let mut decoder = arrow_json::ReaderBuilder::new(schema()).with_batch_size(BATCH_ROWS).build_decoder();
    let decoder = decoder.as_mut().expect("the schema is one of JSON");
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut cost = Cost::default();
    let mut rows = 0;
    loop {
        let length = file.read(&mut chunk).expect("the events can be read");
        let stopwatch = Stopwatch::start();
        let mut rest = &chunk[..length];
        // A decoder that takes less than it was given is full; at the end it is emptied, full or not.
        loop {
            rest = &rest[decoder.decode(rest).expect("events are JSON")..];
            if !rest.is_empty() || length == 0 {
                let batch = decoder.flush().expect("events fit the schema");
                rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
            }
            if rest.is_empty() {
                break;
            }
        }
        let piece = stopwatch.stop();
        cost.cpu += piece.cpu;
        cost.wall += piece.wall;
        if length == 0 {
            break;
        }
    }
    assert_eq!(rows, count, "every line is a row");
    cost
}
