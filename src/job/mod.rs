//! Job files: parse, validate, plan, explain.
//!
//! `tokens` and `statement` cut a file, and what it `include`s, into statements; `stream` (with `column`, `column_type`,
//! `face`), `view` and `insert` (with `window_call`, `query_text`) parse one each; `validate` and `tables` judge them; `query` plans; `compile` is all of it.

mod above;
mod column;
mod column_type;
mod columns;
mod compile;
mod declaration;
pub mod definition;
pub mod explain;
mod face;
mod fingerprint;
mod include;
mod insert;
mod interval;
mod names;
mod nested;
pub mod plan;
mod problem;
mod query;
mod query_text;
mod range;
mod render;
mod statement;
mod stream;
mod suggest;
mod tables;
mod tokens;
mod told;
mod validate;
mod view;
mod window_call;

#[cfg(test)]
mod tests;

pub use above::{Above, Running};
pub use compile::{compile, compile_streams, compile_streams_with, compile_with};
pub use declaration::{Declaration, DeclarationError, DeclaredColumn, DeclaredOrigin, Difference, Log};
pub use include::ReadFile;
pub use plan::{
    Aggregate, GroupingSet, Input, Insert, Kept, Key, LateTable, Leg, Plan, Publish, RangeColumn, ResultColumn, Unnest,
};
pub use problem::{Problem, Problems};
pub use query::{plan_computed, plan_insert};
pub use render::{Colour, JobErrors};
