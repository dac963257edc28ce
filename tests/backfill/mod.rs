//! Backfills beside live runs, in one process: archive, run, backfill, compare. Every way of recomputing a range must give
//! the rows and late records that the live run gave, bit by bit.

mod aggregates;
mod archive;
mod by_data;
mod conflicts;
mod drift;
mod each_record;
mod fidelity;
mod hand_over;
mod history;
mod log;
mod mortal;
mod moved;
mod moves;
mod ranges;
mod rig;
mod ticking;
mod two_streams;
