//! A project folder of a test: `kappa.toml`, job files, and the catalog and warehouse that it writes to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::process::{Finished, Running};
use super::{guarded_rest_address, kafka_address, postgres_address, rest_address, s3_address, unique};

/// More than any single command of a test needs on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// A bucket of the S3 server.
pub const BUCKET: &str = "s3://lake";
/// Its access key.
pub const S3_KEY: &str = "kappa";
/// Its secret key.
pub const S3_SECRET: &str = "kappa-s3-secret";
/// Client credentials that the guarded REST catalog gives tokens for.
pub const REST_CREDENTIAL: &str = "kappa:kappa-client-secret";
/// A token that it takes and that doesn't expire.
pub const REST_TOKEN: &str = "kappa-fixed-token";

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
    /// SQLite in the project folder; warehouse and state in a bucket.
    SqlOnS3,
    /// PostgreSQL, under a name of its own; warehouse and state in a bucket.
    PostgresOnS3,
    /// The REST catalog that asks who asks, by OAuth2 client credentials; warehouse and state in a bucket.
    GuardedOnS3,
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
        std::fs::create_dir_all(folder.path().join("outputs")).expect("folder takes folders");
        let project = Project { folder, catalog, namespace: unique("ns") };
        let tables = project.config_of_places();
        project.write("kappa.toml", format!("{rest_of_config}\n{tables}"));
        project
    }

    /// `[catalog]`, `[state]` and `[store]`.
    fn config_of_places(&self) -> String {
        let folder = "[state]\nlocation = \".kappa/state\"\n";
        let bucket = || {
            format!(
                "[state]\nlocation = \"{BUCKET}/{}/state\"\n[store]\naws_endpoint = \"{}\"\naws_allow_http = true\n\
             aws_access_key_id = \"{S3_KEY}\"\naws_secret_access_key = \"{S3_SECRET}\"\n",
                self.namespace,
                s3_address()
            )
        };
        match self.catalog {
            Catalog::Sql => format!(
                "[catalog]\ntype = \"sql\"\nuri = \"sqlite:.kappa/catalog.db\"\nname = \"kappa\"\n\
                 warehouse = \".kappa/warehouse\"\n{folder}"
            ),
            Catalog::Rest => {
                format!("[catalog]\ntype = \"rest\"\nuri = \"{}\"\nname = \"kappa\"\n{folder}", rest_address())
            }
            Catalog::SqlOnS3 => format!(
                "[catalog]\ntype = \"sql\"\nuri = \"sqlite:catalog.db\"\nname = \"kappa\"\n\
                 warehouse = \"{BUCKET}/{}/warehouse\"\n{}",
                self.namespace,
                bucket()
            ),
            Catalog::PostgresOnS3 => format!(
                "[catalog]\nuri = \"{}\"\nname = \"{}\"\nwarehouse = \"{BUCKET}/{}/warehouse\"\n{}",
                postgres_address().expect("asked for before"),
                self.namespace,
                self.namespace,
                bucket()
            ),
            Catalog::GuardedOnS3 => format!(
                "[catalog]\ntype = \"rest\"\nuri = \"{}\"\nname = \"kappa\"\ncredential = \"{REST_CREDENTIAL}\"\n{}",
                guarded_rest_address(),
                bucket()
            ),
        }
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

    /// The catalog as pyiceberg takes it, for the Python readers: JSON.
    pub fn reader_catalog(&self) -> String {
        let mut properties = match self.catalog {
            Catalog::Sql => {
                let folder = self.path().join(".kappa");
                let database = format!("sqlite:///{}", folder.join("catalog.db").display());
                let warehouse = format!("file://{}", folder.join("warehouse").display());
                json!({ "type": "sql", "name": "kappa", "uri": database, "warehouse": warehouse })
            }
            Catalog::SqlOnS3 => {
                let database = format!("sqlite:///{}", self.path().join("catalog.db").display());
                json!({ "type": "sql", "name": "kappa", "uri": database, "warehouse": format!("{BUCKET}/{}/warehouse", self.namespace) })
            }
            Catalog::Rest => json!({ "type": "rest", "name": "kappa", "uri": rest_address() }),
            Catalog::PostgresOnS3 => {
                let address = postgres_address().expect("asked for before");
                let uri = address.replace("postgres://", "postgresql+psycopg2://");
                json!({ "type": "sql", "name": self.namespace, "uri": uri, "warehouse": format!("{BUCKET}/{}/warehouse", self.namespace) })
            }
            Catalog::GuardedOnS3 => {
                json!({ "type": "rest", "name": "kappa", "uri": guarded_rest_address(), "token": REST_TOKEN })
            }
        };
        if matches!(self.catalog, Catalog::SqlOnS3 | Catalog::PostgresOnS3 | Catalog::GuardedOnS3) {
            let bucket = [
                ("s3.endpoint", s3_address()),
                ("s3.access-key-id", S3_KEY.to_owned()),
                ("s3.secret-access-key", S3_SECRET.to_owned()),
                ("s3.region", "us-east-1".to_owned()),
            ];
            for (key, value) in bucket {
                properties[key] = value.into();
            }
        }
        properties.to_string()
    }
}

/// Lines of a text that aren't empty.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}
