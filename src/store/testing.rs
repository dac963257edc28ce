//! The bucket that tests share, if `tests/run` has started its server: a test runs there what it runs in a folder.

use super::{Place, Stores};
use crate::secret::Properties;

/// Stores with the keys of the bucket `lake`; `None` without the server.
pub(crate) fn stores() -> Option<Stores> {
    stores_with("kappa-s3-secret")
}

/// As [`stores`], with another secret key.
pub(crate) fn stores_with(secret: &str) -> Option<Stores> {
    let endpoint = std::env::var("KAPPA_TEST_S3").ok()?;
    let settings = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "kappa"),
        ("aws_secret_access_key", secret),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Some(Stores::new(&Properties::from_iter(settings)))
}

/// A prefix of the bucket that nobody else has.
pub(crate) fn location() -> String {
    format!("s3://lake/{}", uuid::Uuid::new_v4().simple())
}

/// A place in the bucket that nobody else has; `None` without the server.
pub(crate) fn place() -> Option<Place> {
    let root = std::path::Path::new("/");
    Some(stores()?.place(&location(), root).expect("a bucket needs no connection to be opened"))
}
