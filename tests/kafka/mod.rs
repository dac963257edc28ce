//! Jobs on the real broker, from the topic to what independent readers find in the tables.

mod broken_messages;
mod drift;
mod flights;
mod readers;
