//! Job files: parse, validate, plan, explain.

pub mod definition;
pub mod plan;
mod problem;
mod range;

pub use plan::{Aggregate, Insert, Key, Plan, Publish, RangeColumn, ResultColumn, WindowEdge};
pub use problem::{Problem, Problems};
