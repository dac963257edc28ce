//! Buckets, catalogs on servers, and credentials: whole jobs on all of them, and what is said when one of them refuses.

mod everything;
mod refused;
