//! Orphans: files in a table's folders that nothing refers to any more.
//! Invariant: only files of kinds that tables are made of, and only in the two folders below the table's location, however
//! much its properties put elsewhere: a folder elsewhere may be shared with other tables.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::TryStreamExt;

use super::expiry::collects;
use super::{Held, MaintainError, MaintainOptions};
use crate::event::EventTime;
use crate::iceberg::{Folder, FoundFile, Table, is_mark};
use crate::store::put_name;

/// How old an orphan must be at least. Whoever writes to a table names its files only when it commits, and that may be hours
/// after they were written.
pub const ORPHAN_AGE_MIN: Duration = Duration::from_secs(86_400);

/// Orphans that are shown.
const EXAMPLES_MAX: usize = 3;
/// Files that are removed by one call, as object stores take them.
const REMOVED_MAX: usize = 1_000;

/// Files that nothing refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many there are.
    pub count: u64,
    /// Their size.
    pub bytes: u64,
    /// The first few by their path below the table's location.
    pub examples: BTreeSet<String>,
}

impl Orphans {
    fn add(&mut self, folder: Folder, file: &FoundFile) {
        self.count += 1;
        self.bytes += file.bytes;
        self.examples.insert(format!("{}/{}", folder.name(), file.below));
        if self.examples.len() > EXAMPLES_MAX {
            self.examples.pop_last();
        }
    }
}

/// Removes orphans, or only counts them. `gone`: snapshots that go before.
pub(super) async fn remove(
    table: &Table,
    gone: &BTreeSet<i64>,
    held: &Held,
    options: &MaintainOptions,
    in_use: Option<EventTime>,
) -> Result<Orphans, MaintainError> {
    let mut orphans = Orphans::default();
    // What a backfill reads may have left the table since, and all snapshots of it may be gone.
    if !collects(table) || in_use.is_some() {
        return Ok(orphans);
    }
    let staged: Vec<String> = held.staged.get(table.name()).into_iter().flatten().cloned().collect();
    let mut reach = table.reach(gone, &staged).await?;
    let age = i64::try_from(options.orphan_age.max(ORPHAN_AGE_MIN).as_micros()).unwrap_or(i64::MAX);
    let before = EventTime(options.now.0.saturating_sub(age));
    for folder in Folder::ALL {
        let mut files = table.files_in(folder)?;
        while let Some(file) = files.try_next().await? {
            if !reach.sees(&file.path) && may_go(folder, &file, before) {
                orphans.add(folder, &file);
            }
        }
    }
    if orphans.count > 0 && reach.unseen() > 0 {
        return Err(MaintainError::FilesMissing {
            table: table.name().clone(),
            count: reach.unseen(),
            location: format!("{}/{}", table.location(), Folder::Data.name()),
        });
    }
    if !options.execute || orphans.count == 0 {
        return Ok(orphans);
    }
    // Listed again instead of kept: there may be millions.
    let mut removed = Orphans::default();
    for folder in Folder::ALL {
        let files = table
            .files_in(folder)?
            .try_filter(|file| std::future::ready(!reach.needs(&file.path) && may_go(folder, file, before)));
        let mut files = std::pin::pin!(files.try_chunks(REMOVED_MAX));
        while let Some(files) = files.try_next().await.map_err(|error| error.1)? {
            table.remove_files(folder, &files).await?;
            files.iter().for_each(|file| removed.add(folder, file));
        }
    }
    Ok(removed)
}

/// Whether a file is old enough to go, and of a kind that tables are made of, as their makers name them.
pub(super) fn may_go(folder: Folder, file: &FoundFile, before: EventTime) -> bool {
    let segments: Vec<&str> = file.below.split('/').collect();
    let (name, folders) = segments.split_last().expect("a split has at least one part");
    let name = put_name(name).unwrap_or(name);
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let is_hidden = |segment: &&str| segment.starts_with(['_', '.']) && !segment.contains('=');
    // A namespace may be called as this table is, and a table in it `data`: its folders lie in this one's.
    let is_of_other = folders.first().is_some_and(|first| Folder::ALL.iter().any(|folder| folder.name() == *first));
    let is_ours = match folder {
        Folder::Data => ends(&[".parquet", ".avro", ".orc", ".puffin"]) && !is_of_other,
        Folder::Metadata => {
            is_mark(put_name(&file.below).unwrap_or(&file.below))
                || folders.is_empty() && ends(&[".avro", ".metadata.json", ".metadata.json.gz", ".stats", ".puffin"])
        }
    };
    is_ours && file.modified < before && !segments.iter().any(is_hidden)
}
