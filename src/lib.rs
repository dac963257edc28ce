//! `kappa`: a replayable stream processor.
//!
//! One SQL job file runs live from Kafka offsets or as a backfill over Iceberg history, and publishes windowed
//! results to Iceberg tables, whole windows and whole partitions, exactly once.
//!
//! Modules stand bottom-up: each uses only those above it in this file (a test checks it).

// Vocabulary.
pub mod event;
pub mod secret;

// Where tests end a process; nothing of it is in what users build.
pub mod kill_point;

// Meaning: pure, no I/O, no async.
pub mod time;
pub mod functions;
pub mod windows;
pub mod state;
pub mod start;
pub mod ownership;

// From a job file to a plan.
pub mod job;

// What a process is short of, and what fails around it.
pub mod memory;
pub mod vitals;

// Edges: they know no engine.
pub mod store;
pub mod checkpoints;
pub mod decode;
pub mod iceberg;
pub mod sources;
pub mod sinks;

// What a driver shows of itself.
pub mod standing;

// The engine: the only user of timely.
pub mod engine;

// Drivers: what a command does.
pub mod restarts;
pub mod handing;
pub mod reposition;
pub mod live;
pub mod archive;
pub mod offsets;
pub mod status;
pub mod recompute;
pub mod backfill;
pub mod diff;
pub mod maintain;
pub mod preflight;

// Surfaces.
pub mod config;
pub mod metrics;
pub mod server;

// Whole stories on embedded parts.
pub mod demo;
pub mod fixture;

pub mod cli;
