//! Where files lie below `state.location`. Numbers have ten digits, so that listings are in order:
//!
//! ```text
//! <owner>/<generation>/claim.json          a run took this generation
//! <owner>/<generation>/heartbeat.json      it still ran then, or has stopped in order; overwritten with each renewal
//! <owner>/<generation>/0000000000.json     it began, continuing this manifest
//! <owner>/<generation>/<number>.json       its manifests, from 1
//! <owner>/<generation>/state/<number>-<name>.arrow   state files, first used by the manifest of that number
//! <owner>/savepoints/<name>/…               what users keep
//! ```

use object_store::path::Path;

use super::{Generation, ManifestId, SavepointName, StateFile};

/// What names of Parquet files end with.
pub(super) const PARQUET: &str = ".parquet";

/// What lies directly in a generation's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Claim,
    Heartbeat,
    Begin,
    Manifest(u64),
}

/// Names of one owner's files.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    owner: Path,
}

impl Layout {
    /// One path segment for each owner; characters that a store can't take are encoded.
    pub(super) fn new(owner: &str) -> Layout {
        Layout { owner: Path::from_iter([owner]) }
    }

    pub(super) fn owner(&self) -> &Path {
        &self.owner
    }

    pub(super) fn generation(&self, generation: Generation) -> Path {
        self.owner.clone().join(generation.padded())
    }

    pub(super) fn claim(&self, generation: Generation) -> Path {
        self.generation(generation).join("claim.json")
    }

    pub(super) fn heartbeat(&self, generation: Generation) -> Path {
        self.generation(generation).join("heartbeat.json")
    }

    pub(super) fn begin(&self, generation: Generation) -> Path {
        self.manifest(ManifestId::new(generation, 0))
    }

    pub(super) fn manifest(&self, id: ManifestId) -> Path {
        self.generation(id.generation).join(format!("{:010}.json", id.number))
    }

    pub(super) fn states(&self, generation: Generation) -> Path {
        self.generation(generation).join("state")
    }

    /// Relative to the owner's folder, as manifests name it.
    pub(super) fn state(&self, id: ManifestId, name: &str) -> String {
        format!("{}/state/{:010}-{name}.arrow", id.generation.padded(), id.number)
    }

    pub(super) fn savepoints(&self) -> Path {
        self.owner.clone().join("savepoints")
    }

    pub(super) fn savepoint_folder(&self, name: &SavepointName) -> Path {
        self.savepoints().join(name.as_str())
    }

    pub(super) fn savepoint(&self, name: &SavepointName) -> Path {
        self.savepoint_folder(name).join("savepoint.json")
    }

    /// Relative to the owner's folder: all files of an INSERT or leg begin alike, so that one pattern finds them. With the
    /// checksum, so that what a crash has left is never in the way.
    pub(super) fn savepoint_state(
        &self,
        name: &SavepointName,
        number: usize,
        (file, checksum): (&StateFile, &str),
    ) -> String {
        let StateFile { insert, leg, .. } = file;
        format!("savepoints/{name}/state/{insert}-{leg}-{number:010}-{checksum}{PARQUET}")
    }

    /// The file that a manifest names relative to the owner's folder; `None` if that isn't a path inside it.
    pub(super) fn below_owner(&self, relative: &str) -> Option<Path> {
        let relative = Path::parse(relative).ok()?;
        Some(self.owner.parts().chain(relative.parts()).collect())
    }

    /// The generation that a folder is of.
    pub(super) fn parse_generation(folder: &Path) -> Option<Generation> {
        parse_number(folder.filename()?).map(Generation)
    }

    /// What a file of a generation's folder is; `None`: nothing of ours.
    pub(super) fn parse_entry(file: &Path) -> Option<Entry> {
        let stem = file.filename()?.strip_suffix(".json")?;
        match stem {
            "claim" => Some(Entry::Claim),
            "heartbeat" => Some(Entry::Heartbeat),
            _ => parse_number(stem).map(|number| if number == 0 { Entry::Begin } else { Entry::Manifest(number) }),
        }
    }

    /// The number of the manifest that a state file was made for.
    pub(super) fn parse_state(file: &Path) -> Option<u64> {
        parse_number(file.filename()?.split_once('-')?.0)
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let ours = text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    if ours { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let layout = Layout::new("raw.web_requests");
        let id = ManifestId::new(Generation(3), 12);
        assert_eq!(layout.manifest(id).as_ref(), "raw.web_requests/0000000003/0000000012.json");
        assert_eq!(Layout::parse_entry(&layout.manifest(id)), Some(Entry::Manifest(12)));
        assert_eq!(Layout::parse_entry(&layout.begin(id.generation)), Some(Entry::Begin));
        assert_eq!(Layout::parse_entry(&layout.claim(id.generation)), Some(Entry::Claim));
        assert_eq!(Layout::parse_entry(&layout.heartbeat(id.generation)), Some(Entry::Heartbeat));
        assert_eq!(Layout::parse_generation(&layout.generation(id.generation)), Some(Generation(3)));
        let state = layout.below_owner(&layout.state(id, "panes-0")).expect("inside");
        assert_eq!(state.as_ref(), "raw.web_requests/0000000003/state/0000000012-panes-0.arrow");
        assert_eq!(Layout::parse_state(&state), Some(12));
    }

    #[test]
    fn an_owner_and_a_state_path_stay_inside_their_folder() {
        assert_eq!(Layout::new("../a/b").owner().parts().count(), 1);
        assert!(Layout::new("a").below_owner("../b").is_none());
    }
}
