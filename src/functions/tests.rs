//! Tests of the aggregates.
