//! Jobs on the real broker, from the topic to what independent readers find in the tables.

mod behind_watermark;
mod broken_messages;
mod deployed;
mod drift;
mod flights;
mod groups;
mod hand_over;
pub mod hours;
mod keyed_rejects;
mod leaders;
mod made_anew;
mod outage;
mod readers;
mod resets;
mod retention;
mod savepoints;
mod security;
mod source;
mod stamped;
mod start_messages;
mod starts;
