//! Job files: parse, validate, plan, explain.

pub mod plan;

pub use plan::{Aggregate, Insert, Key, Plan, Publish, RangeColumn, ResultColumn, WindowEdge};
