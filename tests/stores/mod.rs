//! Buckets, catalogs on servers, and credentials: whole jobs on all of them, what is said when one of them refuses, what a
//! look at them finds beforehand, and that none of what they hand out is shown.

mod canary;
mod clicks;
mod connect;
mod everything;
mod faulty;
mod refused;
mod secured;
