//! What tests stand on: the servers that `tests/run` started, project folders, the `kappa` binary as a process, and the
//! independent readers. Nothing in here knows what a right answer is.

#![allow(dead_code, reason = "one area's tests use what another's do not; all of it is one vocabulary")]

pub mod broker;
pub mod catalog;
pub mod columns;
pub mod faults;
pub mod http;
pub mod kafka;
pub mod process;
pub mod project;
pub mod python;
pub mod said;
pub mod tls;
pub mod value;

pub use value::Value;

/// Bootstrap address of the Kafka broker.
pub fn kafka_address() -> String {
    from_environment("KAPPA_TEST_KAFKA")
}

/// Address of the Iceberg REST catalog.
pub fn rest_address() -> String {
    from_environment("KAPPA_TEST_REST")
}

/// Address of the REST catalog that wants to know who asks.
pub fn guarded_rest_address() -> String {
    from_environment("KAPPA_TEST_REST_GUARDED")
}

/// Endpoint of the S3 server.
pub fn s3_address() -> String {
    from_environment("KAPPA_TEST_S3")
}

/// Address, by TLS, of the REST catalog that wants to know who asks.
pub fn rest_tls_address() -> String {
    from_environment("KAPPA_TEST_REST_TLS")
}

/// Endpoint, by TLS, of the S3 server.
pub fn s3_tls_address() -> String {
    from_environment("KAPPA_TEST_S3_TLS")
}

/// Address of the PostgreSQL database. `None`, with a line that says so, only where PostgreSQL isn't installed: it is the one
/// server that `tests/run` can't fetch.
pub fn postgres_address() -> Option<String> {
    let address = from_environment("KAPPA_TEST_POSTGRES");
    if address == "missing" {
        eprintln!("SKIPPED: PostgreSQL is not installed (Debian package postgresql)");
        return None;
    }
    Some(address)
}

/// Whether tests that can go on for long are to: more rounds, with other data.
pub fn is_long() -> bool {
    std::env::var_os("KAPPA_TEST_LONG").is_some()
}

/// Interpreter of the Python environment with the readers.
pub fn python_interpreter() -> String {
    from_environment("KAPPA_TEST_PYTHON")
}

/// A test that needs a server fails without one: a skipped test would look like a passed one.
fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run, which starts the servers"))
}

/// `stem` with an ending that no other test, process or run has; fit for topics, namespaces and tables.
pub fn unique(stem: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{stem}_{}", &random[..12])
}
