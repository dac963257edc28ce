//! Jobs on the real broker, from the topic to what independent readers find in the tables.

mod behind_watermark;
mod broken_messages;
mod drift;
mod flights;
pub mod hours;
mod readers;
mod resets;
mod retention;
mod security;
mod source;
mod starts;
