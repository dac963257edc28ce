//! Puts that were cut off: a process that dies while it puts a local file leaves `name#1` where `name` was to be, which the store
//! hides from its listings, and won't remove. Buckets have no such files.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::event::EventTime;

/// What a put has left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutOff {
    /// The local file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: EventTime,
}

/// All below a local folder, sorted; none if there is no such folder.
///
/// # Errors
/// When a folder can't be read.
pub async fn cut_off_puts(folder: PathBuf) -> Result<Vec<CutOff>> {
    let found = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        look(&folder, &mut found)?;
        found.sort();
        Ok(found)
    });
    found.await.expect("looking neither panics nor is cancelled")
}

/// Removes them for good, and the two folders above that are empty then; those that are gone already are fine.
///
/// # Errors
/// When one can't be removed; the path is in the error's text.
pub async fn remove_cut_off_puts(files: &[CutOff]) -> Result<()> {
    for CutOff { path, .. } in files {
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(named(path, &error)),
            _ => {}
        }
        // It alone may have kept its folder, and that the one above.
        for folder in path.ancestors().skip(1).take(2) {
            if tokio::fs::remove_dir(folder).await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// What a put was to write, if `name` is that of what it has left.
pub fn put_name(name: &str) -> Option<&str> {
    let (put, attempt) = name.split_once('#')?;
    (!attempt.is_empty() && attempt.bytes().all(|byte| byte.is_ascii_digit())).then_some(put)
}

fn look(folder: &Path, found: &mut Vec<CutOff>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| named(folder, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| named(folder, &error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| named(&path, &error))?;
        if kind.is_dir() {
            look(&path, found)?;
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(|name| put_name(name).is_some()) {
            // One that is gone has become a file, or was removed.
            let Ok(file) = entry.metadata() else { continue };
            let modified =
                file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            let modified = EventTime(i64::try_from(modified.as_micros()).unwrap_or(i64::MAX));
            found.push(CutOff { path, bytes: file.len(), modified });
        }
    }
    Ok(())
}

fn named(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;

    use super::*;

    #[tokio::test]
    async fn what_the_store_hides_is_found_and_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(cut_off_puts(folder.path().join("none")).await.expect("none"), []);
        let names = ["a.parquet", "a.parquet#1", "x=1/b.avro#12", "x=1/c#d", "y/d#", "y/e#1x"];
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "12").expect("written");
        }
        let found = cut_off_puts(folder.path().to_owned()).await.expect("found");
        let paths: Vec<&Path> =
            found.iter().map(|file| file.path.strip_prefix(folder.path()).expect("below")).collect();
        assert_eq!(paths, [Path::new("a.parquet#1"), Path::new("x=1/b.avro#12")]);
        assert!(found.iter().all(|file| file.bytes == 2 && file.modified > EventTime(0)), "{found:?}");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("a store");
        let hidden = object_store::path::Path::parse("a.parquet#1").expect("a path");
        assert!(store.delete(&hidden).await.is_err(), "else this module isn't needed");
        for _ in 0..2 {
            remove_cut_off_puts(&found).await.expect("removed");
        }
        assert_eq!(cut_off_puts(folder.path().to_owned()).await.expect("found"), []);
        assert!(["a.parquet", "x=1/c#d", "y/d#", "y/e#1x"].iter().all(|name| folder.path().join(name).exists()));
    }
}
