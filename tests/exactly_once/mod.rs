//! Exactly once: whatever dies when, no row is lost and none comes twice.

mod kills;
