//! A command that makes checkpoints, and what its state folder and its table tell of them from outside.

use std::collections::BTreeSet;
use std::path::Path;

use super::Arriving;
use super::arriving::{JOB, JOB_NAME};
use crate::support::catalog;
use crate::support::process::{Finished, Running};

/// Generation and number of a manifest.
pub type ManifestId = (u64, u64);

/// One of the two commands that make checkpoints.
pub struct Watched<'a> {
    arriving: &'a Arriving,
    command: &'static str,
    /// Under which it keeps its state and commits to its tables.
    owner: String,
    /// A table that every checkpoint commits to.
    table: String,
    /// What ends the log for it.
    to_the_end: &'static [&'static str],
}

impl<'a> Watched<'a> {
    /// `kappa run`.
    pub fn run(arriving: &'a Arriving) -> Watched<'a> {
        let (owner, table) = (JOB_NAME.to_owned(), arriving.table("result"));
        Watched { arriving, command: "run", owner, table, to_the_end: &["--until", "end", "--drain"] }
    }

    /// `kappa archive`.
    pub fn archive(arriving: &'a Arriving) -> Watched<'a> {
        let table = arriving.table("history");
        let owner = format!("archive-{table}");
        Watched { arriving, command: "archive", owner, table, to_the_end: &["--until", "end"] }
    }

    /// Starts the command, with JSON for a report.
    pub fn start(&self) -> Running {
        self.arriving.project.start(&[self.command, JOB, "--json"])
    }

    /// Runs the command to the end of the log, where nothing is left open.
    #[track_caller]
    pub fn finish(&self) -> Finished {
        self.arriving.project.kappa(&[&[self.command, JOB, "--json"], self.to_the_end].concat()).ok()
    }

    /// Every manifest; number 0 says only what a generation continues.
    pub fn manifests(&self) -> BTreeSet<ManifestId> {
        let state = self.arriving.project.path().join(".kappa/state").join(&self.owner);
        let mut found = BTreeSet::new();
        for (generation, folder) in numbered(&state) {
            let json = numbered(&folder).into_iter().filter(|(_, path)| path.extension().is_some());
            found.extend(json.map(|(number, _)| (generation, number)));
        }
        found
    }

    /// The newest manifest that says what to publish.
    pub fn newest(&self) -> Option<ManifestId> {
        self.manifests().into_iter().filter(|(_, number)| *number > 0).max()
    }

    /// The newest checkpoint that the table has.
    pub fn committed(&self) -> Option<ManifestId> {
        let properties = catalog::properties(&self.arriving.project, &self.table)?;
        let (generation, number) = properties.get(&format!("kappa.{}.checkpoint", self.owner))?.split_once('/')?;
        Some((generation.parse().expect("a number"), number.parse().expect("a number")))
    }
}

/// What in a folder has a number for a name, file endings aside; nothing if there is no such folder.
fn numbered(folder: &Path) -> Vec<(u64, std::path::PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("folder is readable").path());
    paths.filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path))).collect()
}
