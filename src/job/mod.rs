//! Job files: parse, validate, plan, explain.

pub mod definition;
pub mod plan;
mod columns;
mod problem;
mod range;
mod query;

pub use plan::{Aggregate, Insert, Key, Plan, Publish, RangeColumn, ResultColumn, WindowEdge};
pub use problem::{Problem, Problems};
pub use query::{plan_computed, plan_insert};
