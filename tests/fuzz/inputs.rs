//! What each fuzz target does with the bytes that it is given: whatever they are, they are taken or refused, and nothing
//! panics. What is taken holds what its reader promises.

use std::fmt::Debug;
use std::sync::LazyLock;

use kappa::checkpoints::{BeginRecord, Manifest, Savepoint, checksum_text};
use kappa::cli::start::{StartArgument, UntilArgument};
use kappa::cli::time::TimeArgument;
use kappa::config::DurationText;
use kappa::decode::{Decoder, RawBatch, RawRecord};
use kappa::event::{EventTime, ResumeOffset, Stream};
use serde_json::Value;

/// What is done with some bytes.
pub type Target = fn(&[u8]);

/// The targets by name; each has a folder in `corpus`.
pub const ALL: [(&str, Target); 5] =
    [("job", job), ("json", json), ("manifest", manifest), ("savepoint", savepoint), ("time", time)];

/// 2026-11-21T08:00:00Z.
const NOW: EventTime = EventTime(1_795_248_000_000_000);

/// A column of every type, and the ways to one.
const STREAM: &str = "\
CREATE STREAM s (
  t TIMESTAMP NOT NULL, b BOOLEAN, i INT, n BIGINT, f FLOAT, d DOUBLE, m DECIMAL(20, 4), s STRING, u UUID, y BYTES, e DATE,
  l ARRAY<BIGINT>, r STRUCT<a BIGINT, b STRING>, p STRING FROM 'r.b',
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
) LIVE FROM KAFKA 'topic' FORMAT JSON;";

/// A job file: it compiles, or each problem has a place in it.
pub fn job(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(errors) = kappa::job::compile("fuzzed", text) {
        assert!(!errors.to_string().is_empty());
    }
}

/// Messages, one a line: each is a row or a reject.
pub fn json(bytes: &[u8]) {
    static DECLARED: LazyLock<Stream> = LazyLock::new(|| {
        let mut streams = kappa::job::compile_streams("fuzzed", STREAM).expect("the declaration is right");
        Stream::clone(&streams.remove(0))
    });
    let mut decoder = Decoder::new(&DECLARED).expect("the declaration is right");
    let mut batch = RawBatch::new(0, decoder.inputs());
    for (offset, value) in (0..).zip(bytes.split(|byte| *byte == b'\n')) {
        batch.push(RawRecord { offset, timestamp: Some(NOW.0), value }, []);
    }
    let decoded = decoder.decode(&batch, ResumeOffset(batch.len() as i64));
    assert_eq!(decoded.records.num_rows() + decoded.rejects.len(), batch.len());
}

/// A manifest, or the record of a start.
pub fn manifest(bytes: &[u8]) {
    is_read_back(bytes, Manifest::decode, Manifest::encode);
    is_read_back(bytes, BeginRecord::decode, BeginRecord::encode);
}

/// A savepoint's description. Its files are read when their checksums fit, and not before.
pub fn savepoint(bytes: &[u8]) {
    is_read_back(bytes, Savepoint::decode, Savepoint::encode);
}

/// A time as an argument or in a message.
pub fn time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(time) = text.parse::<TimeArgument>() {
        time.note(NOW);
        assert!(is_in_calendar(time.resolve(NOW)), "{time:?}");
    }
    if let Ok(micros) = kappa::decode::instant(text) {
        assert!(is_in_calendar(EventTime(micros)), "{micros}");
    }
    let _: Result<DurationText, _> = text.parse();
    let _: Result<StartArgument, _> = text.parse();
    let _: Result<UntilArgument, _> = text.parse();
}

/// Whether there are such numbers in a document. We write none, and our reader of JSON takes some of them for a neighbour.
fn has_floats(bytes: &[u8]) -> bool {
    fn is_in(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(values) => values.iter().any(is_in),
            Value::Object(values) => values.values().any(is_in),
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        }
    }
    serde_json::from_slice(bytes).is_ok_and(|value| is_in(&value))
}

fn is_in_calendar(time: EventTime) -> bool {
    (EventTime::EARLIEST..=EventTime::LATEST).contains(&time)
}

/// What can be read of the bytes, as they are in the store and with a checksum that fits, is written and read again the same.
fn is_read_back<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, E>,
    encode: fn(&T) -> Vec<u8>,
) {
    let is_kept = !has_floats(bytes);
    for bytes in [bytes.to_vec(), sealed(bytes)] {
        if let Ok(read) = decode(&bytes) {
            let again = decode(&encode(&read)).expect("just written");
            assert!(again == read || !is_kept, "{read:#?} is read back as {again:#?}");
        }
    }
}

/// As a store would have it, were these the bytes that somebody wrote.
fn sealed(content: &[u8]) -> Vec<u8> {
    let seal = format!("\n{{\"xxh3_128\":\"{}\"}}\n", checksum_text(content));
    [content, seal.as_bytes()].concat()
}
