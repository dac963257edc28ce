//! Durability of local files. Object stores keep what they have acknowledged; a file system keeps what was synced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Makes a local file and its name survive a loss of power: syncs the file, then each folder from its own up to `top`,
/// as the name of a new file or folder is in the folder above, which is a file of its own.
///
/// # Errors
/// When one of them can't be opened or synced; the path is in the error's text.
pub async fn make_durable(file: PathBuf, top: PathBuf) -> io::Result<()> {
    let synced = tokio::task::spawn_blocking(move || sync_up_to(&file, &top)).await;
    synced.expect("syncing neither panics nor is cancelled")
}

fn sync_up_to(file: &Path, top: &Path) -> io::Result<()> {
    for path in file.ancestors() {
        let synced = File::open(path).and_then(|opened| opened.sync_all());
        synced.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        if path == top {
            break;
        }
    }
    Ok(())
}
