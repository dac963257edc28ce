//! A project folder of a test: `kappa.toml`, job files, and the catalog and warehouse that it writes to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Finished, Running};
use super::{kafka_address, rest_address, unique};

/// More than any single command of a test needs on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// A temporary project; gone when dropped, unless `KAPPA_TEST_KEEP` is set.
pub struct Project {
    folder: TempDir,
    catalog: Catalog,
    namespace: String,
}

/// Which catalog a project writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// SQLite in the project folder.
    Sql,
    /// The REST catalog that all tests share.
    Rest,
}

impl Project {
    /// A project without Kafka, on a SQLite catalog of its own: needs no server.
    pub fn embedded() -> Project {
        Project::new(Catalog::Sql, "")
    }

    /// A project on the real broker, with `run` settings (lines of `[run]`).
    pub fn on_kafka(catalog: Catalog, run: &str) -> Project {
        Project::with_kafka(catalog, &[("bootstrap.servers", &kafka_address())], run)
    }

    /// As [`Project::on_kafka`], with these properties of `[kafka]`, the address among them.
    pub fn with_kafka(catalog: Catalog, kafka: &[(&str, &str)], run: &str) -> Project {
        let kafka: String = kafka.iter().map(|(property, value)| format!("\"{property}\" = \"{value}\"\n")).collect();
        Project::new(catalog, &format!("[kafka]\n{kafka}[run]\n{run}\n"))
    }

    fn new(catalog: Catalog, rest_of_config: &str) -> Project {
        let mut folder = tempfile::Builder::new().prefix("kappa-project-").tempdir().expect("temporary folder");
        folder.disable_cleanup(std::env::var_os("KAPPA_TEST_KEEP").is_some());
        let catalog_lines = match catalog {
            Catalog::Sql => {
                "type = \"sql\"\nuri = \"sqlite:.kappa/catalog.db\"\nname = \"kappa\"\nwarehouse = \".kappa/warehouse\""
                    .to_owned()
            }
            Catalog::Rest => format!("type = \"rest\"\nuri = \"{}\"\nname = \"kappa\"", rest_address()),
        };
        let config = format!("{rest_of_config}\n[catalog]\n{catalog_lines}\n[state]\nlocation = \".kappa/state\"\n");
        std::fs::create_dir_all(folder.path().join("outputs")).expect("folder takes folders");
        let project = Project { folder, catalog, namespace: unique("ns") };
        project.write("kappa.toml", config);
        project
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A namespace of its own, as the REST catalog is shared.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("is inside the project")).expect("folder takes folders");
        std::fs::write(&path, content).expect("folder takes files");
        path
    }

    /// Starts `kappa` in the folder.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// As [`Project::start`], with environment variables.
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        Running::start(arguments, self.path(), environment, &self.path().join("outputs"))
    }

    /// Runs `kappa` to its end.
    #[track_caller]
    pub fn kappa(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).wait(COMMAND_LIMIT)
    }

    /// Arguments by which the Python readers find the catalog.
    pub fn reader_arguments(&self) -> Vec<String> {
        match self.catalog {
            Catalog::Sql => {
                let folder = self.path().join(".kappa");
                let database = folder.join("catalog.db");
                let warehouse = folder.join("warehouse");
                vec![format!("sqlite:///{}", database.display()), format!("file://{}", warehouse.display())]
            }
            Catalog::Rest => vec![rest_address(), String::new()],
        }
    }
}

/// Lines of a text that aren't empty.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}
