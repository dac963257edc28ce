//! Object stores: from the text of a location and the `[store]` settings to a store that files are put into.
//!
//! Warehouse, table locations and `state.location` all come through here, so folder and bucket have the same rules and
//! the same messages. Invariant: every call on a network ends within named bounds, and its error names bucket, key, cause
//! and way out, and no secret. Never decides what is stored, never caches content.

mod ca;
mod cut_off;
mod durable;
mod explained;
mod failure;
mod listing;
mod location;
mod open;
mod s3;
#[cfg(test)]
pub(crate) mod testing;

pub use ca::read_ca;
pub use cut_off::{CutOff, cut_off_puts, put_name, remove_cut_off_puts};
pub use durable::make_durable;
pub use failure::{CallError, Cause, NO_TLS, StoreFailure, failure_in};
pub use location::{LocationError, check_location};
pub use open::{Located, Place, Stores};
pub use s3::{CA_BUNDLE, KEYS};
