//! JSON records: a parser of our own that writes straight into the columns of the stream.
//!
//! Owns JSON's grammar (RFC 8259, no extensions) and which JSON value fits which declared type. Invariant: every byte of a
//! record is checked, also those of fields that nobody declared. Its own parser, because a generic one hides what the
//! rules need: the digits of a number as they are written, equal keys, and where a bad value begins and ends.
//!
//! Works on UTF-8 that the caller has checked: eight bytes at a time through strings and digits, and keys are compared
//! with those of the records before, at the same place in the object.

mod cursor;
mod record;
mod rest;
mod value;

pub(super) use cursor::{Cursor, Fault};
pub(super) use record::{Origins, RecordFault, RecordReader, excerpt};
pub(super) use rest::RestReader;
pub(super) use value::read_value;
