//! `kappa`: a replayable stream processor.
//!
//! One SQL job file runs live from Kafka offsets or as a backfill over Iceberg history, and publishes windowed
//! results to Iceberg tables, whole windows and whole partitions, exactly once.
//!
//! Modules stand bottom-up: each uses only those above it in this file (a test checks it).

// Vocabulary.
pub mod event;

// Meaning: pure, no I/O, no async.
pub mod time;
pub mod functions;
pub mod windows;
pub mod state;
pub mod start;
pub mod ownership;

// Edges: know no engine.
pub mod iceberg;

// Edges: know no engine.
pub mod decode;
pub mod sources;

// From a job file to a plan.
pub mod job;

// Edges: they know no engine.
pub mod checkpoints;

// The engine: the only user of timely.
pub mod engine;

// Surfaces.
pub mod cli;
pub mod config;
