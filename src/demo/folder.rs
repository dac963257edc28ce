//! The demo's project folder: `kappa.toml` and the job, before and after its repair.

use std::path::{Path, PathBuf};

use super::DemoError;
use crate::config::PROJECT_FILE;

/// The job file, in the folder.
pub const JOB: &str = "jobs/page_hits.sql";
/// The job's result table.
pub const RESULT: &str = "marts.page_hits";
/// The line that mends the job.
pub const REPAIR: &str = "WHERE  user_agent NOT LIKE '%Bot%'";

/// The job as it stands in this repository.
const REPOSITORY_JOB: &str = include_str!("../../jobs/page_hits.sql");
/// Its partitions are hours; two days are better looked at by day.
const PARTITIONS: [&str; 2] = ["hour(window_start)", "day(window_start)"];
/// The repair goes before it.
const BEHIND_REPAIR: &str = "GROUP  BY";

/// A project folder of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is, absolute.
    pub path: PathBuf,
}

impl Folder {
    /// Makes the folder, with a job and a `kappa.toml` that names the broker. Refuses one that holds something.
    pub fn create(path: &Path, servers: &str) -> Result<Folder, DemoError> {
        let failed = |source| DemoError::Folder { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(DemoError::NotEmpty { folder: path.to_owned() });
        }
        let folder = Folder { path: path.canonicalize().map_err(failed)? };
        let profile = format!(
            "# The broker lived inside the demo and is gone; catalog, tables and checkpoints are in .kappa, by default.\n\
             [kafka]\n\"bootstrap.servers\" = \"{servers}\"\n"
        );
        folder.write(PROJECT_FILE, &profile)?;
        folder.write(JOB, &first_job())?;
        Ok(folder)
    }

    /// Mends the job: bots are no visitors.
    pub fn mend_job(&self) -> Result<(), DemoError> {
        self.write(JOB, &mended())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        let folder = path.parent().expect("the name is joined to a folder");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| DemoError::Folder { path, source })
    }
}

fn first_job() -> String {
    REPOSITORY_JOB.replacen(PARTITIONS[0], PARTITIONS[1], 1)
}

fn mended() -> String {
    first_job().replacen(BEHIND_REPAIR, &format!("{REPAIR}\n{BEHIND_REPAIR}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_jobs_are_valid_and_two_versions() {
        let version = |text: &str| crate::job::compile("page_hits", text).expect("a valid job").fingerprint;
        assert_ne!(version(&first_job()), version(&mended()));
        assert_ne!(version(&first_job()), version(REPOSITORY_JOB));
    }

    #[test]
    fn a_folder_that_holds_something_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Folder::create(&folder.path().join("demo"), "localhost:1").expect("a new folder");
        assert!(made.path.join(JOB).is_file() && made.path.join(PROJECT_FILE).is_file());
        let again = Folder::create(&made.path, "localhost:1").expect_err("refused");
        assert!(again.to_string().contains("isn't empty"), "{again}");
    }

    #[test]
    fn the_folder_is_a_project() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Folder::create(folder.path(), "localhost:1").expect("a new folder");
        let project =
            crate::config::Project::find(&made.path.join(JOB), crate::config::Overrides::none()).expect("a project");
        assert_eq!(project.kafka["bootstrap.servers"], "localhost:1");
        assert_eq!(project.root, made.path);
    }
}
