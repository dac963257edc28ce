//! What people do with the program on a day that counts, from the first command to the last, on the real broker and
//! servers. Each test compares everything that its commands say with one file in `told/`, which reads from top to bottom as
//! the story; what the tables hold is for the independent readers and a plain model to say.
//!
//! `INSTA_UPDATE=always tests/run stories` writes them anew; read the difference before you commit it.

mod bug;
mod first_job;
mod lag;
mod story;
