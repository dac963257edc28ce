//! `INCLUDE 'file.sql';`: the files that a job is made of.
//!
//! Paths are relative to the file that names them; here they are kept relative to the job file's folder. Invariant: a
//! file is taken once, however many others include it, and never while it is itself being read. Reads nothing by itself:
//! texts come from the reader that it is given.

use std::io;

use super::definition::Spanned;
use super::problem::Problem;

/// Gives the text of a file, by its path relative to the job file's folder, with `/` between its parts.
pub type ReadFile<'a> = dyn Fn(&str) -> io::Result<String> + 'a;

/// Where no file is: what a job that includes nothing is read with.
pub(super) fn nowhere(_: &str) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

/// Files that include each other at most: more are a circle that links in the file system hide.
const DEPTH_MAX: usize = 32;

/// One file of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Relative to the job file's folder.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// The files of one job: the job file first, then the included ones in the order in which they were read.
pub(super) struct Sources<'a> {
    read: &'a ReadFile<'a>,
    files: Vec<SourceText>,
    /// Files that are being read, each including the next.
    chain: Vec<usize>,
}

impl<'a> Sources<'a> {
    /// A job whose own file is `path`, with this text.
    pub(super) fn new(path: String, text: &str, read: &'a ReadFile<'a>) -> Sources<'a> {
        Sources { read, files: vec![SourceText { path, text: text.to_owned() }], chain: vec![0] }
    }

    /// The text of a file.
    pub(super) fn text(&self, file: usize) -> &str {
        &self.files[file].text
    }

    /// Reads the file that the innermost file names, and makes it the innermost; `None` if it was taken before.
    pub(super) fn enter(&mut self, written: &Spanned<String>) -> Result<Option<usize>, Problem> {
        let refused = |message: String, help: String| Err(Problem::new(written.span, message, help));
        let innermost = *self.chain.last().expect("the job file is always being read");
        if written.value.trim().is_empty() || written.value.starts_with('/') || written.value.contains('\\') {
            let message = format!("'{}' isn't a path relative to this file", written.value);
            return refused(message, "write INCLUDE 'streams.sql'; or INCLUDE '../streams/clicks.sql';".to_owned());
        }
        let path = joined(&self.files[innermost].path, &written.value);
        if let Some(known) = self.files.iter().position(|file| file.path == path) {
            let Some(place) = self.chain.iter().position(|&file| file == known) else { return Ok(None) };
            let circle = self.chain[place..].iter().chain([&known]).map(|&file| self.files[file].path.as_str());
            let circle: Vec<&str> = circle.collect();
            let message = format!("files include each other in a circle: {}", circle.join(" > "));
            return refused(message, "put what both need into a file of its own, and include that".to_owned());
        }
        if self.chain.len() > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} files include each other in a row");
            return refused(message, "look for a link to a folder above".to_owned());
        }
        let text = match (self.read)(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let help = format!("the path is relative to this file: {path}, seen from the job file, was looked for");
                let help = if path == written.value { "the path is relative to this file".to_owned() } else { help };
                return refused(format!("there is no file '{}'", written.value), help);
            }
            Err(error) => {
                let help = "an included file is a readable UTF-8 text of CREATE STREAM statements".to_owned();
                return refused(format!("'{}' can't be read: {error}", written.value), help);
            }
        };
        self.files.push(SourceText { path, text });
        self.chain.push(self.files.len() - 1);
        Ok(Some(self.files.len() - 1))
    }

    /// The innermost file is read to its end.
    pub(super) fn leave(&mut self) {
        self.chain.pop();
    }

    /// All files, the job file first.
    pub(super) fn into_files(self) -> Vec<SourceText> {
        self.files
    }
}

/// `written`, which stands in the file `from`, relative to what `from` is relative to.
fn joined(from: &str, written: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        for (from, written, path) in [
            ("job.sql", "streams.sql", "streams.sql"),
            ("job.sql", "./shared//streams.sql", "shared/streams.sql"),
            ("shared/streams.sql", "more.sql", "shared/more.sql"),
            ("shared/streams.sql", "../more.sql", "more.sql"),
            ("job.sql", "../../streams.sql", "../../streams.sql"),
            ("../streams/all.sql", "../streams/all.sql", "../streams/all.sql"),
        ] {
            assert_eq!(joined(from, written), path, "{written} in {from}");
        }
    }
}
