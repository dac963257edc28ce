//! Exactly once: whatever dies or is told to stop when, no row is lost and none comes twice.

mod arriving;
mod audit;
mod kills;
mod one_owner;
mod removed_insert;
mod stops;
mod takeovers;
mod watched;

use arriving::{Arriving, Gate};
use watched::Watched;
