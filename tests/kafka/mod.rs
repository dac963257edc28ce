//! Jobs on the real broker, from the topic to what independent readers find in the tables.

mod behind_watermark;
mod broken_messages;
mod drift;
mod flights;
mod groups;
mod hours;
mod keyed_rejects;
mod readers;
mod resets;
mod retention;
mod security;
mod source;
mod starts;
