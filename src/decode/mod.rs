//! Decoding: from a message's bytes to the columns that its stream declares.
//!
//! Owns which bytes are a record and which are a reject, and why; the same for every source. Invariant: a record is
//! taken whole or rejected whole, and a bad one changes nothing about the others of its batch. Pure: no I/O, no clock;
//! the same bytes give the same columns, however they are cut into batches.
//!
//! Every declared column is checked, whether a query uses it or not: a record must not be good for one job and bad for
//! another over the same history.

mod column;
mod computed;
mod csv;
mod decoder;
mod json;
mod number;
mod raw;
mod rest;
mod table;

mod text;
mod timestamp;

pub use csv::csv_quote_open;
pub use decoder::{Decoder, DecoderError, decode};
pub use raw::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RawBatch, RawRecord, SideInputs};
pub use rest::Widener;
pub use table::TableDecoder;
pub use timestamp::instant;

#[cfg(test)]
mod tests;
