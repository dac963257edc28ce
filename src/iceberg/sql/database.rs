//! The database behind a SQL catalog: SQLite or PostgreSQL, opened so that both take the same statements.
//! Invariant: every call ends within named bounds, and a password is in no message.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Connection, Executor};

use crate::secret::without_password;
use crate::store::read_ca;

/// Commits of other processes hold a SQLite file for milliseconds; a disk under load may take seconds.
const BUSY_TIMEOUT_MS: u32 = 30_000;
/// Until a server has let us in; a start has to say within 15 s what is wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one statement: more than SQLite's wait for others.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Commits of one process are few; each holds a connection for one statement.
const CONNECTIONS_MAX: u32 = 4;
/// What an address may set behind its `?`.
const POSTGRES_PARAMETERS: [&str; 9] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "password",
    "user",
    "statement-cache-capacity",
];

/// Parameters whose values are files.
const POSTGRES_FILES: [&str; 3] = [CA_PARAMETER, "sslcert", "sslkey"];

/// The parameter that names a file of CAs.
const CA_PARAMETER: &str = "sslrootcert";

/// The tables that the catalogs of Java (JDBC), Python and Rust share.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255), property_value VARCHAR(1000),
        PRIMARY KEY (catalog_name, namespace, property_key))",
];

/// Why a database isn't open. Each text says the way out.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The address is none.
    Address(String),
    /// The server won't let us in, until a person acts.
    Refused(String),
    /// Nobody answers: it may pass.
    Away(String),
}

/// Opens the database of an address, a SQLite path relative to `root`, and makes the catalog's tables where they are
/// missing.
pub(super) async fn open(uri: &str, root: &Path) -> Result<AnyPool, OpenError> {
    install_default_drivers();
    let pool = match uri.split_once(':') {
        Some(("sqlite", ":memory:")) => in_memory().await,
        Some(("sqlite", path)) => sqlite(path, root).await,
        Some(("postgres" | "postgresql", _)) => postgres(uri, root).await,
        _ => Err(OpenError::Address(format!(
            "there is no SQL catalog at `{}`; write sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            without_password(uri)
        ))),
    }?;
    prepare(&pool).await.map_err(|error| {
        let shown = without_password(uri);
        match code(&error).as_deref() {
            Some("42501") => OpenError::Refused(format!(
                "the user has no right to make the catalog's tables in {shown}: grant it CREATE on the schema, or have \
                 someone else make iceberg_tables and iceberg_namespace_properties"
            )),
            _ => OpenError::Away(format!("can't make the catalog's tables in {shown}: {error}")),
        }
    })?;
    Ok(pool)
}

/// The result of a statement, or a time-out as an error of the connection.
pub(super) async fn bounded<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs());
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, detail)))
        }
    }
}

async fn sqlite(path: &str, root: &Path) -> Result<AnyPool, OpenError> {
    let uri = sqlite_uri(path, root).map_err(OpenError::Address)?;
    AnyPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").as_str()).await?;
                // With a write-ahead log readers don't wait for writers, of whichever process. It stays set in the file.
                connection.execute("PRAGMA journal_mode = WAL").await?;
                Ok(())
            })
        })
        .connect(&uri)
        .await
        .map_err(|error| OpenError::Address(format!("can't open {uri}: {error}")))
}

/// A database that is gone with its one connection, which therefore is never given up. No profile comes here: its paths are
/// absolute.
async fn in_memory() -> Result<AnyPool, OpenError> {
    let options = AnyPoolOptions::new().max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
    let opened = options.connect("sqlite::memory:").await;
    opened.map_err(|error| OpenError::Address(format!("can't open a database in memory: {error}")))
}

/// The path made absolute, its folder created; the file is created when opened.
fn sqlite_uri(path: &str, root: &Path) -> Result<String, String> {
    let rest = path.strip_prefix("//").unwrap_or(path);
    let path = root.join(rest.split('?').next().unwrap_or(rest));
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("can't create the folder {}: {error}", folder.display()))?;
    }
    let path = path.to_str().ok_or_else(|| "the database's path is not UTF-8".to_owned())?;
    // What would end or change a path in a URI.
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(format!("sqlite://{path}?mode=rwc"))
}

async fn postgres(uri: &str, root: &Path) -> Result<AnyPool, OpenError> {
    let shown = without_password(uri);
    check_postgres_uri(uri).map_err(OpenError::Address)?;
    let uri = &with_files(uri, root).map_err(OpenError::Address)?;
    // One connection by itself first: a pool would go on trying where nobody listens, and say only that time is up.
    let first = tokio::time::timeout(CONNECT_TIMEOUT, sqlx::AnyConnection::connect(uri)).await;
    match first {
        Ok(Ok(connection)) => drop(connection.close().await),
        Ok(Err(error)) => return Err(refusal(&shown, &error)),
        Err(_) => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            let detail = format!("no answer from {shown} within {seconds} s; check host and port, and the network");
            return Err(OpenError::Away(detail));
        }
    }
    let options = AnyPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(CONNECT_TIMEOUT);
    options.connect(uri).await.map_err(|error| refusal(&shown, &error))
}

fn check_postgres_uri(uri: &str) -> Result<(), String> {
    let shown = without_password(uri);
    let form = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE";
    // The parser's error says what, not where; the text itself may hold a password.
    let parsed = url::Url::parse(uri).map_err(|error| format!("`{shown}` is no address ({error}); {form}"))?;
    if parsed.host_str().is_none_or(str::is_empty) || parsed.path().trim_matches('/').is_empty() {
        return Err(format!(
            "`{shown}` names no {}; {form}",
            if parsed.host().is_none() { "host" } else { "database" }
        ));
    }
    let unknown = parsed.query_pairs().find(|(key, _)| !POSTGRES_PARAMETERS.contains(&key.as_ref()));
    match unknown {
        Some((key, _)) => {
            let known = POSTGRES_PARAMETERS.join(", ");
            Err(format!("`{shown}` sets `{key}`, which an address of PostgreSQL doesn't have; there are {known}"))
        }
        None => Ok(()),
    }
}

/// The address with paths of files made absolute, from `root`. As in libpq, who names a CA wants it to be checked:
/// `require` becomes `verify-ca` then, which sqlx doesn't do by itself. Refuses files that can't be read.
fn with_files(uri: &str, root: &Path) -> Result<String, String> {
    let mut url = url::Url::parse(uri).map_err(|error| error.to_string())?;
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if !parameters.iter().any(|(key, _)| POSTGRES_FILES.contains(&key.as_str())) {
        return Ok(uri.to_owned());
    }
    let names_ca = parameters.iter().any(|(key, _)| key == CA_PARAMETER);
    let mut query = url.query_pairs_mut();
    query.clear();
    for (key, value) in parameters {
        let refuse = |detail: String| format!("`{}`: {key}: {detail}", without_password(uri));
        let path = root.join(&value);
        let used = match key.as_str() {
            "sslmode" if names_ca && value == "require" => "verify-ca".to_owned(),
            CA_PARAMETER => {
                read_ca(&path).map_err(refuse)?;
                path.display().to_string()
            }
            file if POSTGRES_FILES.contains(&file) => {
                std::fs::File::open(&path)
                    .map_err(|error| refuse(format!("{} can't be read: {error}", path.display())))?;
                path.display().to_string()
            }
            _ => value,
        };
        query.append_pair(&key, &used);
    }
    drop(query);
    Ok(url.into())
}

/// Why a server didn't let us in, and the way out.
fn refusal(shown: &str, error: &sqlx::Error) -> OpenError {
    match (error, code(error).as_deref()) {
        (_, Some("28P01")) => OpenError::Refused(format!(
            "{shown} refuses the password; set it in the address, in PGPASSWORD, or in a .pgpass file"
        )),
        (sqlx::Error::Database(said), Some("28000")) => OpenError::Refused(format!(
            "{shown} refuses the user: {}; check the user, and pg_hba.conf for this host",
            said.message()
        )),
        (sqlx::Error::Database(said), Some("3D000")) => {
            OpenError::Refused(format!("{shown}: {}; create it (createdb) or correct the address", said.message()))
        }
        (sqlx::Error::Database(said), _) => OpenError::Away(format!("{shown}: {}", said.message())),
        (sqlx::Error::Io(error), _) if error.to_string().contains("certificate") => OpenError::Refused(format!(
            "the certificate of {shown} isn't trusted ({error}); name the file of its CA in the address, as \
             sslrootcert=FILE, or add it to the system's"
        )),
        (sqlx::Error::Io(error), _) => OpenError::Away(format!(
            "no answer from {shown}: {error}; check host and port, and that PostgreSQL listens there"
        )),
        (sqlx::Error::Tls(error), _) => {
            OpenError::Refused(format!("no TLS with {shown}: {error}; see sslmode and sslrootcert in the address"))
        }
        (error, _) => OpenError::Away(format!("can't open {shown}: {error}")),
    }
}

/// Whether the database won't do it for this user: PostgreSQL's missing privilege, or SQLite's file that can't be written.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42501" | "8"))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

async fn prepare(pool: &AnyPool) -> Result<(), sqlx::Error> {
    // Asked first: a user who may use the tables need not be one who may make them.
    let there = bounded(pool.execute("SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0")).await.is_ok()
        && bounded(pool.execute("SELECT namespace FROM iceberg_namespace_properties WHERE 1 = 0")).await.is_ok();
    if there {
        return Ok(());
    }
    for statement in TABLES {
        // PostgreSQL fails one of two who make a table at the same moment; the second attempt finds it.
        if bounded(pool.execute(statement)).await.is_err() {
            bounded(pool.execute(statement)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_not_be_one_is_refused_without_its_password() {
        for (uri, expected) in [
            ("postgres://kappa:hunter2@/catalog", "write postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
            ("postgres://kappa:hunter2@db:5432", "names no database"),
            ("postgres://kappa:hunter2@db:port/catalog", "is no address"),
            ("postgres://kappa:hunter2@db/catalog?sslmod=require", "sets `sslmod`"),
        ] {
            let message = check_postgres_uri(uri).expect_err("refused");
            assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
        }
        assert_eq!(check_postgres_uri("postgres://kappa@db/catalog?sslmode=verify-full&sslrootcert=/ca.pem"), Ok(()));
    }

    #[test]
    fn files_in_an_address_are_below_the_project_and_a_named_ca_is_checked() {
        let root = tempfile::tempdir().expect("a folder");
        let ca = root.path().join("ca.pem");
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").expect("a file");
        let full = |parameters: &str| with_files(&format!("postgres://u:hunter2@db/c{parameters}"), root.path());
        assert_eq!(full("?sslmode=require").as_deref(), Ok("postgres://u:hunter2@db/c?sslmode=require"));
        let file = url::form_urlencoded::byte_serialize(ca.display().to_string().as_bytes()).collect::<String>();
        for (given, used) in [("verify-full", "verify-full"), ("require", "verify-ca")] {
            let expected = format!("postgres://u:hunter2@db/c?sslmode={used}&sslrootcert={file}");
            assert_eq!(full(&format!("?sslmode={given}&sslrootcert=ca.pem")), Ok(expected));
        }
        for (parameters, expected) in [
            ("?sslrootcert=none.pem", "`postgres://u:***@db/c?sslrootcert=none.pem`: sslrootcert: "),
            ("?sslcert=none.pem&sslkey=none.key", "none.pem can't be read: "),
        ] {
            let message = full(parameters).expect_err("refused");
            assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_database_in_memory_is_no_other_ones_and_leaves_no_file() {
        let root = tempfile::tempdir().expect("a folder");
        let open = async || open("sqlite::memory:", root.path()).await.expect("a database");
        let (first, second) = (open().await, open().await);
        let insert = "INSERT INTO iceberg_namespace_properties VALUES ('a', 'b', 'c', 'd')";
        bounded(first.execute(insert)).await.expect("inserted");
        for (pool, count) in [(&first, 1), (&second, 0)] {
            let rows = bounded(pool.fetch_all("SELECT namespace FROM iceberg_namespace_properties")).await;
            assert_eq!(rows.expect("read").len(), count);
        }
        assert_eq!(std::fs::read_dir(root.path()).expect("it is there").count(), 0);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_said_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let uri = format!("postgres://kappa:hunter2@127.0.0.1:{port}/catalog");
        let Err(OpenError::Away(message)) = open(&uri, Path::new("/")).await else { panic!("nobody listens") };
        assert!(message.contains("check host and port") && !message.contains("hunter2"), "{message}");
    }
}
