//! The demo: the whole story on embedded parts.

pub mod requests;
