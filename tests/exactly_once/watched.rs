//! A command that makes checkpoints, and what its state folder and its table tell of them from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kappa::checkpoints::Manifest;

use super::Arriving;
use super::arriving::{JOB, JOB_NAME};
use crate::support::catalog;
use crate::support::process::{Finished, Running};
use crate::support::python::Table;

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

    /// Of the command.
    pub fn name(&self) -> &'static str {
        self.command
    }

    /// Starts the command, with JSON for a report.
    pub fn start(&self) -> Running {
        self.start_with(&[], &[])
    }

    /// As [`Watched::start`], with more arguments and environment variables.
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let arguments = [&[self.command, JOB, "--json"], arguments].concat();
        self.arriving.project.start_with(&arguments, environment)
    }

    /// Runs the command to the end of the log, where nothing is left open.
    #[track_caller]
    pub fn finish(&self) -> Finished {
        self.arriving.project.kappa(&[&[self.command, JOB, "--json"], self.to_the_end].concat()).ok()
    }

    /// The tables that it commits to, without their namespace.
    pub fn tables(&self) -> &'static [&'static str] {
        match self.command {
            "run" => &["result", "result_late", "result_rejects"],
            _ => &["history", "history_rejects"],
        }
    }

    /// Every manifest; number 0 says only what a generation continues.
    pub fn manifests(&self) -> BTreeSet<ManifestId> {
        let mut found = BTreeSet::new();
        for (generation, folder) in numbered(&self.state()) {
            // A put that was cut off leaves `.json#1`.
            let is_whole = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
            let json = numbered(&folder).into_iter().filter(|(_, path)| is_whole(path));
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
        properties.get(&format!("kappa.{}.checkpoint", self.owner)).map(|text| manifest_id(text))
    }

    /// How far the one stream is in a table, by partition, as the table says itself: nowhere if it has no checkpoint.
    pub fn taken(&self, table: &Table) -> BTreeMap<i32, i64> {
        let Some(text) = table.properties.get(&format!("kappa.{}.offsets", self.owner)) else { return BTreeMap::new() };
        let offsets: BTreeMap<String, BTreeMap<i32, i64>> = serde_json::from_str(text).expect("offsets");
        offsets.into_iter().next().expect("one stream").1
    }

    /// Asserts that a table says of its offsets what the newest checkpoint says that was committed to it, and that no
    /// checkpoint passed it over: all but the newest one are committed, and that one too when the work has `ended`.
    pub fn audit_offsets(&self, table: &Table, name: &str, ended: bool) {
        let Some(committed) = table.properties.get(&format!("kappa.{}.checkpoint", self.owner)) else { return };
        let committed = manifest_id(committed);
        let names_it =
            |id: &ManifestId| self.manifest(*id).tables.iter().any(|change| change.table.to_string() == name);
        let there: BTreeSet<ManifestId> = self.manifests().into_iter().filter(|(_, number)| *number > 0).collect();
        let later: Vec<ManifestId> = there.iter().copied().filter(|id| *id > committed).filter(names_it).collect();
        let newest = there.last().filter(|_| !ended);
        assert!(later.iter().all(|id| Some(id) == newest), "{name} has {committed:?}, and not {later:?}");
        if there.contains(&committed) {
            assert!(names_it(&committed), "{name} has {committed:?}, which has nothing for it");
            let streams = self.manifest(committed).streams;
            let progress = streams.values().next().expect("one stream").iter();
            let offsets = progress.map(|(&partition, at)| (partition, at.next_offset.0)).collect();
            assert_eq!(self.taken(table), offsets, "{name}: offsets of {committed:?}");
        }
    }

    /// Asserts that the state folder holds no state file but those that its manifests name: older ones are collected.
    pub fn audit_state(&self) {
        let named: BTreeSet<String> =
            self.manifests().into_iter().filter(|(_, number)| *number > 0).fold(BTreeSet::new(), |mut named, id| {
                named.extend(self.manifest(id).state.into_iter().map(|file| file.path));
                named
            });
        for (generation, folder) in numbered(&self.state()) {
            for file in std::fs::read_dir(folder.join("state")).into_iter().flatten() {
                let file = file.expect("folder is readable").file_name().into_string().expect("a plain name");
                let path = format!("{generation:010}/state/{file}");
                // A put that was cut off leaves `#1` behind the name.
                assert!(named.contains(&path) || file.contains('#'), "nothing names {path}: {named:#?}");
            }
        }
    }

    fn manifest(&self, (generation, number): ManifestId) -> Manifest {
        let path = self.state().join(format!("{generation:010}/{number:010}.json"));
        let bytes = std::fs::read(&path).expect("it was found");
        Manifest::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn state(&self) -> PathBuf {
        self.arriving.project.path().join(".kappa/state").join(&self.owner)
    }
}

/// As tables name it.
fn manifest_id(text: &str) -> ManifestId {
    let (generation, number) = text.split_once('/').expect("a generation and a number");
    (generation.parse().expect("a number"), number.parse().expect("a number"))
}

/// What in a folder has a number for a name, file endings aside; nothing if there is no such folder.
fn numbered(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("folder is readable").path());
    paths.filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path))).collect()
}
